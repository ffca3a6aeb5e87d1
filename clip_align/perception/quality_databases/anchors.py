# SPDX-License-Identifier: Apache-2.0
"""What is known of a whole image-quality database: how many images it has, and how well PSNR agrees with people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clip_align.errors import Problem, UserError
from clip_align.known_answer import KnownAnswer, count
from clip_align.metrics.correlation import krocc, srocc
from clip_align.perception.color_spaces import ColorDistance
from clip_align.perception.download import lacking
from clip_align.perception.image_files import read_rgb
from clip_align.perception.rated_pairs import RatedPair

DIGITS = 1e-4
PIXELS = ColorDistance()  # the RMSE


@dataclass(frozen=True)
class Known:
    """Numbers of distorted images and of references, and the published agreement of PSNR over 8-bit RGB."""

    images: int
    references: int
    srocc: float
    krocc: float


def anchors(
    root: Path, name: str, needed: Sequence[str], read: Callable[[], list[RatedPair]], known: Known
) -> Iterator[KnownAnswer]:
    """Counts, and SROCC and KROCC of PSNR over 8-bit RGB with the opinions.

    Args:
        root: folder of the database.
        name: of the benchmark.
        needed: paths without which the database is not there.
        read: its reader, which checks names, numbers of images and ranges of opinions.
        known: what is expected.

    UserError for a database that is not there or damaged.
    """
    missing = lacking(root, needed)
    if missing:
        what = f"{root} lacks {missing[0]}; expected below it: {', '.join(needed)}"
        raise UserError(Problem("root", f"{what}; python -m clip_align data {name} shows where it is from"))
    pairs = read()
    yield count("distorted images", len(pairs), known.images)
    yield count("references", len({pair.cluster for pair in pairs}), known.references)
    opinions = np.array([pair.opinion for pair in pairs])
    # ranks are those of PSNR, which is infinite for images that are equal
    alike = np.array([-_rmse(pair) for pair in pairs])
    yield KnownAnswer("PSNR (RGB): SROCC", srocc(alike, opinions), known.srocc, DIGITS)
    yield KnownAnswer("PSNR (RGB): KROCC", krocc(alike, opinions), known.krocc, DIGITS)


def _rmse(pair: RatedPair) -> float:
    try:
        reference, distorted = read_rgb(pair.reference), read_rgb(pair.distorted)
    except (OSError, ValueError) as error:
        raise UserError(Problem("root", f"cannot read {pair.distorted} or its reference: {error}")) from error
    if reference.shape != distorted.shape:
        (h, w), (height, width) = distorted.shape[:2], reference.shape[:2]
        what = f"{pair.distorted} is {w} x {h} px, its reference {width} x {height}; unpack the database again"
        raise UserError(Problem("root", what))
    return PIXELS(reference, distorted)
