# SPDX-License-Identifier: Apache-2.0
"""Runs under SLURM's commands, for which stand-ins are on PATH: no cluster has seen this."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import slurm_standin
from training_runs import ROOT, SMALL, lines, losses, provenance

pytestmark = pytest.mark.slow
with_submitit = pytest.mark.skipif(
    importlib.util.find_spec("submitit") is None, reason="submitit is not installed (pip install 'clip-align[slurm]')"
)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state of a stand-in for SLURM, whose commands are on PATH."""
    state = tmp_path / "slurm"
    state.mkdir()
    slurm_standin.install(tmp_path / "bin")
    monkeypatch.setenv("STANDIN", str(state))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{os.environ.get('PYTHONPATH', '')}")
    return state


def done(command: list[str], cwd: Path, seconds: float = 600) -> tuple[int, str]:
    found = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=seconds)
    return found.returncode, found.stdout + found.stderr


def until(condition: Callable[[], bool], what: Callable[[], str], seconds: float = 400) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, what()
        time.sleep(0.2)


def test_tasks_of_srun_are_the_ranks(tmp_path, cache, cluster):
    run = [*SMALL, f"paths.cache={cache}", "data.batch_size=16", "data.workers=0", "trainer.max_steps=6", "name=s"]
    python = [sys.executable, str(ROOT / "train.py")]
    code, text = done(["srun", "--nodes=2", "--ntasks-per-node=1", *python, *run, "trainer=multi_node"], tmp_path)
    assert code == 0, text
    assert provenance(tmp_path / "runs" / "s")["ranks"] == 2
    again = ["srun", "--nodes=2", "--ntasks-per-node=1", *python, *run, "trainer=multi_node"]
    began = time.monotonic()
    code, text = done(again, tmp_path)  # rank 0 alone sees that the name is taken
    assert code == 2
    assert f"name: {Path('runs') / 's'} already holds a run" in text
    assert time.monotonic() - began < 200


def test_the_script_of_the_docs_is_requeued_when_its_time_is_over(tmp_path, cache, cluster):
    page = (ROOT / "docs" / "machines.md").read_text(encoding="utf-8")
    script = page[page.index("#!/bin/bash") :]
    script = script[: script.index("```")].replace("--ntasks-per-node=8", "--ntasks-per-node=1")
    run = [*SMALL, f"paths.cache={cache}", "data.batch_size=16", "data.workers=0", "trainer.max_steps=60"]
    run += ["trainer.log_every_n_steps=5", "evaluation.every_n_steps=1000", "checkpoint.every_n_steps=1000"]
    command = shlex.join([sys.executable, str(ROOT / "train.py"), *run, "trainer=multi_node", "name=clip"])
    typed = re.compile(r"python train.py .*?resume=auto", re.DOTALL)
    script, count = typed.subn(lambda _: f"{command} resume=auto", script)
    assert count == 1
    (tmp_path / "job.sh").write_text(script)
    assert done(["sbatch", "job.sh"], tmp_path) == (0, "Submitted batch job 1001\n")
    folder, output = tmp_path / "runs" / "clip", tmp_path / "slurm-1001.out"
    until(lambda: any(line["global_step"] >= 10 for line in lines(folder, "train")), output.read_text)
    os.kill(int((cluster / "1001.batch").read_text()), signal.SIGUSR1)
    until(lambda: (cluster / "1001.state").read_text() == "COMPLETED", output.read_text)
    events = [line["event"] for line in lines(folder, "event")]
    assert events.count("started") == events.count("resumed") == 1, output.read_text()
    assert lines(folder, "train")[-1]["global_step"] == 60


@with_submitit
def test_a_sweep_is_submitted_and_resumed_after_its_time_was_over(tmp_path, cache, cluster):
    """SIGUSR2 ahead of the limit: checkpoint, requeue, resume; the losses are those of an uninterrupted run."""
    run = [*SMALL, f"paths.cache={cache}", "trainer.max_steps=60", "checkpoint.every_n_steps=1000", "data.workers=0"]
    run += ["trainer.log_every_n_steps=5", "evaluation.every_n_steps=1000"]
    sweep = [sys.executable, str(ROOT / "train.py"), "--multirun", "hydra/launcher=slurm", "seed=0,1", "name=sweep"]
    code, text = done([*sweep, *run, "hydra.launcher.timeout_min=60"], tmp_path)
    assert code == 0, text
    folders = [tmp_path / "runs" / "sweep" / str(n) for n in range(2)]
    jobs = ["1001_0", "1001_1"]
    said = "".join(f"sweep: sweep/{n}: job {job}\n" for n, job in enumerate(jobs))
    assert said in text

    def seen() -> str:
        return text + "".join(p.read_text(errors="replace") for p in (tmp_path / "runs").rglob("*.out"))

    until(lambda: any(line["global_step"] >= 10 for line in lines(folders[0], "train")), seen)
    slurm_standin.signal_tasks(cluster, jobs[0], signal.SIGUSR2)
    until(lambda: all((cluster / f"{job}.state").read_text() == "COMPLETED" for job in jobs), seen, 400)
    events = [line["event"] for line in lines(folders[0], "event")]
    assert events.count("started") == events.count("resumed") == 1
    assert [line["event"] for line in lines(folders[1], "event")].count("resumed") == 0
    assert [provenance(folder)["status"] for folder in folders] == ["done", "done"]
    alone = [sys.executable, str(ROOT / "train.py"), *run, "seed=0", "name=alone"]
    assert done(alone, tmp_path)[0] == 0
    step = next(line["global_step"] for line in lines(folders[0], "event") if line["event"] == "resumed")
    found, expected = losses(folders[0]), losses(tmp_path / "runs" / "alone")
    first = next(at for at in sorted(found) if at > step)  # a mean over the steps since it was resumed
    assert {**found, first: expected[first]} == expected
