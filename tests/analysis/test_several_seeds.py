# SPDX-License-Identifier: Apache-2.0
"""The rule of several seeds on simulated sets of runs."""

from __future__ import annotations

import numpy as np
import pytest

from clip_align.analysis.pseudo_values import ScoreCurve
from clip_align.analysis.several_seeds import paired_difference, several_seeds
from clip_align.analysis.simulated_courses import courses, per_reference

KINDS = {kind.name: kind for kind in courses(22)}


def _seeds(name: str, generator: np.random.Generator, seeds: int = 3, jitter: float = 0.0045) -> list[ScoreCurve]:
    return [per_reference(KINDS[name], jitter, generator) for _ in range(seeds)]


def _declined(name: str, sets: int, jitter: float) -> float:
    generator = np.random.default_rng(0)
    words = [several_seeds(_seeds(name, generator, jitter=jitter)).word for _ in range(sets)]
    return float(np.mean([word in ("declined", "rose_then_declined") for word in words]))


def test_a_fall_of_all_seeds_is_a_decline() -> None:
    found = several_seeds(_seeds("late fall .05", np.random.default_rng(0)))
    assert found.word == "rose_then_declined"
    assert 0 < found.fall.low < found.fall.value < found.fall.high
    assert found.fall.value == pytest.approx(np.mean(found.fall.by_seed))
    assert found.rise.value == pytest.approx(0.08, abs=0.015)
    assert (found.seeds, found.evaluations, found.clusters, len(found.fall.by_seed)) == (3, 22, 24, 3)
    assert found.end < found.start + found.rise.value


def test_a_plateau_and_a_dip_that_is_made_good_are_none() -> None:
    assert _declined("rise, then plateau", 25, 0.0045) <= 0.12
    assert _declined("dip of .06 and back", 10, 0.0045) <= 0.3
    assert _declined("late fall .03", 10, 0.0045) >= 0.8


@pytest.mark.slow
@pytest.mark.parametrize("name", ["flat", "rise, then plateau", "plateau from the 2nd evaluation on"])
def test_false_declines_are_rare(name: str) -> None:
    assert _declined(name, 120, 0.010) <= 0.07  # .025, and 3 standard errors


def test_a_fall_of_one_seed_is_no_decline() -> None:
    generator = np.random.default_rng(1)
    curves = [*_seeds("late fall .10", generator, seeds=1), *_seeds("rise, then plateau", generator, seeds=2)]
    assert several_seeds(curves).word == "rose"


def test_curves_without_noise_have_intervals_of_no_width() -> None:
    truth = np.where(np.arange(22) == 0, 0.5, 0.6)
    one = ScoreCurve(truth, (np.repeat(truth[:, None], 24, axis=1),))
    found = several_seeds([one] * 3)
    assert (found.fall.low, found.fall.value, found.fall.high) == (0.0, 0.0, 0.0)
    assert found.rise.low == found.rise.value == found.rise.high == pytest.approx(0.1)
    assert found.word == "rose"


def test_pairs_of_seeds_tell_what_single_runs_cannot() -> None:
    """Seeds differ more than conditions: the difference is taken seed by seed."""
    generator = np.random.default_rng(2)
    shift = 0.1 * generator.normal(size=4)

    def moved(name: str) -> list[ScoreCurve]:
        curves = _seeds(name, generator, seeds=4)
        return [ScoreCurve(c.values + s, (c.units[0] + s,)) for c, s in zip(curves, shift, strict=True)]

    fall, end = paired_difference(moved("late fall .05"), moved("rise, then plateau"))
    assert 0 < fall.low < fall.value < fall.high
    assert fall.value == pytest.approx(0.045, abs=0.015)
    assert end.high < 0
    assert len(fall.by_seed) == 4
    same, _ = paired_difference(moved("rise, then plateau"), moved("rise, then plateau"))
    assert same.low < 0 < same.high


def test_what_cannot_be_compared_is_refused() -> None:
    curves = _seeds("flat", np.random.default_rng(3))
    with pytest.raises(ValueError, match="2 seeds; the rule needs at least 3"):
        several_seeds(curves[:2])
    with pytest.raises(ValueError, match="curves of different shapes"):
        several_seeds([*curves[:2], curves[2].at(np.arange(20))])
    with pytest.raises(ValueError, match="3 and 4 runs; pairs need the same seeds"):
        paired_difference(curves, [*curves, curves[0]])
