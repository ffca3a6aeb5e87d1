# SPDX-License-Identifier: Apache-2.0
"""Runs of ``train`` in processes of their own, for tests that look at exit codes and files.

``Run`` is the real command. ``forked`` starts the same code in a process whose imports are done already (seconds
each, otherwise): for everything that does not depend on how the command is started.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
SMALL = [
    "data.images=512", "data.batch_size=32", "trainer=cpu", "callbacks=world", "evaluation.every_n_steps=10",
    "evaluation.early_steps=[2]", "trainer.max_steps=20", "tracker=none", "optimizer.warmup_steps=2",
]  # fmt: skip


def real(arguments: Sequence[str], output: Path, command: Sequence[str] = ("train.py",)) -> subprocess.Popen[bytes]:
    """``python train.py …`` as the leader of a process group, its output in a file."""
    with output.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, *command, *arguments],
            cwd=ROOT,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


def forked(arguments: Sequence[str], output: Path, change: str = "") -> multiprocessing.process.BaseProcess:
    """The same in a fork of a process that has imported everything. ``change``: a function of `training_changes`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["clip_align.training.run", "clip_align.commands.train", "open_clip"])
    process = context.Process(target=_forked, args=(list(arguments), str(output), change))
    process.start()
    return process


def _forked(arguments: list[str], output: str, change: str) -> None:
    os.setsid()
    os.environ["OMP_NUM_THREADS"] = "1"
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    with open(output, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if change:
        sys.path.insert(0, str(Path(__file__).parent))
        function: Callable[[], None] = getattr(importlib.import_module("training_changes"), change)
        function()
    from clip_align.__main__ import main

    code = main(["train", *arguments])
    sys.stdout.flush()
    os._exit(code)


def code_of(process: Any, seconds: float = 400.0) -> int:
    """Exit code; the process is killed when it takes longer."""
    try:
        if isinstance(process, subprocess.Popen):
            return process.wait(timeout=seconds)
        process.join(seconds)
        if process.exitcode is None:
            raise TimeoutError("still running")
        return int(process.exitcode)
    finally:
        if (process.poll() if isinstance(process, subprocess.Popen) else process.exitcode) is None:
            os.killpg(process.pid, signal.SIGKILL)


def when(condition: Callable[[], bool], process: Any, seconds: float = 400.0) -> None:
    """Wait until ``condition`` holds; AssertionError when the process ends or the time is over."""
    limit = time.monotonic() + seconds
    while not condition():
        ended = process.poll() if isinstance(process, subprocess.Popen) else process.exitcode
        assert ended is None, f"the run ended with {ended}"
        assert time.monotonic() < limit, "it took too long"
        time.sleep(0.02)


def lines(folder: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """Whole lines of a run's record."""
    path = folder / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    found = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [line for line in found if kind in (None, line["kind"])]


def reached(folder: Path, step: int) -> Callable[[], bool]:
    """Condition: the record has a line of kind ``train`` at ``step`` or later."""
    return lambda: any(line["global_step"] >= step for line in lines(folder, "train"))


def losses(folder: Path) -> dict[int, float]:
    """Training losses by step; the last line of a step counts."""
    return {line["global_step"]: line["train/loss"] for line in lines(folder, "train")}


def provenance(folder: Path) -> dict[str, Any]:
    """Content of provenance.json."""
    content: dict[str, Any] = json.loads((folder / "provenance.json").read_text())
    return content


def text(tmp_path: Path) -> str:
    """What a run has printed so far, for the message of a failed test."""
    out = tmp_path / "out"
    return out.read_text() if out.exists() else ""
