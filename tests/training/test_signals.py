# SPDX-License-Identifier: Apache-2.0
"""What the two signals do, before training and during it, in real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

CODES = {
    signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143, signal.SIGUSR1: 143, signal.SIGUSR2: 143,
}  # fmt: skip


def run(script: str, tmp_path: Path, *signals: tuple[float, signal.Signals]) -> tuple[int, float]:
    """Exit code of ``script``, and the seconds it took to end after the first signal, each sent after a pause."""
    components = tmp_path / "ready"
    head = "import sys, time\nfrom pathlib import Path\nfrom clip_align.training.signals import Signals\n"
    code = head + textwrap.dedent(script).replace("READY", f"Path({str(components)!r}).touch()")
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    limit = time.monotonic() + 30
    while not components.exists() and time.monotonic() < limit:
        time.sleep(0.02)
    began = time.monotonic()
    for pause, number in signals:
        time.sleep(pause)
        os.killpg(process.pid, number)
    try:
        return process.wait(timeout=30), time.monotonic() - began
    finally:
        process.kill()


@pytest.mark.parametrize("number", CODES)
def test_before_training_a_signal_ends_the_process_and_unwinds(number, tmp_path):
    script = f"""
        with Signals().installed():
            try:
                READY
                time.sleep(60)
            finally:
                Path({str(tmp_path / "unwound")!r}).touch()
    """
    code, seconds = run(script, tmp_path, (0.0, number))
    assert code == CODES[number]
    assert seconds < 3
    assert (tmp_path / "unwound").exists()


def test_before_training_a_main_thread_that_cannot_listen_does_not_stop_it(tmp_path):
    script = """
        import ctypes
        from clip_align.training import signals
        signals.WAIT_S = 0.5
        with Signals().installed():
            READY
            mutex, library = ctypes.create_string_buffer(64), ctypes.CDLL(None)
            library.pthread_mutex_lock(mutex)
            library.pthread_mutex_lock(mutex)  # for ever: like a collective that nobody joins
    """
    code, seconds = run(script, tmp_path, (0.0, signal.SIGTERM))
    assert code == 143
    assert seconds < 5


@pytest.mark.parametrize("number", CODES)
def test_during_training_a_signal_is_only_noted(number, tmp_path):
    script = """
        signals = Signals()
        with signals.installed():
            signals.training_starts()
            READY
            while signals.received is None:
                time.sleep(0.01)
            sys.exit(signals.exit_code)
    """
    assert run(script, tmp_path, (0.0, number))[0] == CODES[number]


WAITS = """
    from clip_align.training import signals
    signals.PATIENCE_S = 0.5
    signals = Signals()
    with signals.installed():
        signals.training_starts()
        READY
        time.sleep(2)
        sys.exit(7)
"""


def test_a_second_ctrl_c_at_once_is_the_same_one(tmp_path):
    code, _ = run(WAITS, tmp_path, (0.0, signal.SIGINT), (0.1, signal.SIGINT))
    assert code == 7


def test_a_second_ctrl_c_later_is_hard(tmp_path):
    code, seconds = run(WAITS, tmp_path, (0.0, signal.SIGINT), (0.8, signal.SIGINT))
    assert code == 130
    assert seconds < 1.8


def test_somebodys_process_is_not_ended(tmp_path):
    """A second Ctrl-C unwinds the training, and what a notebook holds beside it stays."""
    script = """
        from clip_align.training import signals
        signals.PATIENCE_S = 0.5
        signals = Signals(own_process=False)
        try:
            with signals.installed():
                signals.training_starts()
                READY
                time.sleep(2)
        except SystemExit as stop:
            sys.exit(9 if stop.code == 130 else 6)
    """
    code, seconds = run(script, tmp_path, (0.0, signal.SIGINT), (0.8, signal.SIGINT))
    assert code == 9
    assert seconds < 1.8


def test_a_main_thread_that_cannot_listen_does_not_end_somebodys_process(tmp_path):
    script = """
        from clip_align.training import signals
        signals.WAIT_S = 0.2
        try:
            with Signals(own_process=False).installed():
                READY
                sum(range(10**8))  # one instruction, in which no handler runs
        except SystemExit as stop:
            sys.exit(9 if stop.code == 130 else 6)
    """
    assert run(script, tmp_path, (0.0, signal.SIGINT))[0] == 9


def test_under_torchrun_there_is_no_hard_end(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    code, _ = run(WAITS, tmp_path, (0.0, signal.SIGINT), (0.8, signal.SIGINT))
    assert code == 7


def test_a_main_thread_stuck_in_training_is_ended_before_torchrun_kills_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    script = """
        import ctypes
        from clip_align.training import signals
        signals.STUCK_S = 0.5
        signals = Signals()
        with signals.installed():
            signals.training_starts()
            READY
            mutex, library = ctypes.create_string_buffer(64), ctypes.CDLL(None)
            library.pthread_mutex_lock(mutex)
            library.pthread_mutex_lock(mutex)  # for ever: like a collective that nobody joins
    """
    code, seconds = run(script, tmp_path, (0.3, signal.SIGTERM))
    assert code == 143
    assert seconds < 5


def test_a_forked_child_that_is_ended_does_not_end_its_parent(tmp_path):
    script = """
        import multiprocessing
        from clip_align.training import signals
        signals.WAIT_S = 0.3
        with Signals().installed():
            child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
            child.start()
            time.sleep(0.3)
            child.terminate()
            child.join()
            time.sleep(1)
            READY
            sys.exit(5 if child.exitcode == -15 else 6)
    """
    assert run(script, tmp_path)[0] == 5


def test_a_main_thread_stuck_in_training_is_no_reason_not_to_know_of_a_signal(tmp_path):
    script = """
        import ctypes, os, threading
        signals = Signals()
        def look():
            while signals.first_signal is None:
                time.sleep(0.01)
            os._exit(5 if (signals.received, signals.first_signal[0]) == (None, 15) else 6)
        with signals.installed():
            signals.training_starts()
            threading.Thread(target=look, daemon=True).start()
            READY
            mutex, library = ctypes.create_string_buffer(64), ctypes.CDLL(None)
            library.pthread_mutex_lock(mutex)
            library.pthread_mutex_lock(mutex)  # for ever: like a collective that nobody joins
    """
    code, seconds = run(script, tmp_path, (0.3, signal.SIGTERM))
    assert code == 5
    assert seconds < 5


@pytest.mark.parametrize("training", [False, True])
def test_a_hangup_that_nohup_has_ignored_is_none(tmp_path, training):
    script = f"""
        import signal
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signals = Signals()
        with signals.installed():
            if {training}:
                signals.training_starts()
            READY
            time.sleep(1)
            sys.exit(5 if signals.received is None else 6)
    """
    assert run(script, tmp_path, (0.0, signal.SIGHUP))[0] == 5


def test_handlers_are_put_back():
    from clip_align.training.signals import Signals

    before = {number: signal.getsignal(number) for number in CODES}
    with Signals().installed():
        assert signal.getsignal(signal.SIGINT) != before[signal.SIGINT]
    assert {number: signal.getsignal(number) for number in CODES} == before
