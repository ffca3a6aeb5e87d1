# SPDX-License-Identifier: Apache-2.0
"""Small parts of the loop: rhythm of questions, estimate of the time left, bad samples, the last line of a run."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from human_stub import HumanStub

from clip_align.config import CheckpointConfig
from clip_align.data.skipped import Causes, Tally
from clip_align.errors import RunError, UserError
from clip_align.evaluation.ranks import Ranks
from clip_align.record import Position, Record
from clip_align.training.ending import Ending
from clip_align.training.poll import EVERY_S, MOST, Rhythm
from clip_align.training.prepare import best_direction
from clip_align.training.progress import Costs, Pace
from clip_align.training.signals import Signals
from clip_align.training.skips import Skips


def test_quick_steps_are_asked_about_rarely_slow_ones_each_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    rhythm, gaps = Rhythm(), []
    for seconds in (0.01, 3.0):
        for _ in range(400):
            now[0] += seconds
            if rhythm.due():
                rhythm.restart(rhythm.proposal())
                gaps.append(rhythm.gap)
    assert gaps[:6] == [2, 4, 8, 16, 32, MOST]
    assert gaps[-1] == 1
    rhythm = Rhythm()
    for _ in range(100):
        now[0] += 0.5
        if rhythm.due():
            rhythm.restart(rhythm.proposal())
    assert rhythm.gap * 0.5 <= EVERY_S


def test_evaluations_left():
    pace = Pace(10, 100, (0, 2, 8, 50, 100))
    assert [pace.events_left(step) for step in (0, 1, 8, 49, 50, 100)] == [4, 4, 2, 2, 1, 0]


def test_cost_of_an_evaluation_is_the_mean_of_the_last_ones():
    costs = Costs()
    assert costs.mean_s == 0
    for seconds in (100.0, 1.0, 2.0, 3.0, 4.0, 5.0):
        costs.line({"kind": "evaluation", "time/evaluation_seconds": seconds})
    costs.line({"kind": "train"})
    assert costs.mean_s == 3.0


def test_skipped_samples_are_told_of_when_they_double():
    tally = Tally(0.5, 0.0, Causes({"no caption": 3}, {"no caption": "s0"}), 1000)
    skips = Skips(tally)
    assert skips.news() is None  # those three were told before step 0
    assert skips.total(Ranks()) is None
    tally.count(8, [("damaged image", "s7")])
    first = skips.news()
    assert first is not None
    assert first["message"] == "data: 1 bad sample skipped so far: 1 damaged image (first: s7)"
    assert skips.news() is None
    tally.count(8, [("damaged image", "s9"), ("no caption", "s11")])
    assert skips.news()["causes"] == {"damaged image": 2, "no caption": 1}
    assert skips.total(Ranks())["skipped"] == 3


def ended(tmp_path: Path, error: BaseException | None, capsys: pytest.CaptureFixture[str]) -> tuple[Ending, list[str]]:
    ending = Ending(Signals(), folder=tmp_path, record=Record(tmp_path))
    ending.position = lambda: Position(7, 70, 0, 1.0)
    with ending.followed():
        if error is not None:
            raise error
    return ending, capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("error", "code", "status", "said"),
    [
        (None, 0, "done", []),
        (UserError("one", "two"), 2, "failed", ["one", "two"]),
        (RunError("one"), 1, "failed", ["one"]),
        (SystemExit(143), 143, "terminated", []),
        (ValueError("a\nb"), 1, "failed", ["ValueError: a (with HYDRA_FULL_ERROR=1 the whole traceback is shown)"]),
    ],
)
def test_ends(tmp_path, capsys, error, code, status, said):
    ending, lines = ended(tmp_path, error, capsys)
    assert ending.code == code
    assert lines == said
    assert json.loads((tmp_path / "provenance.json").read_text())["status"] == status
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert (last["event"], last["exit_code"]) == ("stopped" if code else "finished", code)
    assert last["message"] == (said[0] if said else f"{status} at step 7")


class Rated(HumanStub):
    """One score with a best end, one without."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.scores = (*self.scores, replace(self.scores[0], name="shuffled", higher_is_better=None))


def test_the_direction_of_the_best_checkpoint_is_the_scores() -> None:
    x = [Rated("x")]
    assert best_direction(CheckpointConfig(best="human/x/srocc"), x) is True
    assert best_direction(CheckpointConfig(best=None), x) is None
    assert best_direction(CheckpointConfig(), x) is None  # the default names a callback that was not chosen
    assert best_direction(CheckpointConfig(), []) is None
    assert best_direction(CheckpointConfig(), [Rated("tid2013_remade")]) is True


@pytest.mark.parametrize(
    ("best", "line"),
    [
        ("human/y/srocc", "checkpoint.best: no callback of this run writes human/y/srocc; valid: human/x/srocc"),
        ("human/x/srocc@layer_6", "no callback of this run writes human/x/srocc@layer_6"),
        (
            "human/x/shuffled",
            "checkpoint.best: human/x/shuffled has no best end: its score declares no higher_is_better",
        ),
    ],
)
def test_a_best_checkpoint_that_cannot_be_is_one_line(best: str, line: str) -> None:
    with pytest.raises(UserError) as caught:
        best_direction(CheckpointConfig(best=best), [Rated("x")])
    assert len(caught.value.lines) == 1
    assert line in str(caught.value)
