# SPDX-License-Identifier: Apache-2.0
"""The ``items/`` of a run: the items that scores were computed over, ``items.csv`` once and one npz per event."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    Column = NDArray[np.generic]

ITEMS = "items"
MOST_REGULAR = 500  # regular events of a benchmark whose items are kept
STEP_FILE = re.compile(r"step-(\d+)\.npz")


class ItemsHistory(NamedTuple):
    """Items of one benchmark over a run: ``model[name]`` is [T, N], row t belongs to ``steps[t]``."""

    ids: list[str]
    human: NDArray[np.float64]
    clusters: dict[str, Column]
    conditions: dict[str, Column]
    steps: list[int]
    model: dict[str, Column]


def read_items(folder: Path, key: str) -> ItemsHistory | None:
    """Items of the benchmark ``key`` at every stored step; None if there are none."""
    import numpy as np

    place = Path(folder) / ITEMS / key
    try:
        with (place / "items.csv").open(newline="", encoding="utf-8") as file:
            header, *rows = list(csv.reader(file))
    except (OSError, ValueError):
        return None
    # by column; no rows: an event without items
    columns = dict(zip(header, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(header, ())
    steps: list[int] = []
    model: dict[str, list[Column]] = {}
    for step in steps_on_disk(Path(folder), key):
        try:
            with np.load(place / step_file(step), allow_pickle=False) as arrays:
                values = {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):  # a damaged file: its step is skipped
            continue
        # of other items, or other layers: it cannot be a row of the same arrays
        if any(len(v) != len(rows) for v in values.values()) or (model and set(values) != set(model)):
            continue
        steps.append(step)
        for name, value in values.items():
            model.setdefault(name, []).append(value)
    if not steps:
        return None
    return ItemsHistory(
        ids=list(columns["id"]),
        human=np.array([float(v) for v in columns["human"]]),
        clusters={k.removeprefix("cluster:"): _column(v) for k, v in columns.items() if k.startswith("cluster:")},
        conditions={k.removeprefix("condition:"): _column(v) for k, v in columns.items() if k.startswith("condition:")},
        steps=steps,
        model={name: np.stack(values) for name, values in model.items()},
    )


def items_spacing(every: int, step: int) -> int:
    """Steps between the regular events whose items are kept, for a run at ``step``.

    ``every``, the benchmark's interval, is doubled until at most 500 events remain, including step 0, so that spacing
    is even. The result depends on the step only, not on resuming or on events without items.
    """
    spacing = every
    while step // spacing >= MOST_REGULAR:
        spacing *= 2
    return spacing


def step_file(step: int) -> str:
    """Name of the items file of a step."""
    return f"step-{step:09d}.npz"


def steps_on_disk(folder: Path, key: str) -> list[int]:
    """Steps with stored items of ``key``, ascending."""
    place = folder / ITEMS / key
    found = (STEP_FILE.fullmatch(p.name) for p in place.iterdir()) if place.is_dir() else ()
    return sorted(int(m.group(1)) for m in found if m)


def benchmark_keys(folder: Path) -> list[str]:
    """Keys (``family/name``) that have items in a run's folder."""
    return sorted(p.parent.relative_to(folder / ITEMS).as_posix() for p in (folder / ITEMS).glob("*/*/items.csv"))


def items_csv(
    ids: Sequence[str], clusters: Mapping[str, ArrayLike], conditions: Mapping[str, ArrayLike], human: ArrayLike
) -> str:
    """The text of items.csv: id, human value, ``cluster:<name>`` and ``condition:<name>`` columns.

    Args:
        ids: one per item, [N].
        clusters: by name, the cluster of each item, [N].
        conditions: by name, [N].
        human: the human value of each item, [N].
    """
    import numpy as np

    # repr of a float: every bit of it
    columns: dict[str, list[Any]] = {"id": list(ids), "human": [repr(float(v)) for v in np.asarray(human)]}
    columns.update({f"cluster:{k}": np.asarray(v).tolist() for k, v in clusters.items()})
    columns.update({f"condition:{k}": np.asarray(v).tolist() for k, v in conditions.items()})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def npz(model: Mapping[str, ArrayLike]) -> bytes:
    """The file of one event: float64 arrays by name, decisions as they are (int8; int16 beyond 127 classes)."""
    import numpy as np

    arrays = {name: np.asarray(value) for name, value in model.items()}
    buffer = io.BytesIO()
    np.savez(buffer, **{n: a if a.dtype in (np.int8, np.int16) else a.astype(np.float64) for n, a in arrays.items()})  # type: ignore[arg-type]
    return buffer.getvalue()


def _column(values: Sequence[str]) -> Column:
    """Whole numbers, numbers or texts, whichever all values of a csv column are."""
    import numpy as np

    for kind in (np.int64, np.float64):  # whole numbers first: a float would read them too
        try:
            return np.array([kind(v) for v in values])
        except ValueError:
            continue
    return np.array(values, dtype=str)
