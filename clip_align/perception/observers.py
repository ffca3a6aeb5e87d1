# SPDX-License-Identifier: Apache-2.0
"""Observers without an embedding: what they judge of pairs of images, from pixels or from the condition alone.

An observer is given a `PairSet` and returns distances [P], larger = more different; a score of a benchmark over them is
a baseline of the score. ``evaluation.observers.observed`` evaluates one on the pairs that a benchmark declares.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from clip_align.errors import UserError
from clip_align.perception import psnr
from clip_align.perception.luminance import luminance

Image = NDArray[Any]  # [H, W, 3], uint8, or float32 in [0, 1]
Measure = Callable[[Image, Image], float]
EQUAL_DB = 100.0  # of equal images, and of those with less than one value of 154,000 a level off


@dataclass(frozen=True, eq=False)
class Labels:
    """What is known of pairs without looking at them.

    columns: labels [P] by name: level, type, reference, …. human: float64 [P], larger = more alike to people.
    """

    columns: Mapping[str, NDArray[Any]]
    human: NDArray[np.float64]

    def column(self, name: str) -> NDArray[Any]:
        """The labels of that name; UserError if there are none."""
        if name not in self.columns:
            raise UserError(f"observers: the pairs have no column {name}; valid: {', '.join(self.columns) or 'none'}")
        return self.columns[name]


@dataclass(frozen=True, eq=False)
class PairSet:
    """Pairs of images, in a fixed order: how many, and functions for what an observer may want to know of them.

    images: iterates over (reference, other). labels: see `Labels`; may raise UserError.
    """

    size: int
    images: Callable[[], Iterator[tuple[Image, Image]]]
    labels: Callable[[], Labels]


class Observer(ABC):
    """Judges pairs of images without an embedding."""

    @abstractmethod
    def distances(self, pairs: PairSet) -> NDArray[np.float64]:
        """How different the images of each pair are, [P]; larger = more different."""


@dataclass(frozen=True)
class OfImages(Observer):
    """Compares the two images of each pair.

    measure: of two images [H, W, 3]. similarity: it is larger for images that are more alike.
    """

    measure: Measure
    similarity: bool = False

    def distances(self, pairs: PairSet) -> NDArray[np.float64]:
        """Distances [P]."""
        values = np.fromiter((self.measure(a, b) for a, b in pairs.images()), np.float64, pairs.size)
        return -values if self.similarity else values


@dataclass(frozen=True, eq=False)
class Measured(Observer):
    """Measures that were taken before.

    values: float64 [P], in the order of the pairs. similarity: larger = more alike.
    """

    values: NDArray[np.float64]
    similarity: bool = False

    def distances(self, pairs: PairSet) -> NDArray[np.float64]:
        """Distances [P]; ValueError for another number of pairs."""
        if len(self.values) != pairs.size:
            raise ValueError(f"{len(self.values)} measures of {pairs.size} pairs")
        return -self.values if self.similarity else self.values


@dataclass(frozen=True)
class ColumnAlone(Observer):
    """Knows a number of each pair, such as its level, and sees no image. sign: -1 where a larger number is milder."""

    column: str = "level"
    sign: int = 1

    def distances(self, pairs: PairSet) -> NDArray[np.float64]:
        """Distances [P]; UserError for a column that is not there or holds no numbers."""
        labels = pairs.labels().column(self.column)
        try:
            return self.sign * labels.astype(np.float64)
        except ValueError:
            raise UserError(
                f"observers: the column {self.column} holds {labels[0]!s}, no number; ConditionAlone takes labels"
            ) from None


@dataclass(frozen=True)
class ConditionAlone(Observer):
    """Gives each pair the mean opinion of the same condition over the other references, and sees no image.

    columns: that make the condition together. reference: the column of the references.
    """

    columns: tuple[str, ...] = ("type",)
    reference: str = "reference"

    def distances(self, pairs: PairSet) -> NDArray[np.float64]:
        """Distances [P]; NaN where a condition has one reference only."""
        labels = pairs.labels()
        numbers = [np.unique(labels.column(name), return_inverse=True)[1] for name in (*self.columns, self.reference)]
        condition = np.ravel_multi_index(tuple(numbers[:-1]), tuple(int(of.max()) + 1 for of in numbers[:-1]))
        return -others_mean(labels.human, condition, numbers[-1])


def others_mean(
    human: NDArray[np.float64], condition: NDArray[np.intp], reference: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Mean opinion [P] of the same condition over the other references, NaN where there are none.

    Args:
        human: opinions [P].
        condition: labels [P].
        reference: labels [P], whole numbers from 0.
    """
    labels = np.unique(condition, return_inverse=True)[1]
    sums, counts = np.bincount(labels, weights=human), np.bincount(labels)
    # leave out all pairs of the same reference and condition, e.g. the five levels of a type
    own = labels * (int(reference.max()) + 1) + reference
    own_sums, own_counts = np.bincount(own, weights=human), np.bincount(own)
    with np.errstate(invalid="ignore"):
        return np.asarray((sums[labels] - own_sums[own]) / (counts[labels] - own_counts[own]))


def psnr_luminance(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """PSNR in dB of the luminances (full-range BT.601, not rounded) of two images; infinite if equal."""
    error = np.square(luminance(a) - luminance(b), dtype=np.float64)
    return psnr.from_mean_square(float(error.mean()))


def ssim(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Structural similarity of the luminances of two images, -1 to 1, 1 = equal.

    Wang et al., IEEE Trans. Image Process. 13 (2004) 600-612: Gaussian window of 1.5 px (11 x 11), K .01 and .03,
    population variances, mean over the places where the window fits; no down-sampling. In float32 about mid-grey.
    """
    x, y = luminance(a) - np.float32(128), luminance(b) - np.float32(128)
    mean_x, mean_y = _smooth(x), _smooth(y)
    var_x, var_y = _smooth(x * x) - mean_x * mean_x, _smooth(y * y) - mean_y * mean_y
    cov = _smooth(x * y) - mean_x * mean_y
    # about mid-grey the variances lose no digits of float32 to the mean; the means themselves need it back
    mean_x += np.float32(128)
    mean_y += np.float32(128)
    c1, c2 = np.float32((0.01 * psnr.PEAK) ** 2), np.float32((0.03 * psnr.PEAK) ** 2)
    numerator = (2 * mean_x * mean_y + c1) * (2 * cov + c2)
    quality = numerator / ((mean_x * mean_x + mean_y * mean_y + c1) * (var_x + var_y + c2))
    return float(quality.mean(dtype=np.float64))


def _smooth(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    radius = 5  # 3.5 sigma
    return np.asarray(ndimage.gaussian_filter(plane, 1.5, radius=radius)[radius:-radius, radius:-radius])


def _at_most(measure: Measure, a: Image, b: Image) -> float:
    return min(EQUAL_DB, measure(a, b))


# bounded: a correlation with infinite values is undefined, and databases hold pairs that are equal to the pixel
PSNR = OfImages(partial(_at_most, psnr.psnr), similarity=True)
PSNR_LUMINANCE = OfImages(partial(_at_most, psnr_luminance), similarity=True)
SSIM = OfImages(ssim, similarity=True)
LEVEL_ALONE = ColumnAlone("level")
