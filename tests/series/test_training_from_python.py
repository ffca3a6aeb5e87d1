# SPDX-License-Identifier: Apache-2.0
"""``ca.train`` in somebody's program or notebook: its process, interrupted and resumed there, and what it shows."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from series_runs import TRAINING

import clip_align as ca
from clip_align.callbacks.human.pairs_csv import PairsCsv
from clip_align.errors import RunError, UserError
from clip_align.record.tidy import Tidy
from clip_align.runs.folder import RunFolder, lock, release
from clip_align.training.process_state import HUB, OFFLINE, process_state_kept

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
LOGGERS = ("pytorch_lightning", "lightning_fabric", "lightning")


@pytest.fixture
def given(pairs: Path, places: list[str]) -> list[str]:
    data = [f"data.csv={pairs.with_name('captions.csv')}", f"callbacks.pairs_csv.csv={pairs}"]
    return [*(word for word in TRAINING if not word.startswith("name=")), *data, *places]


@pytest.fixture
def at_step_4(monkeypatch: pytest.MonkeyPatch) -> Callable[[signal.Signals], None]:
    """Sends this process a signal in the event of step 4; the training ends after the step that follows."""

    def sends(number: signal.Signals) -> None:
        items, calls = PairsCsv.items, iter(range(99))

        def interrupted(self: PairsCsv, *arguments: Any) -> Any:
            if next(calls) == 2:  # two sets of weights an event
                os.kill(os.getpid(), number)
            return items(self, *arguments)

        monkeypatch.setattr(PairsCsv, "items", interrupted)

    return sends


def state() -> dict[str, Any]:
    """What a training could leave behind in its process."""
    return {
        "handlers": [signal.getsignal(number) for number in STOPS],
        "random": (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()),
        "threads": torch.get_num_threads(),
        "logging": (logging.root.level, logging.root.handlers[:], [logging.getLogger(n).level for n in LOGGERS]),
        "warnings": warnings.filters[:],
        "environment": dict(os.environ),
    }


def test_a_process_is_afterwards_as_it_was(given: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for name in LOGGERS:
        monkeypatch.setattr(logging.getLogger(name), "level", logging.INFO)
    before = state()
    try:
        for name in ("twice", "once-more"):
            found = ca.train([*given, "trainer.threads=2"], name=name)
            assert [row["step"] for row in found.scores if row["key"] == "human/pairs_csv/srocc"] == [0, 4, 8]
            assert state() == before
    finally:
        torch.set_num_threads(threads)
    run = RunFolder(Path(str(found.folder)))
    release(lock(run))  # nobody holds it any more
    assert ca.train([f"resume={run.path}", given[-1]]).scores == found.scores  # nothing was left to do


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
def test_a_training_that_is_stopped_is_resumed_in_the_same_process(
    given: list[str], at_step_4: Callable[[signal.Signals], None], number: signal.Signals, status: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    at_step_4(number)
    before = state()["handlers"]
    with pytest.raises(RunError) as raised:
        ca.train(given, name=status)
    overrides = [f"resume={status}", *given[-2:]]
    assert str(raised.value) == f"train: {status} at step 5; to resume: ca.train({overrides})"
    assert state()["handlers"] == before
    assert f"{status} at step 5" in capsys.readouterr().out
    monkeypatch.undo()
    found = ca.train(overrides)
    assert [row["step"] for row in found.scores if row["key"] == "human/pairs_csv/srocc"] == [0, 4, 8]


def test_what_is_refused_is_raised_and_not_printed(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(given[-2].partition("=")[2]) / "used"
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(UserError) as raised:
        ca.train(given, name="used")
    assert raised.value.exit_code == 2
    assert str(raised.value) == (
        f"name: {folder} already holds a run; continue with it by resume=used, or choose another name=…"
    )
    assert capsys.readouterr().err == ""


def test_a_failure_is_raised_with_its_reason(
    given: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: Any, **options: Any) -> Any:
        raise ValueError("the loop broke")

    monkeypatch.setattr("clip_align.training.run.build_loop", broken)
    with pytest.raises(RunError, match=r"^ValueError: the loop broke \("):
        ca.train(given, name="broken")
    assert capsys.readouterr().err == ""


def test_a_stop_before_the_first_step(given: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)  # a signal's handler runs between two instructions

    monkeypatch.setattr("clip_align.training.run._decide_start", interrupted)
    with pytest.raises(RunError) as raised:
        ca.train(given, name="never")
    assert str(raised.value) == "train: interrupted before the first step"


def test_a_hub_that_was_first_imported_in_a_training_does_not_stay_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OFFLINE:
        monkeypatch.delenv(name, raising=False)
    for known, kept in ((False, False), (True, True)):
        hub = SimpleNamespace(HF_HUB_OFFLINE=True)
        monkeypatch.delitem(sys.modules, HUB, raising=False)
        if known:
            monkeypatch.setitem(sys.modules, HUB, hub)
        with process_state_kept():
            os.environ.setdefault("HF_HUB_OFFLINE", "1")
            monkeypatch.setitem(sys.modules, HUB, hub)
        assert hub.HF_HUB_OFFLINE is kept
        assert "HF_HUB_OFFLINE" not in os.environ


@pytest.mark.parametrize("kernel", [True, False])
def test_a_figure_is_shown_in_a_notebook_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kernel: bool) -> None:
    shown: list[str] = []
    package, display = ModuleType("IPython"), ModuleType("IPython.display")
    shell = SimpleNamespace(kernel="one") if kernel else SimpleNamespace()  # IPython in a terminal has none
    # matplotlib looks at the version
    vars(package).update(get_ipython=lambda: shell, display=display, version_info=(9, 0, 0))
    vars(display).update(display=shown.append, Image=lambda filename: filename)
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    (tmp_path / "metrics.jsonl").touch()
    assert ca.report(tmp_path) == tmp_path
    assert shown == ([str(tmp_path / "curves.png")] if kernel else [])


def test_a_notebook_shows_lines_and_no_traceback() -> None:
    with pytest.raises(UserError) as raised:
        ca.train(["model=tyny", "trainer.max_step=3"])
    assert raised.value._render_traceback_() == list(raised.value.lines)
    assert len(raised.value.lines) == 2


def test_tables_are_shown_by_their_size(tmp_path: Path) -> None:
    rows = [{"step": 0}, {"step": 0}, {"step": 4}]
    assert repr(Tidy(rows, [{}], [{}], tmp_path)) == (
        f"Tidy(3 scores of 1 benchmarks at 2 steps, 1 lines about training, in {tmp_path})"
    )
    assert repr(Tidy([])) == "Tidy(0 scores of 0 benchmarks at 0 steps)"


def test_in_another_thread_handlers_stay(given: list[str]) -> None:
    found: list[Tidy] = []
    before = state()
    thread = threading.Thread(target=lambda: found.append(ca.train(given, name="in-a-thread")))
    thread.start()
    thread.join()
    assert [row["step"] for row in found[0].scores if row["key"] == "human/pairs_csv/srocc"] == [0, 4, 8]
    assert state() == before
