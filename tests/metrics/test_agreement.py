# SPDX-License-Identifier: Apache-2.0
"""Kappa and error consistency: counted by hand, and the published ones of human trials."""

from __future__ import annotations

import csv
import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from clip_align.metrics.agreement import cohens_kappa, error_consistency, mean_error_consistency


def test_kappa_by_hand() -> None:
    """Cohen's own form: 50 proposals by two readers, 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: kappa .4."""
    a = ["yes"] * 25 + ["no"] * 25
    b = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohens_kappa(a, b).value == pytest.approx(0.4, abs=1e-12)


def test_error_consistency_by_hand() -> None:
    a, b = np.repeat([1, 1, 0, 0], [6, 2, 1, 1]), np.repeat([1, 0, 1, 0], [6, 2, 1, 1])
    expected = 0.8 * 0.7 + 0.2 * 0.3
    assert error_consistency(a, b).value == pytest.approx((0.7 - expected) / (1 - expected), abs=1e-12)
    assert error_consistency(b, a).value == error_consistency(a, b).value
    assert error_consistency(1 - a, 1 - b).value == pytest.approx(error_consistency(a, b).value, abs=1e-12)


@pytest.mark.parametrize(("b", "value"), [([1, 1, 0, 0], 1.0), ([0, 0, 1, 1], -1.0), ([1, 0, 1, 0], 0.0)])
def test_limits_and_independence(b: list[int], value: float) -> None:
    estimate = error_consistency([1, 1, 0, 0], b)
    assert estimate.value == pytest.approx(value)
    assert cohens_kappa([1, 1, 0, 0], b).value == pytest.approx(value)


def test_undefined_has_a_reason() -> None:
    always = error_consistency([1, 1, 1], [1, 1, 1])
    assert (always.value, always.reason) == (
        None, "both observers are always right, or always wrong: agreement is expected to be complete",
    )  # fmt: skip
    assert error_consistency([1, 1], [0, 0]).value == 0  # expected to be nil, and nil
    assert cohens_kappa(["a", "a"], ["a", "a"]).value is None
    assert cohens_kappa([], []).reason == "no common trials"
    assert math.isnan(mean_error_consistency([1, 1], [[1, 1]]))
    with pytest.raises(ValueError, match="two lists of one length"):
        error_consistency([1, 0], [1, 0, 1])


def test_order_of_trials_and_names_of_answers_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(0, 5, 200)
    b = np.where(rng.random(200) < 0.5, a, rng.integers(0, 5, 200))
    order = rng.permutation(200)
    one, two = cohens_kappa(a, b), cohens_kappa((9 - a[order]).astype(str), (9 - b[order]).astype(str))
    assert two.value == pytest.approx(one.value, abs=1e-12)
    assert (two.low, two.high) == (pytest.approx(one.low, abs=1e-9), pytest.approx(one.high, abs=1e-9))


def test_the_interval_covers_and_is_wider_over_shared_clusters() -> None:
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(200):  # both right together on half of the trials, else independently: kappa .5
        shared = rng.random(400) < 0.5
        a, b = rng.random(400) < 0.6, rng.random(400) < 0.6
        b = np.where(shared, a, b)
        found = error_consistency(a, b)
        assert found.low is not None
        assert found.high is not None
        covered.append(found.low <= 0.5 <= found.high)
    assert 0.9 <= np.mean(covered) <= 0.99
    repeated = error_consistency(np.repeat(a, 4), np.repeat(b, 4))
    clustered = error_consistency(np.repeat(a, 4), np.repeat(b, 4), np.repeat(np.arange(400), 4))
    assert (clustered.low, clustered.high) == (pytest.approx(found.low), pytest.approx(found.high))
    assert repeated.high - repeated.low < 0.6 * (found.high - found.low)  # type: ignore[operator]


def right_answers(path: Path) -> dict[str, bool]:
    """Whether the shape was named, by image."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {row["imagename"].rpartition("_")[2]: row["object_response"] == row["category"] for row in rows}


def test_the_published_human_values(shared_data: Path) -> None:
    """Over all 1,280 cue-conflict images: human-human .33105, the experiment's networks .1132, .0875, .0602."""
    folder = shared_data / "cue_conflict" / "raw-data" / "style-transfer-512-nomask-experiment"
    files = {path.name.split("_")[1]: right_answers(path) for path in sorted(folder.glob("*_session_1.csv"))}
    images = sorted(files["subject-01"])
    assert len(images) == 1280
    people = [[files[name][i] for i in images] for name in files if name.startswith("subject-")]
    assert len(people) == 10
    pairs = [error_consistency(a, b, np.zeros(1280)).value for a, b in combinations(people, 2)]
    assert np.mean(np.array(pairs, dtype=float)) == pytest.approx(0.33105, abs=5e-6)
    assert max(v for v in pairs if v is not None) == pytest.approx(0.4577, abs=5e-5)
    for network, value in (("alexnet", 0.1132), ("googlenet", 0.0875), ("vgg", 0.0602)):
        right = [files[network][i] for i in images]
        assert mean_error_consistency(right, people) == pytest.approx(value, abs=5e-5)
