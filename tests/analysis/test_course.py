# SPDX-License-Identifier: Apache-2.0
"""The rule of one run: statements on simulated runs, without noise, on real ranks, and where there is none."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import pytest

from clip_align.analysis.course import Course, course, fall_so_far
from clip_align.analysis.jitter import overlap
from clip_align.analysis.pseudo_values import ScoreCurve, rank_curve
from clip_align.analysis.simulated_courses import courses, per_reference, ranked

STEPS = list(range(0, 22 * 60, 60))
KINDS = {kind.name: kind for kind in courses(22)}


def _curve(name: str, seed: int = 0, jitter: float = 0.0045) -> ScoreCurve:
    return per_reference(KINDS[name], jitter, np.random.default_rng(seed))


def _judged(name: str, seed: int = 0, jitter: float = 0.0045) -> Course:
    return course(_curve(name, seed, jitter), STEPS)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("late fall .05", "rose_then_fell"),
        ("last two -.05", "rose_then_fell"),
        ("peak at evaluations 1 and 2, then -.05", "rose_then_fell"),
        ("peak of two evaluations in the middle", "rose_then_fell"),
        ("dip of .06 and back", "fell_recovered"),
        ("rise to the end", "rose"),
        ("rise, then plateau", "rose"),
        ("flat", "no_change_shown"),
    ],
)
def test_words(name: str, word: str) -> None:
    words = [_judged(name, seed).word for seed in range(8)]
    assert words.count(word) >= 7, words  # type: ignore[arg-type]


def test_rise_fall_and_recovery() -> None:
    truth = np.interp(np.arange(22), [0, 5, 8, 12, 15, 21], [0.58, 0.66, 0.66, 0.60, 0.66, 0.66])
    found = course(_sum(truth, 0.0045, 0), STEPS)
    assert found.word == "rose_fell_recovered"
    assert [s.direction for s in found.stretches] == ["rose", "fell", "rose"]
    _, fell, rose = found.stretches
    assert 5 * 60 <= fell.first < fell.last <= 13 * 60
    assert 0 < fell.at_least < 0.06
    assert rose.first >= 11 * 60
    assert (found.peak_from, found.peak_to) == (None, None)  # no fall to the end


def test_a_dip_at_the_start_of_a_rise_is_a_rise() -> None:
    truth = np.interp(np.arange(22), [0, 2, 4, 8, 21], [0.58, 0.53, 0.53, 0.66, 0.66])
    found = course(_sum(truth, 0.0045, 0), STEPS)
    assert found.stretches[0].direction == "fell"
    assert {s.direction for s in found.stretches[1:]} == {"rose"}
    assert found.rise is not None
    assert found.rise.at_least > 0.03
    assert found.word == "rose"


def _sum(truth: np.ndarray, jitter: float, seed: int) -> ScoreCurve:
    generator = np.random.default_rng(seed)
    noise = jitter * generator.normal(size=(len(truth), 1)) * (np.arange(len(truth)) > 0)[:, None]
    items = 0.015 * generator.normal(size=(len(truth), 24)) + 0.1 * generator.normal(size=24)
    curves = truth[:, None] + noise + items
    return ScoreCurve(curves.mean(axis=1), (curves,))


def test_windows_bounds_and_peak_of_a_fall() -> None:
    found = _judged("peak at evaluations 1 and 2, then -.05")
    assert found.rise is not None
    assert found.fall is not None
    assert found.most is not None
    assert (found.rise.earlier.first, found.rise.earlier.last) == (0, 0)
    assert found.start == found.rise.earlier.value == _curve("peak at evaluations 1 and 2, then -.05").values[0]
    assert found.fall.later.last == STEPS[-1]
    assert 0 < found.fall.at_least < found.fall.size
    assert found.most.later.first == STEPS[-2]
    assert found.most.at_most is not None
    assert found.fall.at_least < 0.05 < found.most.at_most
    assert found.peak_from is not None
    assert found.peak_to is not None
    assert found.peak_from <= 60
    assert 120 <= found.peak_to <= 300
    assert (found.evaluations, found.clusters, found.left_out) == (22, 24, 0)
    assert found.naive_fall is not None
    assert found.naive_fall[0] == pytest.approx(
        _curve("peak at evaluations 1 and 2, then -.05").values.max() - found.fall.later.value, abs=0.02
    )


@pytest.mark.parametrize("levels", [[0.5], [0.5, 0.6], [0.5, 0.6, 0.55]], ids=["ties", "rise", "rise and fall"])
def test_curves_without_noise_give_exact_bounds(levels: list[float]) -> None:
    """No small negative interval, and no division by a standard error of 0."""
    truth = np.interp(np.arange(22), np.linspace(0, 21, len(levels)), levels)
    found = course(ScoreCurve(truth, (np.repeat(truth[:, None], 24, axis=1),)), STEPS)
    assert found.rise is not None
    assert found.fall is not None
    assert found.most is not None
    if len(levels) == 1:
        assert found.word == "no_change_shown"
        assert (found.rise.at_least, found.fall.at_least, found.most.at_most) == (0.0, 0.0, 0.0)
        assert found.smallest_detectable_fall == 0.0
        assert (found.jitter, found.lag_1, found.stretches) == (0.0, 0.0, ())
    else:
        assert found.word == ("rose" if len(levels) == 2 else "rose_then_fell")
        assert found.rise.at_least <= 0.1 + 1e-12
    assert min(found.rise.at_least, found.fall.at_least) >= 0


def test_no_bound_leaves_the_range_of_the_score() -> None:
    generator = np.random.default_rng(0)
    curves = np.clip(generator.normal(scale=2, size=(14, 8)), -1, 1)
    found = course(ScoreCurve(curves.mean(axis=1), (curves,)), list(range(14)))
    assert found.most is not None
    assert found.naive_fall is not None
    assert found.most.at_most is not None
    assert found.most.at_most <= 2.0
    assert -2.0 <= found.naive_fall[1] <= found.naive_fall[2] <= 2.0
    narrow = course(ScoreCurve(curves.mean(axis=1), (curves,)), list(range(14)), limits=(0.0, 0.5))
    assert narrow.most is not None
    assert narrow.most.at_most == 0.5


def test_wild_references_and_two_kinds_of_clusters_widen_the_bounds() -> None:
    one = _curve("late fall .05")
    wider = course(ScoreCurve(one.values, (one.units[0], one.units[0][:, :12] * 2)), STEPS)
    narrow = course(one, STEPS)
    assert narrow.most is not None
    assert wider.most is not None
    assert wider.clusters == 12
    assert wider.most.at_most > narrow.most.at_most  # type: ignore[operator]


def test_averages_that_overlap_widen_the_bounds() -> None:
    one = _curve("late fall .03")
    raw, averaged = course(one, STEPS), course(one, STEPS, overlap([150.0] * 22, [0.5] * 22))
    assert raw.jitter is not None
    assert averaged.jitter is not None
    assert averaged.jitter > 1.5 * raw.jitter
    assert raw.smallest_detectable_fall < averaged.smallest_detectable_fall  # type: ignore[operator]
    short = course(one, STEPS, overlap([59.0] * 22, [0.0] * 22))
    assert short == raw


def test_real_ranks() -> None:
    generator = np.random.default_rng(0)
    falls = [course(ranked(KINDS["late fall .05"], 0.0045, generator), STEPS) for _ in range(3)]
    assert [f.word for f in falls] == ["rose_then_fell"] * 3
    plateaus = [course(ranked(KINDS["rise, then plateau"], 0.0045, generator), STEPS) for _ in range(4)]
    assert sum(p.word == "rose" for p in plateaus) >= 3


def test_same_verdict_twice_and_whatever_the_scale_of_the_steps() -> None:
    one = _curve("late fall .03")
    first, second = course(one, STEPS), course(one, STEPS)
    assert asdict(first) == asdict(second)
    other = course(one, [step * 3 for step in STEPS])
    assert other.rise is not None
    assert first.rise is not None
    assert (other.word, other.rise.at_least) == (first.word, first.rise.at_least)
    assert other.rise.later.first == 3 * first.rise.later.first


@pytest.mark.parametrize("evaluations", [12, 81, 500])
def test_short_and_long_curves(evaluations: int) -> None:
    kind = next(k for k in courses(evaluations) if k.name == "late fall .05")
    found = course(per_reference(kind, 0.0045, np.random.default_rng(0)), range(evaluations))
    assert found.word == "rose_then_fell"
    assert found.fall is not None
    assert found.fall.later.last == evaluations - 1


def _reason(curve: ScoreCurve, steps: list[int]) -> str:
    found = course(curve, steps)
    assert found.word is None
    assert found.rise is found.fall is found.most is None
    return str(found.reason)


def test_no_verdict_says_why() -> None:
    one = _curve("flat")
    assert _reason(one.at(np.arange(11)), STEPS[:11]) == "11 evaluations have a value; the rule needs at least 12"
    few = ScoreCurve(one.values, (one.units[0][:, :7],))
    assert _reason(few, STEPS) == "7 clusters; the rule needs at least 8"
    for at, reason in (
        (0, "the score has no value at step 0, which is the start"),
        (21, "the score has no value at the last evaluation, which is the end"),
    ):
        lost = ScoreCurve(one.values.copy(), one.units)
        lost.values[at] = math.nan
        assert _reason(lost, STEPS) == reason
    late = one.at(np.arange(5, 22))
    assert _reason(late, STEPS[5:]) == "the score has no value at step 0, which is the start"
    with pytest.raises(ValueError, match="22 values, 21 steps"):
        course(one, STEPS[:21])


def test_evaluations_without_a_value_are_left_out() -> None:
    one = _curve("late fall .05")
    one.values[9] = math.nan
    one.units[0][12, 3] = math.nan  # a deletion without a value
    found = course(one, STEPS)
    assert (found.word, found.evaluations, found.left_out) == ("rose_then_fell", 20, 2)


def test_real_items_in_any_order() -> None:
    generator = np.random.default_rng(5)
    human, clusters = generator.normal(size=240), np.repeat(np.arange(12), 20)
    model = np.linspace(0.2, 1, 14)[:, None] * human + generator.normal(size=(14, 240))
    order = generator.permutation(240)
    one = course(rank_curve(model, human, (clusters,)), range(14))
    other = course(rank_curve(model[:, order], human[order], (clusters[order],)), range(14))
    assert one.rise is not None
    assert other.rise is not None
    assert other.rise.at_least == pytest.approx(one.rise.at_least, abs=1e-9)
    assert one.word == other.word


def test_a_run_under_way_reports_a_fall_it_has_shown_and_no_other() -> None:
    fallen, plateau = _curve("peak at evaluations 1 and 2, then -.05"), _curve("rise, then plateau")
    found = fall_so_far(fallen.at(np.arange(16)), STEPS[:16], None, looks=11)
    assert found is not None
    assert 0 < found.at_least < 0.05
    assert fall_so_far(plateau, STEPS, None, looks=11) is None
    assert fall_so_far(fallen.at(np.arange(11)), STEPS[:11], None, looks=11) is None  # too few evaluations
    final = course(fallen, STEPS).fall
    more_looks = fall_so_far(fallen, STEPS, None, looks=None)
    assert final is not None
    assert more_looks is not None
    assert more_looks.at_least < final.at_least


@pytest.mark.slow
def test_looking_after_every_evaluation_rarely_raises_a_false_alarm() -> None:
    generator = np.random.default_rng(0)
    alarms = 0
    for _ in range(60):
        one = per_reference(KINDS["plateau from the 2nd evaluation on"], 0.0045, generator)
        looks = (fall_so_far(one.at(np.arange(n)), STEPS[:n], None, looks=11) for n in range(12, 23))
        alarms += any(found is not None for found in looks)
    assert alarms <= 4  # .025 of 60 are 1.5; more than 4 happen in .02 of such tests
