# SPDX-License-Identifier: Apache-2.0
"""Correlations against scipy, by hand, on degenerate lists, and their properties."""

from __future__ import annotations

import csv
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_align.metrics import correlation as c
from clip_align.metrics.ranks import midranks

SCORES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "srocc": c.srocc,
    "plcc": c.plcc,
    "krocc": c.krocc,
    "within": lambda x, y: c.within_level_srocc(x, y, np.arange(len(x)) % 2),
    "content": lambda x, y: c.content_srocc(x, y, np.arange(len(x)) % 2),
    "shuffled": lambda x, y: c.level_shuffled(x, y, np.arange(len(x)) % 2),
}
lists = st.integers(0, 2**32 - 1)


def pair(seed: int, n: int = 60, values: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=n)
    y = 0.5 * x + generator.normal(size=n)
    if values:  # ties
        x, y = np.round(x * values), np.round(y * values)
    return x, y


@pytest.fixture(scope="module")
def tid2013(shared_data: Path) -> dict[str, np.ndarray]:
    """Opinion scores of the 16 types that can be re-made, 24 photographs: 1,920 rows."""
    kept = {1, 2, 3, 5, 6, 7, 8, 10, 11, 16, 17, 18, 19, 21, 22, 23}
    with open(shared_data / "opinion_scores" / "tid2013.csv", newline="") as file:
        rows = [r for r in csv.DictReader(file) if int(r["type"]) in kept and int(r["ref"]) <= 24]
    return {k: np.array([float(r[k]) for r in rows]) for k in ("ref", "type", "level", "mos")}


@pytest.mark.parametrize(("n", "values"), [(3, None), (10, 1), (500, None), (500, 2), (1920, 20), (3000, None)])
def test_equal_to_scipy(n: int, values: int | None) -> None:
    from scipy import stats

    x, y = pair(n, n, values)
    assert c.srocc(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-10)
    assert c.plcc(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-10)
    assert c.krocc(x, y) == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-10)
    assert np.array_equal(midranks(x), stats.rankdata(x))


def test_near_collapsed_distances_keep_their_order() -> None:
    from scipy import stats

    z, y = pair(5, 1000)
    assert c.srocc(1 + 1e-9 * z, y) == pytest.approx(stats.spearmanr(z, y).statistic, abs=1e-10)
    assert c.plcc(1e200 * z, 1e-200 * y) == pytest.approx(stats.pearsonr(z, y).statistic, abs=1e-10)


@pytest.mark.parametrize(("about", "spread"), [(0.3, 1e-9), (0.7, 1e-9), (1.3, 1e-8), (1e6, 1), (-0.3, 1e-9)])
def test_plcc_keeps_the_digits_of_values_that_differ_by_little(about: float, spread: float) -> None:
    from scipy import stats

    z, y = pair(5, 1000)
    x = about + spread * z
    assert c.plcc(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-10)


@pytest.mark.parametrize("n", range(3, 40))
def test_perfect_agreement_is_exactly_one(n: int) -> None:
    order = np.random.default_rng(n).permutation(n)
    assert (c.srocc(order, order), c.srocc(order, -order)) == (1.0, -1.0)


@pytest.mark.parametrize("size", [5e-324, 1.7e308])
def test_plcc_of_the_smallest_and_largest_floats(size: float) -> None:
    assert c.plcc([0, size, size, 0], [1, 2, 2, 1]) == pytest.approx(1, abs=1e-15)
    assert c.plcc([size, 0, 0, -size], [1, 0, 0, -1]) == pytest.approx(1, abs=1e-15)


def test_level_alone_against_tid2013(tid2013: dict[str, np.ndarray]) -> None:
    """Minus the level number, 1,920 images: .744; all images of a level are tied, so there is nothing within it."""
    d = tid2013
    assert len(d["mos"]) == 1920
    assert c.srocc(-d["level"], d["mos"]) == pytest.approx(0.7444, abs=5e-5)
    assert math.isnan(c.within_level_srocc(-d["level"], d["mos"], d["level"]))
    assert c.level_shuffled(-d["level"], d["mos"], d["level"]) == pytest.approx(0.7444, abs=5e-5)
    assert math.isnan(c.content_srocc(-d["level"], d["mos"], 10 * d["type"] + d["level"]))


def test_condition_means_against_tid2013(tid2013: dict[str, np.ndarray]) -> None:
    """Means of type and level as the observer: srocc .938 (.828 within a level), krocc .798; type alone .443 (.665)."""
    d = tid2013
    condition = 10 * d["type"] + d["level"]
    means = np.array([d["mos"][condition == k].mean() for k in condition])
    assert c.srocc(means, d["mos"]) == pytest.approx(0.9382, abs=5e-5)
    assert c.krocc(means, d["mos"]) == pytest.approx(0.7979, abs=5e-5)
    assert c.within_level_srocc(means, d["mos"], d["level"]) == pytest.approx(0.828, abs=5e-4)
    assert math.isnan(c.content_srocc(means, d["mos"], condition))
    total = np.array([d["mos"][d["type"] == k].sum() for k in d["type"]])
    own = np.array(
        [d["mos"][(d["type"] == k) & (d["ref"] == r)].sum() for k, r in zip(d["type"], d["ref"], strict=True)]
    )
    type_alone = (total - own) / 115  # of the other references
    assert c.srocc(type_alone, d["mos"]) == pytest.approx(0.443, abs=5e-4)
    assert c.within_level_srocc(type_alone, d["mos"], d["level"]) == pytest.approx(0.665, abs=5e-4)


def test_within_level_is_the_correlation_of_pooled_ranks(tid2013: dict[str, np.ndarray]) -> None:
    x = np.random.default_rng(0).normal(size=1920) + tid2013["mos"]
    y, level = tid2013["mos"], tid2013["level"]
    ranked = np.empty((2, 1920))
    for k in range(1, 6):
        ranked[0, level == k], ranked[1, level == k] = midranks(x[level == k]), midranks(y[level == k])
    assert c.within_level_srocc(x, y, level) == pytest.approx(c.plcc(*ranked), abs=1e-3)  # ties in y: not quite


def test_level_shuffled_is_the_mean_of_shuffles() -> None:
    x, y = pair(3, 200)
    level = np.repeat(np.arange(4), 50)
    x, y = x + level, y + level
    generator = np.random.default_rng(0)
    values = []
    for _ in range(2000):
        shuffled = np.concatenate([generator.permutation(part) for part in np.split(y, 4)])
        values.append(c.srocc(x, shuffled))
    error = np.std(values) / math.sqrt(len(values))
    assert c.level_shuffled(x, y, level) == pytest.approx(np.mean(values), abs=4 * error)


def test_type_permutation_sd_is_that_of_all_permutations() -> None:
    import itertools

    generator = np.random.default_rng(1)
    kind, level, cluster = (v.ravel() for v in np.meshgrid(np.arange(4), np.arange(3), np.arange(5), indexing="ij"))
    y = level + generator.normal(size=4)[kind] + generator.normal(size=60)
    x = level + generator.normal(size=4)[kind] + generator.normal(size=60)
    cube = y.reshape(4, 3, 5)
    draws = [cube[list(p)].ravel() for p in itertools.permutations(range(4))]
    pooled = np.std([c.srocc(x, d) for d in draws])
    within = np.std([c.within_level_srocc(x, d, level) for d in draws])
    shuffle = generator.permutation(60)  # the order of the items does not matter
    got = c.type_permutation_sd(*(v[shuffle] for v in (x, y, kind, level, cluster)))
    assert got == pytest.approx((pooled, within), rel=1e-10)
    assert all(map(math.isnan, c.type_permutation_sd(x[1:], y[1:], kind[1:], level[1:], cluster[1:])))


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize(
    ("x", "reason"),
    [
        ([2.0] * 8, "all 8 model values are equal"),
        ([0.1] * 8, "all 8 model values are equal"),  # their mean is not .1
        ([1, 2, 3, 4, 5, 6, 7, math.nan], "1 of 8 model values are not finite"),
        ([1, 2, 3, 4, 5, 6, 7, math.inf], "1 of 8 model values are not finite"),
        ([1.0], "1 items; a correlation needs at least 3"),
        ([1.0, 2.0], "2 items; a correlation needs at least 3"),
        ([], "0 items; a correlation needs at least 3"),
    ],
)
def test_undefined_is_nan_with_a_reason(name: str, x: list[float], reason: str) -> None:
    human = np.arange(len(x), dtype=float)
    assert math.isnan(SCORES[name](np.array(x, dtype=float), human))
    assert c.why_undefined(x, human) == reason


def test_why_undefined_names_the_human_side() -> None:
    assert c.why_undefined([1, 2, 3], [4, 4, 4]) == "all 3 human values are equal"
    assert c.why_undefined([1, 2, 3], [4, 5, 6]) is None
    assert math.isnan(c.srocc([1, 2, 3], [4, 4, 4]))
    with pytest.raises(ValueError, match="same length"):
        c.srocc([1, 2, 3], [1, 2])


@pytest.mark.parametrize("name", SCORES)
@settings(max_examples=15, deadline=None)
@given(seed=lists)
def test_properties(name: str, seed: int) -> None:
    score = SCORES[name]
    x, y = pair(seed, 40, values=3)
    value = score(x, y)
    if math.isnan(value):
        return
    assert -1 <= value <= 1
    assert score(-x, y) == pytest.approx(-value, abs=1e-12)  # the sign is kept
    order = 2 * np.random.default_rng(seed).permutation(20)
    order = np.column_stack((order, order + 1)).ravel()  # pairs moved together: the labels of 'within' still fit
    assert score(x[order], y[order]) == pytest.approx(value, abs=1e-12)
    assert score(8 * x, y) == pytest.approx(value, abs=1e-12)
    if name in ("srocc", "krocc", "within", "shuffled"):
        assert score(np.exp(x / 4), y) == pytest.approx(value, abs=1e-12)
    twice = [np.tile(v, 2) for v in (x, y)]
    if name not in ("krocc",):
        assert score(*twice) == pytest.approx(value, abs=1e-12)


def test_no_scipy_stats_is_imported() -> None:
    code = (
        "import clip_align.metrics.correlation as c, sys; c.krocc([1,2,3],[1,3,2]); print('scipy.stats' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
