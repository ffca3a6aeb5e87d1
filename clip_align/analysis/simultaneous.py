# SPDX-License-Identifier: Apache-2.0
"""Bounds that hold together for all pairs of windows of a curve: contrasts, their errors, and critical values.

The error of a contrast has two parts: the references, whose variance is estimated over R of them, and jitter, whose
variance has degrees of freedom of its own. Critical values are quantiles of the largest of all studentized contrasts of
a family in simulated curves (a multivariate t): normal contrasts of the right covariance, divided by errors whose two
parts vary as much as their estimates do. The draws are seeded, so that a record has one verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from clip_align.analysis.windows import Windows

__all__ = ["Contrasts", "Simultaneous"]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

DRAWS = 600
BLOCK = 50  # draws at a time: bounds the memory
ROUNDING = 1e-12  # of window means
FEWEST_BEYOND = 10  # draws beyond a quantile


class Contrasts:
    """Falls from the earlier to the later window of every pair, with standard errors.

    Args:
        values: the curve [T].
        units: pseudo-values [T, R] of each kind of cluster, see `ScoreCurve`.
        covariance: of the jitter [T, T].
        of: the windows, of P pairs.

    falls: [P]. errors: [P]. of_items, of_jitter: the two parts of their squares [P].
    """

    def __init__(self, values: Floats, units: Sequence[Floats], covariance: Floats, of: Windows) -> None:
        self.of = of
        items = np.hstack([_of_mean(unit) for unit in units])  # [T, R of all kinds]
        variances, vectors = np.linalg.eigh(covariance)
        moves = vectors * np.sqrt(np.clip(variances, 0.0, None))  # [T, T]
        # columns of independent unit noise, by window [W, R], [W, T]
        self.noise = [np.asarray(of.weights @ part) for part in (items, moves)]
        self.of_items, self.of_jitter = (((part[of.earlier] - part[of.later]) ** 2).sum(axis=1) for part in self.noise)
        self.errors = np.sqrt(self.of_items + self.of_jitter)
        means = of.weights @ values
        self.falls = means[of.earlier] - means[of.later]
        self.falls[np.abs(self.falls) < ROUNDING] = 0.0


class Simultaneous:
    """Critical values for families of contrasts.

    Args:
        found: the contrasts, of P pairs.
        degrees: degrees of freedom of the references' variance, and of the jitter's.
        families: masks [P] by name, over each of which bounds hold together.
    """

    def __init__(self, found: Contrasts, degrees: tuple[float, float], families: Mapping[str, Mask]) -> None:
        generator = np.random.default_rng(0)
        of, total = found.of, found.errors**2
        part = np.divide(found.of_items, total, out=np.ones_like(total), where=total > 0)
        scale = np.divide(1.0, found.errors, out=np.zeros_like(total), where=total > 0)
        part, scale = (values.astype(np.float32)[:, None] for values in (part, scale))
        largest: dict[str, list[tuple[Floats, Floats]]] = {name: [] for name in families}
        for _ in range(DRAWS // BLOCK):
            parts = [p @ generator.normal(size=(p.shape[1], BLOCK)) for p in found.noise]
            noise = np.sum(parts, axis=0).astype(np.float32)
            of_items, of_jitter = ((generator.chisquare(d, size=BLOCK) / d).astype(np.float32) for d in degrees)
            drawn = noise[of.earlier] - noise[of.later]
            drawn *= scale / np.sqrt(part * of_items + (1 - part) * of_jitter)
            for name, mask in families.items():
                some = drawn if mask.all() else drawn[mask]  # a copy costs as much as the draw
                largest[name].append((some.max(axis=0), -some.min(axis=0)))
        # of each draw the largest studentized error upwards and downwards, which have one distribution
        self._largest = {name: [np.concatenate(side) for side in zip(*s, strict=True)] for name, s in largest.items()}
        parts = found.of_items**2 / degrees[0] + found.of_jitter**2 / degrees[1]
        of_each = np.divide(total**2, parts, out=np.full_like(total, degrees[0]), where=parts > 0)  # Satterthwaite's
        self._degrees = {name: float(np.median(of_each[mask])) for name, mask in families.items()}

    def critical(self, family: str, level: float, sides: int = 1) -> float:
        """The factor on standard errors with which all bounds of a family hold in ``level`` of the curves.

        ``sides`` 2: bounds on either side. Levels beyond what the draws can tell are extrapolated: at .95 a family is
        like some number of independent contrasts, which has the same quantile; a t distribution has its tail.
        """
        up, down = self._largest[family]
        both = np.maximum(up, down) if sides == 2 else np.concatenate((up, down))
        if level <= 1 - FEWEST_BEYOND / len(both):
            return float(np.quantile(both, level))
        from scipy.special import stdtr, stdtrit

        known = float(np.quantile(both, 0.95))
        degrees = self._degrees[family]
        alike = np.log(0.95) / np.log(stdtr(degrees, known))
        return float(stdtrit(degrees, level ** (1 / alike)))


def _of_mean(unit: Floats) -> Floats:
    """Deviations [T, R] whose products, summed over the clusters, are the covariance of the mean over clusters."""
    clusters = unit.shape[1]
    return np.asarray((unit - unit.mean(axis=1, keepdims=True)) / np.sqrt(clusters * (clusters - 1)))
