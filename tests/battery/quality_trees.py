# SPDX-License-Identifier: Apache-2.0
"""Image-quality databases in miniature, as their downloads lie on the disk, with the awkward names that they have.

The lists of scores are whole; images, small and random, are those of the references asked for.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clip_align.callbacks.rated_pairs import RatedPairs
from clip_align.evaluation.observers import observed
from clip_align.perception.observers import Measured
from clip_align.testing.random_images import random_image

Condition = tuple[int, int, int]  # reference, type, level


EVERY = range(1, 1000)  # references: those that the database has


def image(path: Path, empty: bool = False, height: int = 24, width: int = 32) -> None:
    """A small random image; ``empty``: a file without content, where images are not looked at."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if empty:
        path.touch()
        return
    Image.fromarray(random_image(path.name.lower(), height, width)).save(path)


def made_up(condition: Condition) -> float:
    """An opinion from 1 to 5, better for mild distortions, different for each pair."""
    reference, kind, level = condition
    return round(4.9 - 0.6 * level + 0.01 * ((7 * kind + 3 * reference) % 11) + 0.0001 * (kind + 25 * reference), 5)


def tid(
    folder: Path,
    types: int,
    levels: int,
    references: Sequence[int] = (1, 25),
    opinions: Mapping[Condition, float] | None = None,
    empty: bool = False,
) -> Path:
    """TID2013 or TID2008: line ends of DOS, mixed case in list and folders, ``i25.bmp`` beside ``I01.BMP``."""
    lines = []
    for of in itertools.product(range(1, 26), range(1, types + 1), range(1, levels + 1)):
        reference, kind, level = of
        # 75 names of the original begin with I, 50 end in .BMP
        first, suffix = "I" if kind == 1 and level == 1 else "i", ".BMP" if kind == 2 and level < 3 else ".bmp"
        name = f"{reference:02d}_{kind:02d}_{level}"
        lines.append(f"{(opinions or {}).get(of, made_up(of)):.5f} {first}{name}{suffix}")
        if reference in references:
            there = f"{'I' if kind == 3 else 'i'}{name}{'.BMP' if level == 1 else '.bmp'}"
            image(folder / "distorted_images" / there, empty)
    for reference in {*references} & {*range(1, 26)}:
        image(folder / "reference_images" / ("i25.bmp" if reference == 25 else f"I{reference:02d}.BMP"), empty)
    (folder / "reference_images" / "Thumbs.db").touch()
    (folder / "mos_with_names.txt").write_text("\r\n".join([*lines, "", ""]), newline="")
    return folder


def check_orientation(callback: RatedPairs) -> None:
    """A perfect metric has +1, its negation -1, and a constant one no score."""
    human = np.array([pair.opinion for pair in callback.rated])
    for sign in (1, -1):
        estimates = observed(callback, Measured(sign * human, similarity=True)).estimates
        assert estimates["srocc"].value == sign
        assert estimates["krocc"].value == pytest.approx(sign)  # two roots: to the last bit but one
        assert estimates["plcc"].value == pytest.approx(sign)
        assert estimates["plcc_fitted"].value == pytest.approx(sign)
        by = [e.value for name, e in estimates.items() if name.startswith(("srocc_type_", "within_reference_srocc"))]
        assert len(by) == 1 + len({p.type for p in callback.rated}) + len({p.cluster for p in callback.rated})
        assert all(value == pytest.approx(sign) for value in by)
        within = estimates.get("within_level_srocc")
        assert (within is not None) == all(pair.level is not None for pair in callback.rated)
        assert within is None or within.value == pytest.approx(sign)
    for estimate in observed(callback, Measured(np.ones(len(human)))).estimates.values():
        assert estimate.value is None
        assert estimate.reason


def kadid10k(
    folder: Path,
    references: Sequence[int] = (1, 81),
    opinions: Mapping[Condition, float] | None = None,
    empty: bool = False,
) -> Path:
    """KADID-10k: references among the distorted images in one folder, a header, "dmos" that rises with quality."""
    lines = ["dist_img,ref_img,dmos,var"]
    for of in itertools.product(range(1, 82), range(1, 26), range(1, 6)):
        reference, kind, level = of
        name = f"I{reference:02d}_{kind:02d}_{level:02d}.png"
        lines.append(f"{name},I{reference:02d}.png,{(opinions or {}).get(of, made_up(of))},0.5")
        if reference in references:
            image(folder / "images" / name, empty)
    for reference in {*references} & {*range(1, 82)}:
        image(folder / "images" / f"I{reference:02d}.png", empty)
    (folder / "dmos.csv").write_text("\r\n".join([*lines, ""]), newline="")
    return folder
