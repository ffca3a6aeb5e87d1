# SPDX-License-Identifier: Apache-2.0
"""Saliency on your own data: images and fixations from a csv."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any, ClassVar

from clip_align.callbacks.common.fixation_maps import FixationMaps
from clip_align.data.table import Row, benchmark_columns
from clip_align.errors import UserError, option_problem
from clip_align.metrics.saliency import Outside
from clip_align.perception.fixations import FixatedImage, fixated_image
from clip_align.structure import Existing, Range

COLUMNS = ("image", "x", "y")


class FixationsCsv(FixationMaps):
    """The model's saliency maps against fixations from a csv: a row for each, with the columns image, x, y, viewer.

    Scores and baselines are those of ``osie``; further columns are ignored.

    Args:
        csv: path of the file; fields are separated by commas or tabs. x and y are in pixels of the image, from the left
            and from the top, 0 at the border.
        sigma_px: standard deviation in pixels of the images with which fixations are blurred; customary is a degree of
            visual angle.
        root: folder that its image names are relative to; None: the csv's.
        viewer: column that tells viewers apart, for the baseline of one viewer; None: they are not known.
        outside: what the blur assumes beyond the border: ``nearest`` or ``zero``.
        base: arguments of `FixationMaps` (``maps``, ``auc``, ``scored_px``) and `PerceptualCallback`.

    UserError, before step 0, for a missing column, number or image. Fixations outside their image are left out, and
    counted in the note ``fixations_outside``.
    """

    family: ClassVar[str] = "saliency"
    version: ClassVar[int] = 1
    human_data: ClassVar[str] = "fixations from the csv named in the options"
    stand_in: ClassVar[str] = "none"
    source: ClassVar[str] = "the csv named in the options"
    licence: ClassVar[str] = "the user's own"

    def __init__(
        self,
        csv: Annotated[str, Existing("file")],
        sigma_px: Annotated[float, Range(above=0)],
        root: Annotated[str | None, Existing("folder")] = None,
        viewer: str | None = "viewer",
        outside: Outside = "nearest",
        **base: Any,
    ) -> None:
        super().__init__(**base)
        path = Path(csv).expanduser()
        folder = Path(root).expanduser() if root else path.parent
        self.look_at(read_fixations(path, folder, viewer, self.key), sigma_px, outside, "csv")


def read_fixations(path: Path, root: Path, viewer: str | None, key: str) -> list[FixatedImage]:
    """The images that a csv names, in the order of their first rows; UserError for the first invalid row.

    Args:
        path: of the csv.
        root: folder that image names are relative to.
        viewer: column with the viewers; None: there is none.
        key: of the benchmark, for error messages.
    """
    names = (*COLUMNS, *([viewer] if viewer else []))
    hint = "write 3.5 for 3,5, and quote names that hold a comma"
    without = {viewer: "with viewer=null none is needed that tells viewers apart"} if viewer else {}
    rows = benchmark_columns(path, names, key, "csv", hint, if_missing=without, skip_blanks=True)
    by_image: dict[str, list[tuple[str, float, float]]] = defaultdict(list)
    for row in rows:
        name, x, y, label = _fixation(row, path, key)
        by_image[name].append((label, x, y))
    absent = [name for name in by_image if not (root / name).is_file()]
    if absent:
        more = f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
        what = f"no such image {root / absent[0]}{more}; root= names the folder of the images"
        raise UserError(option_problem(key, "root", what))
    found = []
    for name, of in by_image.items():
        labels, x_all, y_all = zip(*of, strict=True)
        # absolute: stimulus ids must not depend on the working directory
        found.append(fixated_image((root / name).absolute(), labels, [x_all, y_all], key, "csv"))
    return found


def _fixation(row: Row, path: Path, key: str) -> tuple[str, float, float, str]:
    """Image, x, y and viewer of a row."""
    line, fields = row
    name, x, y = ((field or "").strip() for field in fields[:3])
    try:
        place = float(x), float(y)
    except ValueError:
        place = (math.nan, math.nan)
    if not name or not all(map(math.isfinite, place)):
        what = f"{path}, line {line}: image {name!r}, x {x!r}, y {y!r}; valid are a name and two numbers"
        raise UserError(option_problem(key, "csv", what))
    return name, *place, (fields[3] or "").strip() if len(fields) > 3 else ""
