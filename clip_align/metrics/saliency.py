# SPDX-License-Identifier: Apache-2.0
"""How well a saliency map predicts where people looked, on one image: float64 numpy, without intervals.

Maps are arrays [H, W] of any scale. Fixations are counts [H, W]: how often each pixel was fixated. A density is a map
that is not negative and sums to 1 (`fixation_density`). Definitions after Bylinskii et al., IEEE TPAMI 41 (2019) 740,
and saliency.tuebingen.ai. NaN where a measure is undefined: no fixations, a map that is not finite, and a constant map
for NSS and CC.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "AUC_VARIANTS",
    "AucVariant",
    "Outside",
    "as_density",
    "auc_judd",
    "cc",
    "centre_gaussian",
    "fixation_counts",
    "fixation_density",
    "information_gain",
    "kl",
    "nss",
    "sim",
]

Array = NDArray[np.float64]
Outside = Literal["nearest", "zero"]
AucVariant = Literal["rank", "mit"]
AUC_VARIANTS: tuple[AucVariant, ...] = ("rank", "mit")

EPSILON = 2.2204e-16  # in KL and information gain, as in the MIT benchmark's code
TRUNCATED_AT = 4.0  # standard deviations at which the kernel of a density ends, as scipy.ndimage has it


def fixation_counts(x: ArrayLike, y: ArrayLike, height: int, width: int) -> Array:
    """Counts [height, width] of the fixations in each pixel.

    Args:
        x, y: coordinates [N] in pixels, from the left and from the top; pixel i covers [i, i + 1). Fixations outside
            the image are left out.
        height, width: of the image in pixels.
    """
    columns, rows = (np.floor(np.asarray(v, dtype=np.float64)) for v in (x, y))
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)  # False for NaN
    counts = np.zeros((height, width))
    np.add.at(counts, (rows[inside].astype(np.intp), columns[inside].astype(np.intp)), 1.0)
    return counts


def fixation_density(counts: ArrayLike, sigma_px: float, outside: Outside = "nearest") -> Array:
    """Density [H, W] of the fixations: their counts under a Gaussian filter, normalized to the sum 1.

    Args:
        counts: [H, W].
        sigma_px: standard deviation of the Gaussian in pixels; the kernel ends at 4 of them.
        outside: counts beyond the border: ``zero``, or ``nearest``, those of the nearest pixel.

    The same as ``scipy.ndimage.gaussian_filter``, summed over fixations instead of pixels. NaN without fixations.
    """
    c = np.asarray(counts, dtype=np.float64)
    rows, columns = np.nonzero(c)
    if not len(rows):
        return np.full(c.shape, math.nan)
    down = _kernel(rows, c.shape[0], sigma_px, outside) * c[rows, columns]  # [H, N]
    across = _kernel(columns, c.shape[1], sigma_px, outside)  # [W, N]
    # not by BLAS, whose threads slow each other down on a busy machine, and whose bits depend on their number
    density = np.einsum("hn,wn->hw", down, across)
    return np.asarray(density / density.sum())


def _kernel(places: NDArray[np.intp], length: int, sigma: float, outside: Outside) -> Array:
    """What a count at each of ``places`` [N] adds to the pixels of a line: [length, N]."""
    radius = int(TRUNCATED_AT * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    distance = np.arange(length)[:, None] - places[None, :]
    added = np.where(np.abs(distance) <= radius, kernel[np.clip(distance + radius, 0, 2 * radius)], 0.0)
    if outside == "nearest":
        # the pixels beyond a border repeat it: a count there adds the rest of the kernel too
        tail = np.append(np.cumsum(kernel[::-1])[::-1], 0.0)  # [i]: the sum of kernel[i:]
        beyond = tail[np.clip(np.arange(length) + 1 + radius, 0, 2 * radius + 1)]  # further out
        added[:, places == 0] += beyond[:, None]
        added[:, places == length - 1] += beyond[::-1, None]
    return added


def centre_gaussian(height: int, width: int, fraction: float = 0.25) -> Array:
    """The centre bias without any data: a Gaussian [height, width] around the middle, 1 at its peak.

    Args:
        height, width: of the image in pixels.
        fraction: standard deviation along each side as a fraction of it.
    """
    down, across = (
        np.exp(-0.5 * ((np.arange(side) - (side - 1) / 2) / (fraction * side)) ** 2) for side in (height, width)
    )
    return np.asarray(np.outer(down, across))


def as_density(saliency: ArrayLike) -> Array:
    """The map normalized to the sum 1, after its minimum is subtracted where that is negative; NaN if the sum is 0."""
    s = np.asarray(saliency, dtype=np.float64)
    s = s - min(float(s.min()), 0.0)
    total = float(s.sum())
    return s / total if total > 0 else np.full(s.shape, math.nan)


def nss(saliency: ArrayLike, counts: ArrayLike) -> float:
    """Normalized scanpath saliency: mean of the standardized map over the fixations.

    Args:
        saliency: map [H, W]; only its order and spacing count, not its scale or offset.
        counts: of fixations [H, W].

    0 = chance, higher = better; a fixation counts as often as it was made. Population standard deviation.
    """
    s, c = _both(saliency, counts)
    n, spread = c.sum(), s.std()
    return float(((s - s.mean()) * c).sum() / (spread * n)) if n > 0 and not _constant(s) else math.nan


def cc(saliency: ArrayLike, density: ArrayLike) -> float:
    """Pearson's correlation, over the pixels, of the map with the density of the fixations; 0 = chance, 1 = the same.

    Args:
        saliency, density: maps [H, W].
    """
    s, d = _both(saliency, density)
    if _constant(s) or _constant(d):
        return math.nan
    s, d = s - s.mean(), d - d.mean()
    return float(np.clip((s * d).sum() / math.sqrt((s * s).sum() * (d * d).sum()), -1.0, 1.0))


def sim(saliency: ArrayLike, density: ArrayLike) -> float:
    """Similarity: what the map and the density of the fixations, both with the sum 1, have in common; 0 to 1.

    Args:
        saliency, density: maps [H, W]. Their order does not matter: 1 - the total variation distance.
    """
    return float(np.minimum(as_density(saliency), as_density(density)).sum())


def kl(saliency: ArrayLike, density: ArrayLike) -> float:
    """Kullback-Leibler divergence of the map from the density of the fixations, in nats; 0 = the same, lower = better.

    Args:
        saliency: map [H, W].
        density: of the fixations [H, W].

    sum d log(e + d / (s + e)), both with the sum 1, e = 2.2204e-16: where people looked and the map is 0, e counts.
    """
    s, d = as_density(saliency), as_density(density)
    return float((d * np.log(EPSILON + d / (s + EPSILON))).sum())


def information_gain(saliency: ArrayLike, baseline: ArrayLike, counts: ArrayLike) -> float:
    """Information gain in bits per fixation over a baseline map: how much better the map predicts the fixations.

    Args:
        saliency: map [H, W].
        baseline: another map [H, W], usually the centre bias.
        counts: of fixations [H, W].

    Mean over the fixations of log2(e + s) - log2(e + b), both with the sum 1; 0 = as good as the baseline.
    """
    s, c = _both(saliency, counts)
    fixated = c > 0
    if not fixated.any():
        return math.nan
    gained = np.log2(EPSILON + as_density(s)[fixated]) - np.log2(EPSILON + as_density(baseline)[fixated])
    return float((gained * c[fixated]).sum() / c.sum())


def auc_judd(saliency: ArrayLike, counts: ArrayLike, variant: AucVariant = "rank") -> float:
    """Area under the curve that tells fixated pixels from others by a threshold on the map; .5 = chance, 1 = perfect.

    Args:
        saliency: map [H, W]; only its order counts.
        counts: of fixations [H, W].
        variant: ``rank``: each fixation against all pixels, by the rank formula (Mann-Whitney, ties one half).
            ``mit``: each fixated pixel once against all pixels that are not, thresholds at the fixated pixels' values,
            trapezoids between them (MIT's AUC_Judd, without its random jitter).

    A constant map has .5.
    """
    s, c = _both(saliency, counts)
    fixated = c > 0
    others = s[~fixated] if variant == "mit" else s.ravel()
    if not fixated.any() or not len(others) or not np.isfinite(s).all():
        return math.nan
    thresholds, which = np.unique(s[fixated], return_inverse=True)
    if variant == "mit":
        hits, false = (1 - _below(v, thresholds, "left")[::-1] / len(v) for v in (s[fixated], others))
        return float(np.trapezoid(np.concatenate([[0], hits, [1]]), np.concatenate([[0], false, [1]])))
    below = (_below(others, thresholds, "left") + _below(others, thresholds, "right"))[which.ravel()]
    return float((below * c[fixated]).sum() / (2 * len(others) * c.sum()))


def _below(values: Array, thresholds: Array, side: Literal["left", "right"]) -> NDArray[np.intp]:
    """How many of the values [N] are below each ascending threshold [T] (``left``), or at most as large (``right``).

    Without sorting the values: an image has thousands of times as many pixels as fixations.
    """
    first = np.searchsorted(thresholds, values, "right" if side == "left" else "left")  # [N], threshold above a value
    return np.asarray(np.cumsum(np.bincount(first, minlength=len(thresholds)))[: len(thresholds)])


def _both(saliency: ArrayLike, other: ArrayLike) -> tuple[Array, Array]:
    s, o = np.asarray(saliency, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if s.shape != o.shape or s.ndim != 2:
        raise ValueError(f"a map {s.shape} and fixations {o.shape}; both are [H, W], of the same size")
    return s, o


def _constant(values: Array) -> bool:
    low, high = float(values.min()), float(values.max())
    return not low < high  # True for NaN: nothing can be said of such a map
