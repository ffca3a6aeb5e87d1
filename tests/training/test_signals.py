# SPDX-License-Identifier: Apache-2.0
"""What the two signals do, before training and during it, in real processes.

A signal is sent once the process has reported that it may come, and a process that is to be ended by one would not end
by itself: no result depends on how fast the machine is.
"""

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
WAIT_S = 120.0  # for what a process is about to do; only a failing test waits as long
HEAD = """
import ctypes, multiprocessing, os, signal, sys, threading, time
from pathlib import Path
from clip_align.training import signals as module
from clip_align.training.signals import Signals

def report(name):
    Path(FOLDER, name).touch()

def until(condition):
    while not condition():
        time.sleep(0.01)

def sent():
    return Path(FOLDER, "sent").exists()

def stuck(then):
    # Inside a library, like in a collective that nobody joins, until somebody unlocks the mutex.
    mutex, library = ctypes.create_string_buffer(64), ctypes.CDLL(None)
    library.pthread_mutex_lock(mutex)
    def look():
        until(lambda: ctypes.c_int.from_buffer(mutex).value == 2)  # in glibc: locked, and somebody waits for it
        then(lambda: library.pthread_mutex_unlock(mutex))
    threading.Thread(target=look, daemon=True).start()
    library.pthread_mutex_lock(mutex)
"""


def run(script: str, tmp_path: Path, *signals: tuple[str, signal.Signals]) -> int:
    """Exit code of ``script``; each signal is sent to its group once it has reported the name beside it."""
    code = HEAD.replace("FOLDER", repr(str(tmp_path))) + textwrap.dedent(script)
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    try:
        for name, number in signals:
            limit = time.monotonic() + WAIT_S
            while not (tmp_path / name).exists():
                assert process.poll() is None, f"the process has ended before it was {name}"
                assert time.monotonic() < limit, f"the process was not {name}"
                time.sleep(0.02)
            os.killpg(process.pid, number)
        (tmp_path / "sent").touch()
        return process.wait(timeout=WAIT_S)
    finally:
        process.kill()


@pytest.mark.parametrize("number", CODES)
def test_before_training_a_signal_ends_the_process_and_unwinds(number, tmp_path):
    script = """
        module.WAIT_S = 600.0
        with Signals().installed():
            try:
                report("ready")
                time.sleep(600)
            finally:
                report("unwound")
    """
    assert run(script, tmp_path, ("ready", number)) == CODES[number]
    assert (tmp_path / "unwound").exists()


def test_before_training_a_main_thread_that_cannot_listen_does_not_stop_it(tmp_path):
    script = """
        module.WAIT_S = 0.5
        with Signals().installed():
            stuck(lambda unlock: report("ready"))
    """
    assert run(script, tmp_path, ("ready", signal.SIGTERM)) == 143


@pytest.mark.parametrize("number", CODES)
def test_during_training_a_signal_is_only_noted(number, tmp_path):
    script = """
        signals = Signals()
        with signals.installed():
            signals.training_starts()
            report("ready")
            until(lambda: signals.received is not None)
            sys.exit(signals.exit_code)
    """
    assert run(script, tmp_path, ("ready", number)) == CODES[number]


def twice(tmp_path: Path, patience_s: float, own_process: bool = True) -> int:
    """Exit code of a process that gets a second Ctrl-C some tenths of a second after the first: 7 if it is ignored.

    patience_s: within which the second is the first one, held too long.
    """
    script = f"""
        module.PATIENCE_S = {patience_s}
        calls, came = [], Signals._came
        def noted(self, number, frame):
            came(self, number, frame)
            calls.append(number)
        Signals._came = noted
        signals = Signals(own_process={own_process})
        try:
            with signals.installed():
                signals.training_starts()
                report("ready")
                until(lambda: calls)
                until(lambda: time.monotonic() - signals.came_at > 0.3)
                report("hit once")
                until(lambda: len(calls) == 2)
                os._exit(7)
        except SystemExit as stop:
            sys.exit(9 if stop.code == 130 else 6)
    """
    return run(script, tmp_path, ("ready", signal.SIGINT), ("hit once", signal.SIGINT))


def test_a_second_ctrl_c_at_once_is_the_same_one(tmp_path):
    assert twice(tmp_path, patience_s=600.0) == 7


def test_a_second_ctrl_c_later_is_hard(tmp_path):
    assert twice(tmp_path, patience_s=0.2) == 130


def test_somebodys_process_is_not_ended(tmp_path):
    """A second Ctrl-C unwinds the training, and what a notebook holds beside it stays."""
    assert twice(tmp_path, patience_s=0.2, own_process=False) == 9


def test_a_main_thread_that_cannot_listen_does_not_end_somebodys_process(tmp_path):
    script = """
        module.WAIT_S = 0.2
        def released(unlock):
            report("ready")
            until(sent)
            time.sleep(3 * module.WAIT_S)
            unlock()
        try:
            with Signals(own_process=False).installed():
                stuck(released)
                time.sleep(600)
        except SystemExit as stop:
            sys.exit(9 if stop.code == 130 else 6)
    """
    assert run(script, tmp_path, ("ready", signal.SIGINT)) == 9


def test_under_torchrun_there_is_no_hard_end(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    assert twice(tmp_path, patience_s=0.2) == 7


def test_a_main_thread_stuck_in_training_is_ended_before_torchrun_kills_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    script = """
        module.STUCK_S = 0.5
        signals = Signals()
        with signals.installed():
            signals.training_starts()
            stuck(lambda unlock: report("ready"))
    """
    assert run(script, tmp_path, ("ready", signal.SIGTERM)) == 143


def test_a_forked_child_that_is_ended_does_not_end_its_parent(tmp_path):
    script = """
        module.WAIT_S = 0.3
        with Signals().installed():
            context = multiprocessing.get_context("fork")
            begun = context.Event()
            child = context.Process(target=lambda: (begun.set(), time.sleep(600)))
            child.start()
            begun.wait()
            child.terminate()
            child.join()
            time.sleep(1)
            sys.exit(5 if child.exitcode == -15 else 6)
    """
    assert run(script, tmp_path) == 5


def test_a_main_thread_stuck_in_training_is_no_reason_not_to_know_of_a_signal(tmp_path):
    script = """
        signals = Signals()
        def look(unlock):
            report("ready")
            until(lambda: signals.first_signal is not None)
            os._exit(5 if (signals.received, signals.first_signal[0]) == (None, 15) else 6)
        with signals.installed():
            signals.training_starts()
            stuck(look)
    """
    assert run(script, tmp_path, ("ready", signal.SIGTERM)) == 5


@pytest.mark.parametrize("training", [False, True])
def test_a_hangup_that_nohup_has_ignored_is_none(tmp_path, training):
    script = f"""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signals = Signals()
        with signals.installed():
            if {training}:
                signals.training_starts()
            report("ready")
            until(sent)
            time.sleep(0.2)
            sys.exit(5 if signals.received is None else 6)
    """
    assert run(script, tmp_path, ("ready", signal.SIGHUP)) == 5


def test_handlers_are_put_back():
    from clip_align.training.signals import Signals

    before = {number: signal.getsignal(number) for number in CODES}
    with Signals().installed():
        assert signal.getsignal(signal.SIGINT) != before[signal.SIGINT]
    assert {number: signal.getsignal(number) for number in CODES} == before
