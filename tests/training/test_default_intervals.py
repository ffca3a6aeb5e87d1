# SPDX-License-Identifier: Apache-2.0
"""How often a run is evaluated and saved, by its length."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from clip_align.config import Config, TrainerConfig
from clip_align.config_plain import to_plain
from clip_align.evaluation.schedule import Schedule, event_steps
from clip_align.settings.load_config import load
from clip_align.training.default_intervals import (
    EVALUATIONS,
    checkpoint_every,
    evaluation_every,
    with_default_intervals,
)
from clip_align.training.resume import run_start


def test_the_default_run_has_the_steps_that_it_always_had(tmp_path: Path) -> None:
    config = load([f"paths.runs={tmp_path}"])
    assert config.trainer.max_steps == 1300
    resolved = run_start(config, 1).config
    assert (resolved.evaluation.every_n_steps, resolved.checkpoint.every_n_steps) == (60, 260)
    assert {c.arguments["every_n_steps"] for c in resolved.callbacks.values()} == {60}


@pytest.mark.parametrize("max_steps", [1, 20, 59, 60, 200, 1259, 1300, 5000, 19_531, 76_294, 10**6, 12_345_678])
def test_what_holds_at_every_length(max_steps: int) -> None:
    every, saves = evaluation_every(max_steps), checkpoint_every(max_steps)
    assert every >= 60
    assert len(str(every).rstrip("0")) == 1
    if max_steps >= 60 * EVALUATIONS:  # as many as the error rates were measured with; none is paid for twice that
        assert EVALUATIONS <= max_steps // every <= 2 * EVALUATIONS + 1
    assert 50 <= saves <= 2000
    assert len(str(saves).rstrip("0")) <= 2
    if 250 <= max_steps <= 10_000:
        assert 5 <= max_steps // saves <= 6


def test_longer_runs_are_not_evaluated_more_often() -> None:
    for rule in (evaluation_every, checkpoint_every):
        values = [rule(steps) for steps in range(1, 100_000, 97)]
        assert values == sorted(values)


def test_numbers_that_were_typed_stay(tmp_path: Path) -> None:
    typed = ["evaluation.every_n_steps=7", "checkpoint.every_n_steps=11", "callbacks=[world,world_noise]"]
    config = load([*typed, "callbacks.world.every_n_steps=14", f"paths.runs={tmp_path}"])
    resolved = with_default_intervals(config, 100_000)
    assert (resolved.evaluation.every_n_steps, resolved.checkpoint.every_n_steps) == (7, 11)
    assert {name: c.arguments["every_n_steps"] for name, c in resolved.callbacks.items()} == {
        "world": 14, "world_noise": 7,
    }  # fmt: skip


def test_the_length_in_samples_counts_the_ranks(tmp_path: Path) -> None:
    samples = replace(Config(), trainer=TrainerConfig(max_steps=None, samples=128 * 4 * 2600))
    samples = replace(samples, paths=replace(samples.paths, runs=str(tmp_path)))
    assert run_start(samples, 4).config.evaluation.every_n_steps == 100
    assert run_start(samples, 1).config.evaluation.every_n_steps == 400


def test_a_resumed_run_keeps_its_rhythm_at_another_length(tmp_path: Path) -> None:
    """Its stored configuration holds numbers, so that the spacing of its curve stays even."""
    first = run_start(load([f"paths.runs={tmp_path}", "name=a", "callbacks=[world]"]), 1).config
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.yaml").write_text(yaml.safe_dump(to_plain(first)))
    again = load([f"paths.runs={tmp_path}", "resume=a", "trainer.max_steps=100000", "callbacks=[world,world_noise]"])
    resolved = with_default_intervals(again, 100_000)
    assert (resolved.evaluation.every_n_steps, resolved.checkpoint.every_n_steps) == (60, 260)
    assert {c.arguments["every_n_steps"] for c in resolved.callbacks.values()} == {60}


def test_the_events_of_the_default_run(tmp_path: Path) -> None:
    class World:
        family = "zero_shot"
        every_n_steps = evaluation_every(1300)

    steps = event_steps([World()], Schedule(), 1300)
    assert len(steps) == 35
    assert sum(step <= 1300 / 20 for step in steps) >= 10  # a peak in the first twentieth is not stepped over
