# SPDX-License-Identifier: Apache-2.0
"""KADID-10k as its authors distribute it: references and distorted images in one folder, ``dmos.csv``.

The column ``dmos`` rises with quality, in spite of its name. Distorted images are ``I01_01_01.png`` (reference, type,
level), their references ``I01.png`` beside them.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from clip_align.perception import kadid_distortions
from clip_align.perception.download import Download
from clip_align.perception.rated_pairs import (
    Numbering,
    RatedPair,
    complete,
    damaged,
    entry,
    number,
    numbered_pairs,
    text_lines,
)

__all__ = ["IDENTICAL", "KADID10K", "KADID10K_PSNR", "KADID10K_SCORES", "NEEDED", "TYPES", "condition_means", "read"]

COLUMNS = ("dist_img", "ref_img", "dmos")  # and var, the standard deviation of 30 ratings
LOWEST, HIGHEST = 1.0, 5.0  # of the five categories
NEEDED = ("images/i01.png", "images/i81.png", "images/i01_01_01.png", "images/i81_25_05.png", "dmos.csv")
KADID10K = Download(
    name="KADID-10k",
    what="10,125 distorted versions of 81 images (25 types, 5 levels) with the mean of 30 ratings each",
    address="https://database.mmsp-kn.de/kadid-10k-database.html",
    size="10,206 PNG files of 512 x 384 px",
    terms="no licence text found; photographs from Pixabay",
    citation="Lin, Hosu, Saupe, QoMEX 2019",
    needed=NEEDED,
)
KADID10K_SCORES = replace(  # without the images
    KADID10K, what="the mean of 30 ratings of each of 10,125 distorted images, a list", needed=("dmos.csv",)
)
KADID10K_PSNR = {"srocc": 0.6757, "krocc": 0.4876}  # piq, of 8-bit RGB
IDENTICAL = kadid_distortions.UNCHANGED  # equal to the reference to the pixel, 81 pairs each
TYPES = (  # numbered from 1
    "Gaussian blur",
    "lens blur",
    "motion blur",
    "color diffusion",
    "color shift",
    "color quantization",
    "color saturation, HSV",
    "color saturation, Lab",
    "JPEG2000",
    "JPEG",
    "white noise",
    "white noise in color components",
    "impulse noise",
    "multiplicative noise",
    "denoising",
    "brighten",
    "darken",
    "mean shift",
    "jitter",
    "non-eccentricity patches",
    "pixelate",
    "quantization",
    "color blocks",
    "high sharpen",
    "contrast change",
)
NUMBERING = Numbering(references=81, types=TYPES, levels=5, suffix=".png", level_digits=2)


def read(
    folder: Path, key: str, without: Collection[tuple[int, int]] = (), references: int | None = None
) -> list[RatedPair]:
    """The pairs, sorted by reference, type and level.

    Args:
        folder: of the database, whose ``NEEDED`` files are there.
        key: of the benchmark, for error messages.
        without: types and levels that are left out, such as ``IDENTICAL``.
        references: number of references, spread evenly; None: all.

    UserError for a list that does not name every image once with its reference, opinions outside 1 to 5, and images
    that are missing.
    """
    opinions = _opinions(entry(folder, "dmos.csv", key), key)
    images = entry(folder, "images", key)
    return numbered_pairs(
        NUMBERING, opinions, (images, images), lambda *condition: condition not in without, references, key
    )


def condition_means(folder: Path, key: str) -> Mapping[tuple[int, int], float]:
    """Mean opinion of each type and level over the 81 references, from ``dmos.csv`` alone.

    Args:
        folder: that holds it.
        key: of the benchmark, for error messages.

    UserError as `read`, but for images.
    """
    of: dict[tuple[int, int], list[float]] = {}
    for name, opinion in _opinions(entry(folder, "dmos.csv", key), key).items():
        of.setdefault(NUMBERING.condition(name), []).append(opinion)
    return {condition: math.fsum(opinions) / len(opinions) for condition, opinions in of.items()}


def _opinions(path: Path, key: str) -> dict[str, float]:
    """Opinions by name of the distorted image in lower case, sorted by name."""
    lines = text_lines(path, key)
    rows = list(csv.reader(io.StringIO("\n".join(line for _, line in lines))))
    places = _places(rows[0] if rows else [], path, key)
    listed: list[tuple[str, float]] = []
    for (i, line), row in zip(lines[1:], rows[1:], strict=False):
        where = f"{path}, line {i}"
        if len(row) != len(rows[0]):
            raise damaged(key, f"{where}: {line!r} has {len(row)} fields, the header {len(rows[0])}")
        name, reference, opinion = (row[place].strip() for place in places)
        if reference.lower() != f"{name[:3].lower()}.png":
            raise damaged(key, f"{where}: the reference of {name} is {reference!r}; valid: {name[:3]}.png")
        listed.append((name.lower(), number(opinion, where, key, LOWEST, HIGHEST)))
    complete([name for name, _ in listed], NUMBERING.names(), path, key)
    return dict(sorted(listed))


def _places(header: Sequence[str], path: Path, key: str) -> list[int]:
    names = [name.strip().lower() for name in header]
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise damaged(key, f"{path} has no column {missing[0]}; valid: dist_img,ref_img,dmos,var")
    return [names.index(name) for name in COLUMNS]
