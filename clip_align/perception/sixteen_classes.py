# SPDX-License-Identifier: Apache-2.0
"""The 16 entry-level classes of Geirhos et al. (2018, 2019), and how 1,000 ImageNet classes map to them.

The index lists are those of ``HumanCategories`` in rgeirhos/texture-vs-shape (code/helper/human_categories.py) and
bethgelab/model-vs-human, with their peculiarities: cougar is a cat, minivan a truck, knife is the cleaver alone, oven
the rotisserie alone; ambulance, jeep and cab belong to none. 207 of the 1,000 indices are used, each once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clip_align.metrics.accuracy import NO_CHOICE

__all__ = ["CATEGORIES", "IMAGENET_CLASSES", "IMAGENET_INDICES", "category_numbers", "decisions_by_mean_probability"]

IMAGENET_CLASSES = 1000


def _indices(*parts: int | range, without: Iterable[int] = ()) -> tuple[int, ...]:
    every = [i for part in parts for i in ([part] if isinstance(part, int) else part)]
    return tuple(i for i in every if i not in set(without))


# alphabetical, which is also the order of the numbers of classes in the authors' code
IMAGENET_INDICES: Mapping[str, tuple[int, ...]] = {
    "airplane": _indices(404),
    "bear": _indices(range(294, 298)),
    "bicycle": _indices(444, 671),
    "bird": _indices(
        8,
        range(10, 17),
        range(18, 21),
        range(22, 25),
        range(80, 84),
        range(87, 97),
        range(98, 101),
        range(127, 134),
        range(135, 146),
    ),
    "boat": _indices(472, 554, 625, 814, 914),
    "bottle": _indices(440, 720, 737, 898, 899, 901, 907),
    "car": _indices(436, 511, 817),
    "cat": _indices(range(281, 287)),
    "chair": _indices(423, 559, 765, 857),
    "clock": _indices(409, 530, 892),
    "dog": _indices(range(152, 269), without=(192, 204, 227, 242, 251, 258, 260, 264)),
    "elephant": _indices(385, 386),
    "keyboard": _indices(508, 878),
    "knife": _indices(499),
    "oven": _indices(766),
    "truck": _indices(555, 569, 656, 675, 717, 734, 864, 867),
}
CATEGORIES: tuple[str, ...] = tuple(IMAGENET_INDICES)


def category_numbers(names: ArrayLike) -> NDArray[np.int64]:
    """Numbers [N] of classes by name, 0 for airplane to 15 for truck; -1 for any other text (no answer)."""
    numbers = {name: number for number, name in enumerate(CATEGORIES)}
    return np.array([numbers.get(name, NO_CHOICE) for name in np.asarray(names).tolist()], dtype=np.int64)


def decisions_by_mean_probability(logits: ArrayLike, among: Sequence[int] | None = None) -> NDArray[np.int8]:
    """Decisions [N] of a classifier of ImageNet's 1,000 classes among the 16: the largest mean probability.

    Softmax over all 1,000 classes, then for each of the 16 the mean, not the sum, of the probabilities of its ImageNet
    classes (a sum would favour dog, with 109 of them); the first class of the alphabet wins a tie. As in
    rgeirhos/texture-vs-shape, code/probabilities_to_decision.py.

    Args:
        logits: [N, 1000], before the softmax, in ImageNet's order.
        among: numbers of the classes that may be chosen; None: all 16.

    Returns:
        Numbers of classes; -1 (no decision) where logits are not finite or all equal. ValueError for another shape.
    """
    values = np.asarray(logits, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != IMAGENET_CLASSES:
        raise ValueError(f"logits of {IMAGENET_CLASSES:,} classes are [N, {IMAGENET_CLASSES}], got {values.shape}")
    candidates = list(range(len(CATEGORIES))) if among is None else sorted(among)
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(values).all(axis=1))
    decided = finite & (np.ptp(np.where(finite[:, None], values, 0.0), axis=1) > 0)
    usable = np.where(decided[:, None], values, 0.0)
    # the common factor of a softmax does not change which mean is largest; the maximum keeps exp() in range
    probabilities = np.exp(usable - usable.max(axis=1, keepdims=True))
    means = np.stack(
        [probabilities[:, list(IMAGENET_INDICES[CATEGORIES[number]])].mean(axis=1) for number in candidates], axis=1
    )
    return np.where(decided, np.asarray(candidates)[np.argmax(means, axis=1)], NO_CHOICE).astype(np.int8)
