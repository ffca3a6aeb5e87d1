# SPDX-License-Identifier: Apache-2.0
"""Verdicts over seeds from records: sentences, pairs of conditions, and what cannot be compared."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from clip_align.analysis.seed_verdicts import SeededRun, seed_verdicts
from clip_align.record.record import History, ItemsHistory
from clip_align.record.schema import completed

KEY, SCORE = "human/mine", "human/mine/srocc"
STEPS = list(range(0, 22 * 60, 60))


def _run(condition: str, seed: int, fall: float, steps: list[int] = STEPS, clusters: int = 12) -> SeededRun:
    """A run whose agreement rises for a quarter and falls after the half."""
    items = np.random.default_rng(0)  # the same in all runs
    human, reference = items.normal(size=480), np.arange(480) % clusters
    generator = np.random.default_rng(seed + 1)
    t = np.linspace(0, 1, len(steps))
    agreement = 0.5 + 0.4 * np.clip(4 * t, 0, 1) - fall * np.clip(2 * t - 1, 0, 1)
    agreement += 0.01 * generator.normal(size=len(steps)) * (t > 0)
    noise = items.normal(size=480) + 0.2 * generator.normal(size=(len(steps), 480))
    table = ItemsHistory(
        [f"{n}" for n in range(480)],
        human,
        {"reference": reference},
        {},
        steps,
        {"value": agreement[:, None] * human + noise},
    )
    history = History()
    line = {"kind": "benchmark", "key": KEY, "scores": [{"name": "srocc", "has_verdict": True}]}
    history.benchmarks[KEY] = completed(line)  # type: ignore[assignment]
    history.evaluations = [{"global_step": step, SCORE: 0.5} for step in steps]  # type: ignore[misc]
    return SeededRun(condition, str(seed), history, lambda key: table)


def _sentences(runs: list[SeededRun]) -> dict[tuple[str, ...], str]:
    found = seed_verdicts(runs)
    assert {verdict.key for verdict in found} <= {SCORE}
    return {verdict.conditions: verdict.sentence for verdict in found}


def test_a_decline_and_the_difference_between_conditions() -> None:
    runs = [_run(c, seed, fall) for seed in range(3) for c, fall in (("cosine", 0.4), ("constant", 0.0))]
    found = _sentences(runs)
    assert set(found) == {("cosine",), ("constant",), ("cosine", "constant")}
    assert found["cosine",].startswith("srocc, 3 seeds: rose, then declined. It rose by .")
    assert "; it fell by ." in found["cosine",]
    assert found["constant",].startswith("srocc, 3 seeds: rose. It rose by .")
    assert "; no decline to ." in found["constant",]
    assert "such runs could have shown (80 %) one of ." in found["constant",]
    assert found["cosine", "constant"].startswith("srocc, cosine minus constant in 3 pairs of seeds: fall .")
    for text in found.values():
        assert text.endswith(").")
        assert "in this run" not in text


def test_two_seeds_say_nothing_together_and_a_seed_counts_once() -> None:
    runs = [_run("all runs", seed, 0.0) for seed in (0, 1, 1)]
    assert _sentences(runs) == {}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (lambda: _run("a", 2, 0.0, STEPS[:20]), "the runs do not end at the same step with a value"),
        (lambda: _run("a", 2, 0.0, clusters=10), "the rule needs the same clusters in all runs, at least 8"),
        (lambda: _run("a", 2, 0.0, STEPS[11:]), "11 evaluations at common steps; the rule needs at least 12"),
        (lambda: _run("a", 2, 0.0, STEPS[1:]), "the score has no value at step 0 in one of the runs"),
        (lambda: _without_items(_run("a", 2, 0.0)), "seed 2: items missing"),
        (lambda: _with_other_items(_run("a", 2, 0.0)), "the runs have other items"),
    ],
)
def test_what_cannot_be_compared_says_why(changed: Callable[[], SeededRun], reason: str) -> None:
    found = _sentences([_run("a", 0, 0.0), _run("a", 1, 0.0), changed()])
    assert found == {("a",): f"srocc: no verdict over seeds: {reason}."}


def _without_items(run: SeededRun) -> SeededRun:
    return SeededRun(run.condition, run.seed, run.history, lambda key: None)


def _with_other_items(run: SeededRun) -> SeededRun:
    table = run.items_of(KEY)
    assert table is not None
    other = table._replace(ids=[f"other {name}" for name in table.ids])
    return SeededRun(run.condition, run.seed, run.history, lambda key: other)


def test_evaluations_that_all_runs_share_are_compared() -> None:
    runs = [_run("a", 0, 0.4), _run("a", 1, 0.4), _run("a", 2, 0.4, [s for s in STEPS if s not in (60, 660)])]
    assert _sentences(runs)["a",].startswith("srocc, 3 seeds: rose, then declined.")
