# SPDX-License-Identifier: Apache-2.0
"""Small parts of the loop: rhythm of questions, estimate of the time left, bad samples, the last line of a run."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import gloo_ranks
import pytest
import torch
from human_stub import HumanStub

from clip_align.config import CheckpointConfig
from clip_align.data.bad_samples import BadSampleCounter, Causes
from clip_align.errors import RunError, UserError
from clip_align.processes.ranks import Ranks
from clip_align.record.record import Position, Record
from clip_align.training.bad_sample_log import BadSampleLog
from clip_align.training.components import best_direction
from clip_align.training.loss_check import PendingLosses
from clip_align.training.run_end import RunEnd
from clip_align.training.signals import Signals
from clip_align.training.stop_check import EVERY_S, MOST, CheckInterval, StopCheck
from clip_align.training.train_log import EvaluationCosts, LogSchedule


def test_quick_steps_are_checked_rarely_slow_ones_each_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    check_interval, gaps = CheckInterval(), []
    for seconds in (0.01, 3.0):
        for _ in range(400):
            now[0] += seconds
            if check_interval.due():
                check_interval.restart(check_interval.proposal())
                gaps.append(check_interval.gap)
    assert gaps[:6] == [2, 4, 8, 16, 32, MOST]
    assert gaps[-1] == 1
    check_interval = CheckInterval()
    for _ in range(100):
        now[0] += 0.5
        if check_interval.due():
            check_interval.restart(check_interval.proposal())
    assert check_interval.gap * 0.5 <= EVERY_S


def test_evaluations_left():
    log_schedule = LogSchedule(10, 100, (0, 2, 8, 50, 100))
    assert [log_schedule.events_left(step) for step in (0, 1, 8, 49, 50, 100)] == [5, 4, 3, 2, 2, 1]


def test_cost_of_an_evaluation_is_the_mean_of_the_last_ones():
    evaluation_costs = EvaluationCosts()
    assert evaluation_costs.mean_s == 0
    for seconds in (100.0, 1.0, 2.0, 3.0, 4.0, 5.0):
        evaluation_costs.line({"kind": "evaluation", "time/evaluation_seconds": seconds})
    evaluation_costs.line({"kind": "train"})
    assert evaluation_costs.mean_s == 3.0


def test_skipped_samples_are_reported_when_they_double():
    tally = BadSampleCounter(0.5, 0.0, Causes({"no caption": 3}, {"no caption": "s0"}), 1000)
    bad_sample_log = BadSampleLog(tally)
    assert bad_sample_log.news() is None  # those three were reported before step 0
    assert bad_sample_log.total(Ranks()) is None
    tally.count(8, [("damaged image", "s7")])
    first = bad_sample_log.news()
    assert first is not None
    assert first["message"] == "data: 1 bad sample skipped so far: 1 damaged image (first: s7)"
    assert bad_sample_log.news() is None
    tally.count(8, [("damaged image", "s7")] * 5)
    assert bad_sample_log.news() is None  # the same again
    tally.count(8, [("damaged image", "s9"), ("no caption", "s11")])
    assert bad_sample_log.news()["causes"] == {"damaged image": 2, "no caption": 1}
    assert bad_sample_log.total(Ranks())["skipped"] == 3


def test_filtered_samples_are_reported_when_they_double():
    tally = BadSampleCounter(0.0, 0.0, Causes(), 1000)
    bad_sample_log = BadSampleLog(tally)
    assert bad_sample_log.filtered() is None
    tally.filter(Causes({"that do not meet it": 3}, {"that do not meet it": "s0"}), 5)
    assert bad_sample_log.filtered() == {
        "event": "filtered_samples",
        "message": "data: 3 of 8 samples read were left out as configured: 3 that do not meet it (first: s0)",
        "filtered": 3,
        "kept": 5,
        "causes": {"that do not meet it": 3},
    }
    tally.filter(Causes({"that do not meet it": 2}, {"that do not meet it": "s9"}), 5)
    assert bad_sample_log.filtered() is None
    tally.filter(Causes({"without a": 1}, {"without a": "s10"}), 5)
    assert bad_sample_log.filtered()["causes"] == {"that do not meet it": 5, "without a": 1}
    assert bad_sample_log.news() is None  # none of them is a bad one
    assert tally.fraction == 0


def test_repeats_are_reported_with_advice_about_copies():
    tally = BadSampleCounter(0.5, 0.0, Causes(), 1000)
    tally.count(8, [("damaged image", "s7")])
    tally.stand_ins, tally.copies = 3, 2
    event = BadSampleLog(tally).total(Ranks())
    assert event["message"] == (
        "data: 1 bad sample skipped in this run: 1 damaged image (first: s7); samples of other batches stood in for "
        "them 3 times; 2 places in batches had no other sample to take and are left out of the loss: an epoch of one "
        "batch has no other; take a smaller data.batch_size or more data"
    )
    assert (event["stand_ins"], event["copies"]) == (3, 2)


def ended(tmp_path: Path, error: BaseException | None, capsys: pytest.CaptureFixture[str]) -> tuple[RunEnd, list[str]]:
    run_end = RunEnd(folder=tmp_path, record=Record(tmp_path))
    run_end.position = lambda: Position(7, 70, 0, 1.0)
    with run_end.followed():
        if error is not None:
            raise error
    return run_end, capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("error", "code", "status", "reported"),
    [
        (None, 0, "done", []),
        (UserError("one", "two"), 2, "failed", ["one", "two"]),
        (RunError("one"), 1, "failed", ["one"]),
        (SystemExit(143), 143, "terminated", []),
        (ValueError("a\nb"), 1, "failed", ["ValueError: a (with HYDRA_FULL_ERROR=1 the whole traceback is shown)"]),
    ],
)
def test_ends(tmp_path, capsys, error, code, status, reported):
    run_end, lines = ended(tmp_path, error, capsys)
    assert run_end.code == code
    assert lines == reported
    assert json.loads((tmp_path / "provenance.json").read_text())["status"] == status
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert (last["event"], last["exit_code"]) == ("stopped" if code else "finished", code)
    assert last["message"] == (reported[0] if reported else f"{status} at step 7")


PEER_GONE = RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:4711")


@pytest.mark.parametrize(
    ("error", "torchrun", "code"),
    [
        (PEER_GONE, False, 143),  # ended together, the other one was quicker
        (PEER_GONE, True, 1),  # torchrun signals the ranks that are left when one has failed
        (RunError("checkpoint: x cannot be written (No space left on device)"), False, 1),
        (RuntimeError("NCCL error: unhandled system error"), False, 1),
    ],
)
def test_a_failure_after_a_signal_is_a_failure(tmp_path, capsys, monkeypatch, error, torchrun, code):
    if torchrun:
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    run_end = RunEnd(folder=tmp_path, record=Record(tmp_path))
    run_end.signals.received = signal.SIGTERM
    with run_end.followed():
        raise error
    assert run_end.code == code
    provenance = json.loads((tmp_path / "provenance.json").read_text())
    assert (provenance["exit_code"], provenance["status"]) == (code, "terminated" if code == 143 else "failed")


def test_a_record_that_cannot_be_closed_is_a_failed_run(tmp_path, capsys):
    run_end, _ = ended(tmp_path, None, capsys)
    assert run_end.code == 0
    broken = Record(tmp_path)
    broken._file.close()
    run_end = RunEnd(folder=tmp_path, record=broken)
    with run_end.followed():
        pass
    provenance = json.loads((tmp_path / "provenance.json").read_text())
    assert (run_end.code, provenance["exit_code"], provenance["status"]) == (1, 1, "failed")


def test_what_all_ranks_know_the_first_one_reports(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(os, "_exit", lambda code: None)
    for rank, on_all_ranks, reported in ((0, True, ["one"]), (1, True, []), (1, False, ["rank 1: one"])):
        error = RunError("one")
        error.on_all_ranks = on_all_ranks
        with RunEnd(rank=rank, world=2).followed():
            raise error
        assert capsys.readouterr().err.splitlines() == reported


def not_finite(ranks: Ranks) -> dict[str, Any]:
    """Rank 1 alone has two bad losses; every rank ends with the same line, the first one keeps all keys."""
    losses, heard = PendingLosses(), []
    for step in (4, 5):
        bad = ranks.rank == 1 or (ranks.rank == 2 and step == 5)
        losses.add(step, torch.tensor(math.nan if bad else 1.0), [f"r{ranks.rank}-s{step}-{n}" for n in range(4)])
    last_good = "step-000000002.ckpt"
    stop_check = StopCheck(ranks, Signals(), losses, lambda losses: None, heard.append, lambda: last_good)
    try:
        stop_check.check_losses()
    except RunError as error:
        return {"line": str(error), "on_all_ranks": error.on_all_ranks, "keys": [list(loss.keys) for loss in heard]}
    return {}


def test_a_bad_loss_on_one_rank_names_that_ranks_samples_everywhere() -> None:
    answers = gloo_ranks.on_ranks(3, not_finite)
    keys = [f"r1-s4-{n}" for n in range(4)]
    line = (
        f"train/loss is nan at step 4; samples: {', '.join(keys)}; last good checkpoint: step-000000002.ckpt; "
        "try a lower optimizer.lr or more optimizer.warmup_steps"
    )
    assert answers == [{"line": line, "on_all_ranks": True, "keys": [keys] if rank == 0 else []} for rank in range(3)]


class Rated(HumanStub):
    """One score with a best end, one without."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.scores = (*self.scores, replace(self.scores[0], name="shuffled", higher_is_better=None))


def test_the_direction_of_the_best_checkpoint_is_the_scores() -> None:
    x = [Rated("x")]
    assert best_direction(CheckpointConfig(best="human/x/srocc"), x) is True
    assert best_direction(CheckpointConfig(best="human/x/srocc@raw"), x, ("ema", "raw")) is True
    for sets in (("raw",), ("raw", "ema")):  # the first set has no suffix
        with pytest.raises(UserError, match="no callback of this run writes human/x/srocc@raw"):
            best_direction(CheckpointConfig(best="human/x/srocc@raw"), x, sets)
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
            "checkpoint.best: human/x/shuffled has no best value: its score declares no higher_is_better",
        ),
    ],
)
def test_a_best_checkpoint_that_cannot_be_is_one_line(best: str, line: str) -> None:
    with pytest.raises(UserError) as caught:
        best_direction(CheckpointConfig(best=best), [Rated("x")])
    assert len(caught.value.lines) == 1
    assert line in str(caught.value)
