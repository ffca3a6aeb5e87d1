# SPDX-License-Identifier: Apache-2.0
"""Measures of saliency maps: identities, closed forms, and the known answers of 60 photographs with fixations."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import mannwhitneyu

from clip_align.metrics import saliency as m

SHAPE = (23, 31)


@pytest.fixture
def maps() -> tuple[Any, Any, Any]:
    """A positive map, another one, and counts in which some pixels were fixated more than once."""
    rng = np.random.default_rng(0)
    counts = m.fixation_counts(rng.uniform(0, 31, 90), rng.uniform(0, 23, 90), *SHAPE)
    assert counts.max() > 1
    return rng.random(SHAPE) + 0.1, rng.random(SHAPE) + 0.1, counts


def test_pixels_are_half_open_and_what_is_outside_is_left_out() -> None:
    counts = m.fixation_counts([0, 0.99, 3.99, 4, -0.01, math.nan, 2], [0, 0.5, 2.99, 1, 1, 1, 3], 3, 4)
    expected = np.zeros((3, 4))
    expected[0, 0], expected[2, 3] = 2, 1
    assert np.array_equal(counts, expected)


@pytest.mark.parametrize("outside", ["zero", "nearest"])
@pytest.mark.parametrize("sigma", [1.3, 4.0, 12.0])
def test_a_density_is_scipys_gaussian_filter(sigma: float, outside: m.Outside) -> None:
    counts = np.zeros(SHAPE)
    counts[0, 0], counts[0, 7], counts[22, 30], counts[11, 30], counts[10, 12] = 1, 2, 1, 3, 1
    expected = gaussian_filter(counts, sigma, mode="constant" if outside == "zero" else "nearest")
    assert m.fixation_density(counts, sigma, outside) == pytest.approx(expected / expected.sum(), abs=1e-15)


def test_nss(maps: tuple[Any, Any, Any]) -> None:
    s, _, counts = maps
    value = m.nss(s, counts)
    assert m.nss(3 * s - 7, counts) == pytest.approx(value, abs=1e-12)
    assert m.nss(-s, counts) == pytest.approx(-value, abs=1e-12)
    assert m.nss(s, np.ones(SHAPE)) == pytest.approx(0, abs=1e-12)
    assert value == pytest.approx(m.cc(s, counts) * counts.std() / counts.mean(), abs=1e-12)


def test_cc(maps: tuple[Any, Any, Any]) -> None:
    s, d, _ = maps
    assert m.cc(s, d) == m.cc(d, s)
    assert m.cc(s, d) == pytest.approx(np.corrcoef(s.ravel(), d.ravel())[0, 1], abs=1e-12)
    assert m.cc(s, 2 * s + 1) == pytest.approx(1, abs=1e-12)
    assert m.cc(s, -s) == pytest.approx(-1, abs=1e-12)


def test_sim(maps: tuple[Any, Any, Any]) -> None:
    s, d, _ = maps
    assert m.sim(s, d) == m.sim(d, s)
    assert m.sim(s, 5 * s) == pytest.approx(1, abs=1e-12)
    assert m.sim(s, d) == pytest.approx(1 - np.abs(s / s.sum() - d / d.sum()).sum() / 2, abs=1e-12)
    assert m.sim(np.eye(4), 1 - np.eye(4)) == 0
    assert m.sim(s - 1, d) == pytest.approx(m.sim(s - s.min(), d), abs=1e-12)  # shifted by its minimum


def test_kl(maps: tuple[Any, Any, Any]) -> None:
    s, d, _ = maps
    assert m.kl(s, s) == pytest.approx(0, abs=1e-10)
    assert m.kl(s, d) != m.kl(d, s)
    d = d / d.sum()
    entropy = -(d * np.log(d)).sum()
    assert m.kl(np.ones(SHAPE), d) == pytest.approx(math.log(s.size) - entropy, abs=1e-10)


def test_information_gain(maps: tuple[Any, Any, Any]) -> None:
    s, d, counts = maps
    assert m.information_gain(s, s, counts) == 0
    assert m.information_gain(s, d, counts) == pytest.approx(-m.information_gain(d, s, counts), abs=1e-12)
    assert m.information_gain(4 * s, d, counts) == pytest.approx(m.information_gain(s, d, counts), abs=1e-12)
    one = np.zeros((2, 2))
    one[0, 1] = 1
    # all mass where everybody looked, against a quarter of it: two bits
    assert m.information_gain(one, np.ones((2, 2)), 3 * one) == pytest.approx(2, abs=1e-12)


@pytest.mark.parametrize("variant", m.AUC_VARIANTS)
def test_auc(maps: tuple[Any, Any, Any], variant: m.AucVariant) -> None:
    s, _, counts = maps
    assert m.auc_judd(np.exp(3 * s), counts, variant) == m.auc_judd(s, counts, variant)
    assert m.auc_judd(np.ones(SHAPE), counts, variant) == 0.5
    assert m.auc_judd(counts > 0, counts > 0, "mit") == 1


def test_auc_by_ranks_is_the_statistic_of_mann_and_whitney(maps: tuple[Any, Any, Any]) -> None:
    s = np.round(maps[0], 1)  # with ties
    fixated = np.repeat(s.ravel(), maps[2].ravel().astype(int))
    expected = mannwhitneyu(fixated, s.ravel()).statistic / (len(fixated) * s.size)
    assert m.auc_judd(s, maps[2]) == pytest.approx(expected, abs=1e-12)
    assert m.auc_judd(-s, maps[2]) == pytest.approx(1 - expected, abs=1e-12)


def test_auc_of_mit_by_hand() -> None:
    # fixated: 3 and 1; not: 2 and 0. Thresholds 3: (0, 1/2); 1: (1/2, 1); then (1, 1)
    assert m.auc_judd([[3, 2], [1, 0]], [[1, 0], [5, 0]], "mit") == pytest.approx(0.5 * 0.75 + 0.5)


def test_what_is_undefined_is_nan(maps: tuple[Any, Any, Any]) -> None:
    s, d, counts = maps
    none, flat = np.zeros(SHAPE), np.full(SHAPE, 0.3)
    assert math.isnan(m.nss(flat, counts))
    assert math.isnan(m.cc(flat, d))
    for value in (m.nss(s, none), m.auc_judd(s, none), m.information_gain(s, d, none), m.kl(none, d), m.sim(none, d)):
        assert math.isnan(value)
    assert np.isnan(m.fixation_density(none, 2.0)).all()
    broken = np.where(s == s.max(), math.nan, s)
    for value in (m.nss(broken, counts), m.cc(broken, d), m.auc_judd(broken, counts), m.kl(broken, d)):
        assert math.isnan(value)


def test_maps_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a map \(2, 3\) and fixations \(3, 2\); both are \[H, W\], of the same size"):
        m.nss(np.ones((2, 3)), np.ones((3, 2)))


def test_known_answers_of_osie(shared_data: Path) -> None:
    """The table in the folder's README, each cell to four digits.

    The AUC of the first viewer's map, .8620, is left out: by the definition given there it is .8525.
    """
    folder, of = shared_data / "osie", defaultdict(list)
    with (folder / "fixations.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            of[row["image"]].append((int(row["viewer"]), float(row["x"]), float(row["y"])))
    assert (len(of), sum(map(len, of.values()))) == (60, 8438)
    found: dict[str, list[float]] = defaultdict(list)
    centre, uniform = m.centre_gaussian(300, 400), np.ones((300, 400))
    for rows in of.values():
        viewer, x, y = np.array(rows).T
        counts = m.fixation_counts(x, y, 300, 400)
        assert counts.sum() == len(rows)
        density = m.fixation_density(counts, 12, "zero")
        found["centre nss"].append(m.nss(centre, counts))
        found["centre cc"].append(m.cc(centre, density))
        found["centre auc"].append(m.auc_judd(centre, counts, "mit"))
        found["centre sim"].append(m.sim(centre, density))
        found["centre kl"].append(m.kl(centre, density))
        found["uniform auc"].append(m.auc_judd(uniform, counts, "mit"))
        found["uniform sim"].append(m.sim(uniform, density))
        found["uniform kl"].append(m.kl(uniform, density))
        one, rest = (m.fixation_counts(x[of_them], y[of_them], 300, 400) for of_them in (viewer == 1, viewer > 1))
        found["one nss"].append(m.nss(m.fixation_density(one, 12, "zero"), rest))
    assert {name: round(float(np.mean(values)), 4) for name, values in found.items()} == {
        "centre nss": 0.7830,
        "centre cc": 0.2799,
        "centre auc": 0.7223,
        "centre sim": 0.3561,
        "centre kl": 1.3709,
        "uniform auc": 0.5,
        "uniform sim": 0.2875,
        "uniform kl": 1.6664,
        "one nss": 2.5578,
    }
