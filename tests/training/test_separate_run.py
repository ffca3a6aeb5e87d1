# SPDX-License-Identifier: Apache-2.0
"""A training on several ranks from a program: a child that is followed, gets the signals, and ends alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import clip_align as ca
from clip_align.config import Config, PathsConfig, TrainerConfig
from clip_align.config_plain import to_plain
from clip_align.errors import RunError, UserError
from clip_align.training import run, separate_run
from clip_align.training.run_end import RunEnd
from clip_align.training.separate_run import run_separately

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
TWO = TrainerConfig(kind="cpu", devices=2)
STOPPED = {
    "kind": "event", "event": "stopped", "message": "interrupted at step 7", "exit_code": 130, "global_step": 7,
    "samples_seen": 0, "epoch": 0, "wall_seconds": 1.0,
}  # fmt: skip


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets the child run a script instead of a training: its arguments are those of `first_rank`."""

    def runs(script: str) -> None:
        real = subprocess.Popen
        code = f"import json, os, signal, sys, time\nsys.argv[1] = int(sys.argv[1])\n{script}"
        monkeypatch.setattr(
            subprocess,
            "Popen",
            lambda command, **how: real([sys.executable, "-c", code, *command[-2:]], **how),
        )

    return runs


def train(tmp_path: Path) -> RunEnd:
    return run_separately(Config(name="mine", paths=PathsConfig(runs=str(tmp_path)), trainer=TWO), ["train", "seed=1"])


def test_what_it_prints_is_printed_and_it_has_the_configuration(child, tmp_path, capsys):
    child(f"""
given = json.load(sys.stdin)
print(given["argv"], "é", flush=True)
print("a library's warning", file=sys.stderr)
folder = {str(tmp_path)!r} + "/mine"
os.mkdir(folder)
json.dump(given["config"], open(folder + "/given", "w"))
print({json.dumps(STOPPED)!r}, file=open(folder + "/metrics.jsonl", "w"))
assert os.getppid() == sys.argv[1] and os.getpgrp() == os.getpid() and os.environ["MPLBACKEND"] == "agg"
""")
    found = train(tmp_path)
    assert (found.code, found.reasons, found.folder) == (0, (), tmp_path / "mine")
    assert capsys.readouterr().out == "['train', 'seed=1'] é\na library's warning\n"
    assert found.position().global_step == 7
    config = Config(name="mine", paths=PathsConfig(runs=str(tmp_path)), trainer=TWO)
    assert json.loads((tmp_path / "mine" / "given").read_text()) == json.loads(json.dumps(to_plain(config)))


@pytest.mark.parametrize(
    ("script", "code", "reasons"),
    [
        ("open(sys.argv[2], 'a').write('data: x is gone\\ntry y\\n'); sys.exit(2)", 2, ("data: x is gone", "try y")),
        ("open(sys.argv[2], 'a').write('rank 1: gone\\n'); os._exit(1)", 1, ("rank 1: gone",)),
        ("os.kill(os.getpid(), 9)", 1, ("train: the first rank was ended by SIGKILL; what it printed is above",)),
        ("raise ImportError", 1, ("train: the first rank ended with code 1; what it printed is above",)),
        ("signal.raise_signal(signal.SIGTERM)", 143, ()),
    ],
)  # fmt: skip
def test_its_end_is_a_code_and_lines(child, tmp_path, script, code, reasons):
    child(f"sys.stdin.read()\n{script}")
    found = train(tmp_path)
    assert (found.code, found.reasons, found.folder) == (code, reasons, None)


def test_what_failed_beside_a_run_that_was_done_is_printed(child, tmp_path, capsys):
    child("open(sys.argv[2], 'a').write('report: OSError: gone\\n')")
    assert (train(tmp_path).code, capsys.readouterr().err) == (0, "report: OSError: gone\n")


@pytest.mark.parametrize("number", STOPS)
def test_a_signal_reaches_it_and_not_this_process(child, tmp_path, number):
    child(f"""
sys.stdin.read()  # the other side has set its handlers
def stop(number, frame):
    time.sleep(0.1)  # a checkpoint
    sys.exit(130 if number == signal.SIGINT else 143)
signal.signal({int(number)}, stop)
os.kill(sys.argv[1], {int(number)})
time.sleep(20)
""")
    before = [signal.getsignal(stop) for stop in STOPS]
    assert train(tmp_path).code == (130 if number == signal.SIGINT else 143)
    assert [signal.getsignal(stop) for stop in STOPS] == before


def test_an_error_here_ends_it(child, tmp_path, monkeypatch):
    """As when the output of a cell is gone."""
    child("print(os.getpid(), flush=True); time.sleep(20)")
    printed: list[int] = []

    def fails(line: str, **how: object) -> None:
        printed.append(int(line))
        raise BrokenPipeError

    monkeypatch.setattr(separate_run, "print", fails, raising=False)
    with pytest.raises(BrokenPipeError):
        train(tmp_path)
    with pytest.raises(ProcessLookupError):
        os.kill(printed[0], 0)


def test_several_ranks_from_a_program_are_processes_of_their_own(tmp_path, monkeypatch):
    asked: list[Config] = []

    def separately(config: Config, argv: object) -> RunEnd:
        asked.append(config)
        return RunEnd(code=1, reasons=("rank 1: ended with code -9",), own_process=False)

    monkeypatch.setattr(run, "run_separately", separately)
    with pytest.raises(RunError, match=r"^rank 1: ended with code -9$"):
        ca.train(["trainer=ddp", "trainer.devices=2", "data.batch_size=16", f"paths.runs={tmp_path}"])
    assert asked[0].trainer.devices == 2
    monkeypatch.setattr(run.torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UserError, match="torch finds none"):
        ca.train(["trainer=gpu", f"paths.runs={tmp_path}"])
