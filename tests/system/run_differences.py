# SPDX-License-Identifier: Apache-2.0
"""What differs between the folders of two runs that should be identical."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clip_align.record.record import read


def differences(one: Path, other: Path) -> Iterator[str]:
    """What differs between two runs' folders, a line each.

    Compared are all lines of the record but events, all of their keys but ``wall_seconds`` and ``time/*``; all files of
    items; which checkpoints were kept, and the weights in each.
    """
    yield from _of_records(one, other)
    yield from _of_files(one / "items", other / "items", "*.npz", "items", _equal_arrays)
    yield from _of_files(one / "checkpoints", other / "checkpoints", "*.ckpt", "checkpoints", _equal_weights)


def _of_records(one: Path, other: Path) -> Iterator[str]:
    ours, theirs = _by_kind(one), _by_kind(other)
    for kind, found in ours.items():
        for a, b in zip(map(_compared, found), map(_compared, theirs[kind]), strict=False):
            if a != b:
                keys = sorted(k for k in a.keys() | b.keys() if a.get(k) != b.get(k))
                yield f"{kind} line of step {a['global_step']}: {', '.join(keys)}"
        if len(found) != len(theirs[kind]):
            yield f"{len(found)} and {len(theirs[kind])} {kind} lines"


def _of_files(one: Path, other: Path, pattern: str, what: str, equal: Any) -> Iterator[str]:
    """Which files there are, and their contents.

    Args:
        one: folder of the one run.
        other: of the other.
        pattern: of the files' names.
        what: they are called in the lines.
        equal: whether the contents of two files are.
    """
    names = [sorted(p.relative_to(f).as_posix() for p in f.rglob(pattern)) for f in (one, other)]
    if names[0] != names[1]:
        yield f"files of {what}: {', '.join(sorted(set(names[0]) ^ set(names[1])))}"
    else:
        yield from (f"{what}: {name}" for name in names[0] if not equal(one / name, other / name))


def _by_kind(folder: Path) -> dict[str, list[Any]]:
    """The record as every reader has it: steps that a resume has taken back are left out."""
    record = read(folder)
    described = list(record.benchmarks.values())
    return {
        "benchmark": described, "train": record.train, "evaluation": record.evaluations, "verdict": record.verdicts
    }  # fmt: skip


def _compared(line: Mapping[str, Any]) -> dict[str, str]:
    # as text: a value that is undefined would differ from itself
    return {k: json.dumps(v) for k, v in line.items() if k != "wall_seconds" and not k.startswith("time/")}


def _equal_arrays(one: Path, other: Path) -> bool:
    with np.load(one) as a, np.load(other) as b:
        return a.files == b.files and all(a[name].tobytes() == b[name].tobytes() for name in a.files)


def _equal_weights(one: Path, other: Path) -> bool:
    a, b = (torch.load(path, weights_only=True)["state_dict"] for path in (one, other))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
