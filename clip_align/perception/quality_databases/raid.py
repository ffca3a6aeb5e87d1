# SPDX-License-Identifier: Apache-2.0
"""RAID as its authors distribute it: ``perceptual_scales.csv`` and images such as ``rot_img_01_level_02.png``.

Level 1 of the list is the image itself, with the scale 0; levels 2 to 10 are distorted ever more. Scales are estimated
by maximum likelihood difference scaling, per image and type, in units of the observers' noise, so that they can be
compared between types: larger = more different from the original. Images are found by name in any sub-folder.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from pathlib import Path

from clip_align.perception.rated_pairs import (
    RatedPair,
    complete,
    damaged,
    entry,
    number,
    present,
    spread,
    text_lines,
)

__all__ = ["NEEDED", "TYPES", "read"]

SCALES = "perceptual_scales.csv"
COLUMNS = ("reference", "distorted", "percept_scale")  # also Curve_Value (0 to 1), Sigmas (noise), Estimated_MOS
REFERENCES, LEVELS = 24, 10
TYPES = {"rot": "rotation", "trans": "translation", "scale": "scaling", "gn": "Gaussian noise"}
NEEDED = (SCALES,)
_NAME = re.compile(r"([a-z]+)_(img_\d\d)_level_(\d\d)\.png")


def read(folder: Path, key: str, references: int | None = None) -> list[RatedPair]:
    """The 864 pairs, sorted by reference, type and level (1 to 9); opinions are minus the perceptual scale.

    Args:
        folder: of the database, with the list of scales; images may lie in sub-folders.
        key: of the benchmark, for error messages.
        references: number of references, spread evenly; None: all.

    UserError for a list that does not name every image once with its reference, scales that are no numbers, and images
    that are missing or there twice.
    """
    scales = _scales(entry(folder, SCALES, key), key)
    kept = set(spread([f"img_{n:02d}" for n in range(1, REFERENCES + 1)], references))
    parts = {name: _parts(name) for name in scales}
    wanted = [n for n, (_, image, level) in parts.items() if image in kept and level > 1]
    found = _images(folder, key)
    present((f"{image}.png" for image in kept), found, folder, key)
    present(wanted, found, folder, key)
    pairs = []
    for name in wanted:
        kind, image, level = parts[name]
        opinion = -scales[name]
        pairs.append(RatedPair(found[f"{image}.png"], found[name], opinion, TYPES[kind], level - 1, image))
    return sorted(pairs, key=lambda pair: (pair.cluster, pair.type, pair.level or 0))


def _parts(name: str) -> tuple[str, str, int]:
    """Type, reference and level of the list, 1 for the image itself, of a name that has the right form."""
    match = _NAME.fullmatch(name)
    assert match is not None
    return match[1], match[2], int(match[3])


def _scales(path: Path, key: str) -> dict[str, float]:
    """Perceptual scales by name of the distorted image in lower case."""
    lines = text_lines(path, key)
    rows = list(csv.reader(io.StringIO("\n".join(line for _, line in lines))))
    header = [name.strip().lower() for name in rows[0]] if rows else []
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise damaged(
            key, f"{path} has no column {missing[0].capitalize()}; valid: Reference,Distorted,…,Percept_scale"
        )
    places = [header.index(name) for name in COLUMNS]
    listed: list[tuple[str, float]] = []
    for (i, line), row in zip(lines[1:], rows[1:], strict=False):
        where = f"{path}, line {i}"
        if len(row) != len(header):
            raise damaged(key, f"{where}: {line!r} has {len(row)} fields, the header {len(header)}")
        reference, name, scale = (row[place].strip() for place in places)
        if f"_{reference.lower().removesuffix('.png')}_" not in name.lower():
            raise damaged(key, f"{where}: the reference of {name} is {reference!r}; valid: the image in its name")
        listed.append((name.lower(), number(scale, where, key)))
    every = itertools.product(TYPES, range(1, REFERENCES + 1), range(1, LEVELS + 1))
    expected = [f"{kind}_img_{image:02d}_level_{level:02d}.png" for kind, image, level in every]
    complete([name for name, _ in listed], expected, path, key)
    return dict(listed)


def _images(folder: Path, key: str) -> dict[str, Path]:
    """Image files below a folder by their names in lower case; UserError where two have the same name."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.name.startswith(".") or path.suffix.lower() != ".png":
            continue
        other = found.setdefault(path.name.lower(), path)
        if other != path:
            raise damaged(key, f"{other} and {path} have the same name; remove one")
    return found
