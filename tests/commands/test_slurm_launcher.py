# SPDX-License-Identifier: Apache-2.0
"""``hydra/launcher=slurm``: its options, its refusals, and a run as a job calls it. Jobs: system/test_slurm.py."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
import types
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from clip_align.commands import slurm_launcher
from clip_align.commands.multirun import multirun
from clip_align.commands.slurm_launcher import SlurmOptions, SlurmRun, options_of
from clip_align.config import conf_dir
from clip_align.errors import RunError, UserError

SLURM = "hydra/launcher=slurm"


@pytest.fixture
def submitit(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """In place of the package, which is optional: what this module uses of it."""
    found = types.SimpleNamespace(helpers=types.SimpleNamespace(DelayedSubmission=lambda run: run))
    monkeypatch.setitem(sys.modules, "submitit", found)
    monkeypatch.setattr(slurm_launcher.shutil, "which", lambda name: f"/usr/bin/{name}")
    return found


def refused(*overrides: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        options_of([*overrides])
    return list(caught.value.lines)


def test_the_yaml_has_every_option_with_its_default(submitit):
    plain = yaml.safe_load((conf_dir() / "hydra" / "launcher" / "slurm.yaml").read_text(encoding="utf-8"))
    assert plain.pop("_target_") == slurm_launcher.__name__
    assert plain == {**asdict(SlurmOptions()), "setup": []}
    assert options_of([SLURM]) == SlurmOptions()


def test_another_launcher_is_hydras(submitit):
    assert options_of(["seed=1"]) is None
    assert options_of(["seed=1", "hydra.job.chdir=false"]) is None


def test_options_are_typed_and_checked(submitit):
    options = options_of([SLURM, "hydra.launcher.nodes=4", "hydra.launcher.partition=gpu", "seed=3"])
    assert options == SlurmOptions(nodes=4, partition="gpu")
    assert options.parameters() == {
        "timeout_min": 1440, "tasks_per_node": 1, "nodes": 4, "slurm_signal_delay_s": 180,
        "slurm_array_parallelism": 256, "slurm_partition": "gpu",
    }  # fmt: skip
    assert refused(SLURM, "hydra.launcher.nodes=0", "hydra.launcher.timeout_min=x") == [
        "hydra.launcher.nodes: 0 is out of range; it must be at least 1",
        "hydra.launcher.timeout_min: 'x' is not a whole number",
    ]
    assert refused(SLURM, "hydra.launcher.cluster=local", "hydra.launcher.tasks_per_node=2") == [
        "hydra.launcher.cluster: local runs one task; with trainer=ddp it starts the ranks of this machine"
    ]


def test_without_submitit_or_slurm_there_is_one_line(submitit, monkeypatch, tmp_path):
    monkeypatch.setattr(slurm_launcher.shutil, "which", lambda name: None)
    assert refused(SLURM) == [
        "hydra/launcher: slurm finds no sbatch on this machine; submit from one of the cluster's, or try "
        "hydra.launcher.cluster=local"
    ]
    monkeypatch.setitem(sys.modules, "submitit", None)
    line = "hydra/launcher: slurm needs submitit, which is not installed; type pip install 'clip-align[slurm]'"
    assert refused(SLURM) == [line]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="slurm needs submitit"):
        multirun([SLURM, "seed=0,1", "name=s"])
    assert list(tmp_path.iterdir()) == []


def test_each_run_is_a_command_that_can_be_repeated():
    command = slurm_launcher.command(["seed=1", "trainer=ddp"], "seeds/1")
    assert command[1:] == ["-m", "clip_align", "train", "seed=1", "trainer=ddp", "name=seeds/1", "resume=auto"]


def test_a_run_that_fails_fails_its_job():
    assert SlurmRun([sys.executable, "-c", ""])() == 0
    with pytest.raises(RunError, match="ended with exit code 2"):
        SlurmRun([sys.executable, "-c", "import sys; sys.exit(2)"])()


def test_before_a_requeue_the_run_ends_in_order(submitit, tmp_path):
    """As submitit calls it: in a signal handler, while the job waits for the run."""
    script = f"""
import pathlib, signal, sys, time
def stop(number, frame):
    time.sleep(1)
    pathlib.Path({str(tmp_path / "saved")!r}).touch()
    sys.exit(143)
signal.signal(signal.SIGUSR1, stop)
pathlib.Path({str(tmp_path / "runs")!r}).touch()
time.sleep(600)
"""
    run = SlurmRun([sys.executable, "-c", script])
    again: list[SlurmRun] = []

    def requeue(number: int, frame: object) -> None:
        again.append(run.checkpoint())
        assert (tmp_path / "saved").exists()

    def send() -> None:
        while not (tmp_path / "runs").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGUSR2)

    before = signal.signal(signal.SIGUSR2, requeue)
    try:
        threading.Thread(target=send).start()
        with pytest.raises(RunError, match="ended with exit code 143"):
            run()
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert [one.command for one in again] == [run.command]
    assert pickle.loads(pickle.dumps(again[0])).command == run.command


def test_a_sweep_is_handed_to_the_launcher(submitit, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    given = []
    monkeypatch.setattr(slurm_launcher, "launch", lambda *arguments: given.append(arguments) or 0)
    assert multirun([SLURM, "hydra.launcher.partition=gpu", "seed=0,1", "name=s", "callbacks=[]"]) == 0
    options, runs, folder = given[0]
    assert (options.partition, folder) == ("gpu", Path("runs/s"))
    assert [(list(overrides), name) for overrides, name in runs] == [
        (["seed=0", "callbacks=[]"], "s/0"), (["seed=1", "callbacks=[]"], "s/1")
    ]  # fmt: skip
    assert capsys.readouterr().out == "sweep runs/s: 2 runs, each a job\n"
