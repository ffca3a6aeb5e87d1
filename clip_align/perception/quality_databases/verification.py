# SPDX-License-Identifier: Apache-2.0
"""Known answers of image-quality databases: what their authors distribute, and PSNR over RGB as published.

PSNR takes the way of any other observer: files are found and joined to opinions by the benchmark's reader, decoded by
the benchmark's decoder, and correlated by the benchmark's statistics. A database that is whole and a pipeline that is
right give the published correlations to the last digit; one exchanged list of opinions does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clip_align.known_answer import KnownAnswer, count
from clip_align.metrics.correlation import krocc, srocc
from clip_align.perception.download import Download
from clip_align.perception.image_files import read_rgb
from clip_align.perception.observers import LEVEL_ALONE, PSNR, Labels, PairSet
from clip_align.perception.rated_pairs import RatedPair, damaged

__all__ = ["Known", "opinion_rows", "psnr_rows", "verified"]

DIGITS = 1e-4  # the last digit of what is expected
STATISTICS = {"srocc": ("SROCC", srocc), "krocc": ("KROCC", krocc)}


@dataclass(frozen=True)
class Known:
    """What is known of a database. Opinions are on its own scale.

    key: of the benchmark, for error messages. references, types, images: numbers of them. higher_is_better: direction
    of the scale. lowest, highest, mean: of all opinions. means: mean opinion by level, or by type where there are
    no levels. psnr: published correlations of PSNR over RGB, by statistic. level_alone: SROCC of minus the level.
    sides: height and width that all images have, in pixels.
    """

    key: str
    download: Download
    references: int
    types: int
    images: int
    lowest: float
    highest: float
    mean: float
    means: Mapping[str, float]
    psnr: Mapping[str, float]
    higher_is_better: bool = True
    level_alone: float | None = None
    sides: tuple[int, int] | None = None


def verified(root: Path, known: Known, read: Callable[[Path, str], Sequence[RatedPair]]) -> Iterator[KnownAnswer]:
    """The rows of a database.

    Args:
        root: its folder.
        known: what is expected.
        read: its reader, which is given the folder and the key.

    UserError for a folder that lacks files, damaged lists, and images that cannot be compared.
    """
    pairs = read(known.download.verified_folder(root), known.key)
    yield from opinion_rows(pairs, known)
    yield from psnr_rows(pairs, known)


def opinion_rows(pairs: Sequence[RatedPair], known: Known) -> Iterator[KnownAnswer]:
    """What the lists alone give: counts, range and means of the opinions, and the level without any image."""
    yield count("distorted images", len(pairs), known.images)
    yield count("references", len({p.reference for p in pairs}), known.references)
    yield count("types of distortion", len({p.type for p in pairs}), known.types)
    human = np.array([p.opinion for p in pairs])
    own = human if known.higher_is_better else -human
    for name, value, expected in (
        ("lowest", own.min(), known.lowest),
        ("highest", own.max(), known.highest),
        ("mean", own.mean(), known.mean),
    ):
        yield KnownAnswer(f"opinions, {name}", float(value), expected, DIGITS)
    groups = np.array([p.type if p.level is None else f"level {p.level}" for p in pairs])
    for name, expected in known.means.items():
        of = own[groups == name]
        yield KnownAnswer(f"opinions, mean of {name}", float(of.mean()) if len(of) else float("nan"), expected, DIGITS)
    if known.level_alone is not None:
        labels = Labels({"level": np.array([p.level for p in pairs])}, human)
        alone = -LEVEL_ALONE.distances(PairSet(len(pairs), lambda: iter(()), lambda: labels))
        yield KnownAnswer("level alone: SROCC", srocc(alone, human), known.level_alone, DIGITS)


def psnr_rows(pairs: Sequence[RatedPair], known: Known) -> Iterator[KnownAnswer]:
    """What the images give; each is decoded once, and one reference is kept in memory."""
    images = _Images(pairs, known.key)
    human = np.array([p.opinion for p in pairs])
    values = -PSNR.distances(PairSet(len(pairs), images.each, lambda: Labels({}, human)))
    if known.sides is not None:
        height, width = known.sides
        name = f"images of {width} x {height} px, references among them"
        yield count(name, images.sizes[known.sides], known.images + known.references)
    yield KnownAnswer("pairs that are equal to the pixel", images.equal, None)
    for name, (label, statistic) in STATISTICS.items():
        yield KnownAnswer(f"PSNR (RGB): {label}", statistic(values, human), known.psnr[name], DIGITS)


@dataclass
class _Images:
    """Decodes pairs in their order, and counts the sizes of the files, each once, and the equal pairs."""

    pairs: Sequence[RatedPair]
    key: str
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    equal: int = 0  # pairs, to the pixel

    def each(self) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        """Reference and distorted image of each pair; UserError where they cannot be compared."""
        last: Path | None = None
        reference = np.zeros((0, 0, 3), np.uint8)
        seen: set[Path] = set()
        for pair in self.pairs:
            if pair.reference != last:
                last, reference = pair.reference, self._read(pair.reference)
                self.sizes[reference.shape[:2]] += pair.reference not in seen
                seen.add(pair.reference)
            distorted = self._read(pair.distorted)
            if distorted.shape != reference.shape:
                shapes = [f"{image.shape[1]} x {image.shape[0]} px" for image in (distorted, reference)]
                what = f"{pair.distorted} has {shapes[0]}, its reference {pair.reference.name} {shapes[1]}"
                raise damaged(self.key, f"{what}; unpack the database again")
            self.sizes[distorted.shape[:2]] += 1
            self.equal += np.array_equal(reference, distorted)
            yield reference, distorted

    def _read(self, path: Path) -> NDArray[np.uint8]:
        try:
            return read_rgb(path)
        except (OSError, ValueError) as error:
            what = " ".join(str(error).split())
            raise damaged(self.key, f"{path} cannot be read ({what}); unpack the database again") from error
