# SPDX-License-Identifier: Apache-2.0
"""Jackknife intervals: by hand, where there is none, and their coverage in a random-effects model."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

from clip_align.analysis.jackknife import (
    bundles,
    jackknife,
    leave_one_out,
    leave_one_out_range,
    two_way_jackknife,
)
from clip_align.metrics.correlation import krocc, plcc, srocc, within_level_srocc
from clip_align.metrics.estimate import Estimate


def test_the_mean_by_hand() -> None:
    """Of a mean over single items the jackknife is the textbook interval: t(n - 1) times s / root n."""
    x = np.array([3.0, 1.0, 4.0, 1.0, 5.0])
    got = jackknife(lambda i: float(x[i].mean()), np.arange(5), limits=(-9, 9))
    half = 2.776445105 * x.std(ddof=1) / math.sqrt(5)  # t(4), .975
    assert got.value == pytest.approx(2.8)
    assert (got.low, got.high) == pytest.approx((2.8 - half, 2.8 + half), abs=1e-8)
    cut = jackknife(lambda i: float(x[i].mean()), np.arange(5), limits=(1, 3))
    assert (cut.low, cut.high) == (1, 3)


def test_two_way_by_hand() -> None:
    """On the scale of Fisher's z the variances of the two one-way jackknives are added."""
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(2, 60))
    first, second = np.arange(60) % 6, np.arange(60) // 15
    statistic = lambda i: srocc(x[i], y[i] + x[i])  # noqa: E731
    parts = [np.arctanh(leave_one_out(statistic, c)) for c in (first, second)]
    variance = sum((len(p) - 1) / len(p) * ((p - p.mean()) ** 2).sum() for p in parts)
    got = two_way_jackknife(statistic, first, second)
    assert got.value is not None
    half = 3.182446305 * math.sqrt(variance)  # t(3), .975: four clusters of the second kind
    z = math.atanh(got.value)
    assert (got.low, got.high) == pytest.approx((math.tanh(z - half), math.tanh(z + half)), abs=1e-8)


def test_leave_one_out_range() -> None:
    values = np.array([1.0, 2.0, 3.0, 10.0])
    labels = np.array(["a", "b", "c", "d"])
    low, high, without_low, without_high = leave_one_out_range(lambda i: float(values[i].mean()), labels)
    assert (low, without_low) == (2.0, "d")
    assert (high, without_high) == (5.0, "a")
    assert math.isnan(leave_one_out_range(lambda i: math.nan, labels)[0])
    assert math.isnan(leave_one_out_range(lambda i: math.nan, np.array([]))[0])


@pytest.mark.parametrize("interval", [jackknife, partial(two_way_jackknife, second=np.zeros(8))])
def test_undefined(interval: object) -> None:
    assert callable(interval)
    assert interval(lambda i: math.nan, np.arange(8)) == Estimate(None, reason="the score has no value")
    assert interval(lambda i: math.nan, np.arange(8), reason="all equal") == Estimate(None, reason="all equal")
    assert interval(lambda i: 0.5, np.zeros(8)) == Estimate(0.5)  # one cluster: a value, no interval
    assert interval(lambda i: 0.5 if len(i) == 8 else math.nan, np.arange(8)) == Estimate(0.5)


def test_perfect_agreement() -> None:
    x = np.arange(40.0)
    got = jackknife(lambda i: srocc(x[i], x[i]), np.arange(40) % 8)
    assert (got.value, got.low, got.high) == pytest.approx((1.0, 1.0, 1.0), abs=1e-12)
    assert two_way_jackknife(lambda i: srocc(x[i], x[i]), np.arange(40) % 8, np.arange(40) // 10).low is None


def test_many_clusters_are_bundled() -> None:
    labels = bundles(np.arange(1000))
    counts = np.bincount(labels)
    assert len(counts) == 64
    assert counts.min() >= 15
    assert np.array_equal(bundles(["b", "a", "b"]), [1, 0, 1])
    generator = np.random.default_rng(1)
    x = generator.normal(size=2000)
    got = jackknife(lambda i: float(x[i].mean()), np.arange(2000))
    assert got.low is not None
    assert got.high is not None
    assert got.high - got.low == pytest.approx(2 * 1.96 / math.sqrt(2000), rel=0.25)


AXES = np.meshgrid(np.arange(24), np.arange(16), np.arange(5), indexing="ij")
REFERENCE, KIND, LEVEL = (v.ravel() for v in AXES)


def test_order_of_items_does_not_matter() -> None:
    generator = np.random.default_rng(2)
    x, y = generator.normal(size=(2, 1920))
    order = generator.permutation(1920)
    one = jackknife(lambda i: srocc(x[i], y[i]), REFERENCE)
    mixed = jackknife(lambda i: srocc(x[order][i], y[order][i]), REFERENCE[order])
    assert (one.value, one.low, one.high) == pytest.approx((mixed.value, mixed.low, mixed.high), abs=1e-12)


def test_all_scores_of_an_event_cost_little() -> None:
    """Four scores, both intervals: a tenth of a second of processor time; the limit leaves room for slow machines."""
    generator = np.random.default_rng(3)
    x, y = generator.normal(size=(2, 1920))
    scores = [lambda i, f=f: f(x[i], y[i]) for f in (srocc, plcc, krocc)]
    scores.append(lambda i: within_level_srocc(x[i], y[i], LEVEL[i]))
    start = time.process_time()
    for score in scores:
        jackknife(score, REFERENCE)
        two_way_jackknife(score, REFERENCE, KIND)
    assert time.process_time() - start < 2.0


@dataclass(frozen=True)
class Observer:
    """Standard deviations of a list of 1,920 values beside its level means: type profile, reference, both, the rest."""

    levels: tuple[float, ...]
    profile: float
    reference: float
    both: float
    rest: float

    def draw(self, generator: np.random.Generator, profiles: np.ndarray, references: int) -> np.ndarray:
        types = len(profiles)
        values = np.asarray(self.levels) + self.profile * profiles
        values = values + self.reference * generator.normal(size=(references, 1, 1))
        values = values + self.both * generator.normal(size=(references, types, 1))
        return values + self.rest * generator.normal(size=(references, types, 5))


# Moments of the opinions of TID2013 for these 16 types, and an observer like SSIM: srocc about .6, within about .3
HUMAN = Observer((5.58, 5.28, 4.60, 4.04, 3.12), 0.70, 0.06, 0.33, 0.28)
MODEL = Observer((3.20, 2.70, 1.90, 1.10, 0.20), 1.10, 0.30, 0.45, 0.25)


def _profiles(generator: np.random.Generator, types: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Types of people and of the model at two times [types, 5], correlated over levels and with each other."""
    common = generator.normal(size=(4, types, 1)) * 0.8 + generator.normal(size=(4, types, 5)) * 0.6
    human = common[0]
    early = 0.4 * human + 0.9 * common[1]
    return human, early, early + 0.15 * common[2]


def _dataset(
    generator: np.random.Generator, profiles: tuple[np.ndarray, ...], references: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    human, early, late = profiles
    y = HUMAN.draw(generator, human, references)
    x = MODEL.draw(generator, early, references)
    change = Observer((0, 0, 0, 0, 0), 0.0, 0.05, 0.12, 0.08).draw(generator, late, references)
    return y, x, x + MODEL.profile * (late - early) + change


def _scores(y: np.ndarray, x1: np.ndarray, x2: np.ndarray) -> dict[str, object]:
    level = np.broadcast_to(np.arange(5), y.shape).ravel()
    a, b, h = x1.ravel(), x2.ravel(), y.ravel()
    return {
        "srocc": lambda i: srocc(a[i], h[i]),
        "within": lambda i: within_level_srocc(a[i], h[i], level[i]),
        "difference": lambda i: srocc(b[i], h[i]) - srocc(a[i], h[i]),
    }


def _truth(generator: np.random.Generator, profiles: tuple[np.ndarray, ...], references: int) -> dict[str, float]:
    y, x1, x2 = _dataset(generator, profiles, references)
    everything = np.arange(y.size)
    return {k: f(everything) for k, f in _scores(y, x1, x2).items()}  # type: ignore[operator]


@pytest.mark.slow
def test_coverage_for_new_references() -> None:
    """The 16 types as they are, new references: .96, .97, .94 of 150 sets (standard error .02) as published."""
    generator = np.random.default_rng(0)
    profiles = _profiles(generator, 16)
    truth, sets = _truth(generator, profiles, 4000), 200
    held = dict.fromkeys(truth, 0)
    for _ in range(sets):
        for name, score in _scores(*_dataset(generator, profiles, 24)).items():
            e = jackknife(score, REFERENCE)  # type: ignore[arg-type]
            held[name] += e.low <= truth[name] <= e.high  # type: ignore[operator]
    for name, expected in {"srocc": 0.96, "within": 0.97, "difference": 0.94}.items():
        assert held[name] / sets == pytest.approx(expected, abs=0.055), name


@pytest.mark.slow
def test_coverage_for_new_types_too() -> None:
    """New types as well: two-way .91, .91, .97; over references alone .24, .30, .57: no error bar for other types."""
    generator = np.random.default_rng(1)
    truth, sets = _truth(generator, _profiles(generator, 1000), 100), 200
    one, two = dict.fromkeys(truth, 0), dict.fromkeys(truth, 0)
    for _ in range(sets):
        for name, score in _scores(*_dataset(generator, _profiles(generator, 16), 24)).items():
            e = jackknife(score, REFERENCE)  # type: ignore[arg-type]
            one[name] += e.low <= truth[name] <= e.high  # type: ignore[operator]
            e = two_way_jackknife(score, REFERENCE, KIND)  # type: ignore[arg-type]
            two[name] += e.low <= truth[name] <= e.high  # type: ignore[operator]
    for name, expected in {"srocc": 0.91, "within": 0.91, "difference": 0.97}.items():
        assert two[name] / sets == pytest.approx(expected, abs=0.08), name
        assert one[name] / sets < 0.75, name
