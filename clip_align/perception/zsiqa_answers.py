# SPDX-License-Identifier: Apache-2.0
"""Agreement of real networks' outputs on each image of TID2013 and LIVE with people.

The files are a selection from abhijay9/ZS-IQA (1d8c1ce, ``results/*.csv``), a column for each method. All are distances
but ``psnr``; ``mos`` is 100 - MOS in TID2013 and the DMOS in LIVE, so that people's larger number is worse too.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clip_align.errors import Problem, UserError
from clip_align.known_answer import KnownAnswer, count
from clip_align.metrics.correlation import srocc, within_level_srocc
from clip_align.perception.distortions import TYPES

Array = NDArray[np.float64]
NAME, HUMAN, SIMILARITIES = "distorted", "mos", ("psnr",)
PHOTOGRAPHS = 24  # I25 is no photograph, and not re-made
# SROCC on TID2013; on its types that can be re-made; the mean over their levels; SROCC on LIVE
TABLE: Mapping[str, tuple[float, float, float, float]] = {
    "psnr": (0.6869, 0.670, -0.099, 0.8866),
    "fsim": (0.8509, 0.843, 0.650, 0.9560),
    "lpips": (0.7687, 0.800, 0.491, 0.9349),
    "clip_vitb32_l2": (0.7933, 0.824, 0.605, 0.9649),
    "clip_vitb32_cos": (0.7579, 0.805, 0.581, 0.9578),
    "embed_clip_vitb32_cos": (0.6926, 0.719, 0.522, 0.9348),
    "clip_rn50_cos": (0.6575, 0.745, 0.545, 0.9552),
    "embed_clip_rn50_cos": (0.6324, 0.699, 0.501, 0.9060),
    "embed_openclip_convnext_base_cos": (0.5179, 0.572, 0.376, 0.8772),
    "embed_openclip_convnext_laion_tecoa4_cos": (0.2753, 0.260, 0.104, 0.5722),
}
LEVEL_ALONE = (0.706, 0.744)
FOUR, THREE = 1e-4, 1e-3  # last digits of what is expected


@dataclass(frozen=True, eq=False)
class _Table:
    """names: of the images [N]. human: larger = worse [N]. methods: distances [N]."""

    names: list[str]
    human: Array
    methods: Mapping[str, Array]


def known_answers(root: Path) -> Iterator[KnownAnswer]:
    """ZS-IQA: SROCC of networks' outputs on TID2013 and LIVE with people."""
    tid, live = (_read(root / f"{name}.csv") for name in ("tid2013", "live"))
    reference, kind, level = _conditions(tid.names, root / "tid2013.csv")
    remade = np.isin(kind, list(TYPES)) & (reference <= PHOTOGRAPHS)
    yield count("TID2013: images", len(tid.names), 3000)
    yield count("TID2013: images of the 16 types that can be re-made, of I01 to I24", int(remade.sum()), 1920)
    yield count("LIVE: images", len(live.names), 779)
    whole, part = srocc(level, tid.human), srocc(level[remade], tid.human[remade])
    yield KnownAnswer("level alone: TID2013", whole, LEVEL_ALONE[0], THREE)
    yield KnownAnswer("level alone: 16 types", part, LEVEL_ALONE[1], THREE)
    for name, expected in TABLE.items():
        x, human = tid.methods[name], tid.human
        found = {
            "TID2013": (srocc(x, human), FOUR),
            "16 types": (srocc(x[remade], human[remade]), THREE),
            "16 types, within levels": (within_level_srocc(x[remade], human[remade], level[remade]), THREE),
            "LIVE": (srocc(live.methods[name], live.human), FOUR),
        }
        for (label, (value, tolerance)), known in zip(found.items(), expected, strict=True):
            yield KnownAnswer(f"{name}: {label}", value, known, tolerance)


def _conditions(names: list[str], path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Reference, type and level [N] of TID2013's file names."""
    matches = [re.fullmatch(r"i(\d\d)_(\d\d)_(\d)\.bmp", name.lower()) for name in names]
    wrong = next((name for name, match in zip(names, matches, strict=True) if match is None), None)
    if wrong is not None:
        raise UserError(Problem("root", f"{path}: {wrong!r} is no file name of TID2013, such as i01_24_5.bmp"))
    numbers = np.array([[int(part) for part in match.groups()] for match in matches if match], dtype=np.int64)
    reference, kind, level = numbers.reshape(-1, 3).T
    return reference, kind, level


def _read(path: Path) -> _Table:
    """One of the files; UserError for a missing column or a field that is no number."""
    columns = (HUMAN, *TABLE)
    names: list[str] = []
    values: list[list[float]] = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            lacking = [name for name in (NAME, *columns) if name not in (rows.fieldnames or ())]
            if lacking:
                raise UserError(Problem("root", f"{path} has no column {', '.join(lacking)}"))
            for row in rows:
                values.append([_number(row[name], name, path, rows.line_num) for name in columns])
                names.append(row[NAME])
    except OSError as error:
        what = f"cannot read {path}: {error.strerror}; the folder holds tid2013.csv and live.csv"
        raise UserError(Problem("root", what)) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(Problem("root", f"{path} is not a csv in UTF-8: {error}")) from error
    by_column = dict(zip(columns, np.array(values).reshape(-1, len(columns)).T, strict=True))
    human = by_column.pop(HUMAN)
    return _Table(names, human, {n: -v if n in SIMILARITIES else v for n, v in by_column.items()})


def _number(field: str | None, column: str, path: Path, line: int) -> float:
    try:
        value = float(field or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(Problem("root", f"{path}, line {line}: {column} is {field!r}; valid is a number"))
    return value
