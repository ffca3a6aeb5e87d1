# SPDX-License-Identifier: Apache-2.0
"""Sweeps: every combination checked first, a process each, failures apart, Ctrl-C for all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from clip_align.commands import multirun
from clip_align.errors import UserError
from clip_align.settings.override_check import OUTSIDE
from clip_align.settings.yaml_keys import options

JOB = (
    "import pathlib, sys; "
    "pathlib.Path(sys.argv[-1].split('=')[1].replace('/', '-')).write_text('\\n'.join(sys.argv[1:]))"
)


def stand_in(code: str) -> object:
    """A job that runs ``code`` with its overrides as arguments, the name last."""

    def command(overrides: Sequence[str], name: str) -> list[str]:
        return [sys.executable, "-c", code, *overrides, f"name={name}"]

    return command


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_each_job_is_a_process_of_its_own_and_nothing_is_written_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(multirun, "command", stand_in(JOB))
    for name in "ab":
        (tmp_path / name).mkdir()
        for n in range(4):
            (tmp_path / name / f"{n}.tar").write_text("")
    shards = "data.shards=a/{0..3}.tar,b/{0..3}.tar"
    assert multirun.multirun(["name=x", "seed=0,1", "data=webdataset", shards, "callbacks=[]"]) == 0
    assert files(tmp_path)[8:] == ["runs/x/multirun.yaml", "x-0", "x-1", "x-2", "x-3"]  # after the eight shards
    assert (tmp_path / "x-2").read_text().splitlines() == [
        "seed=1", "data=webdataset", "data.shards='a/{0..3}.tar'", "callbacks=[]", "name=x/2",
    ]  # fmt: skip
    out, err = capfd.readouterr()
    assert out.splitlines()[0] == "sweep runs/x: 4 runs, one after the other"
    assert out.splitlines()[-1] == "sweep runs/x: 4 of 4 done"
    assert err == ""


def test_a_failed_job_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(multirun, "command", stand_in(f"{JOB}; sys.exit(3 if sys.argv[-1].endswith('/0') else 0)"))
    assert multirun.multirun(["name=x", "seed=0,1", "callbacks=[]"]) == 1
    assert files(tmp_path) == ["runs/x/multirun.yaml", "x-0", "x-1"]
    assert capfd.readouterr().err == "sweep runs/x: failed: x/0 (exit code 3)\n"


def refused(*overrides: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        multirun.multirun(overrides)
    return list(caught.value.lines)


def test_every_combination_is_checked_before_the_first_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(multirun, "command", stand_in("raise SystemExit('started')"))
    assert refused("seed=0,-1", "optimizer.lr=1e-3,abc", "callbacks=[]") == [
        "optimizer.lr: 'abc' is not a number",
        "seed: -1 is out of range; it must be at least 0 and at most 4294967295",
    ]
    assert refused("name=a,b", "callbacks=[]") == [
        "name: one value for a whole sweep; its runs are <name>/0, <name>/1, …"
    ]
    assert refused("resume=auto", "name=a", "seed=0,1", "callbacks=[]") == [
        "resume: not with --multirun; continue with one run at a time: resume=<name>/<number>"
    ]
    assert refused("name=a,a", "callbacks=[]") == [
        "name: one value for a whole sweep; its runs are <name>/0, <name>/1, …"
    ]
    assert refused("seed=range(0,0)", "model=glob(zz*)", "name=a", "callbacks=[]") == [
        "seed=range(0,0): no value to sweep over; give several, such as seed=1,2",
        "model=glob(zz*): no value to sweep over; give several, such as seed=1,2",
    ]
    assert refused("seed=1", "name=a") == [
        "--multirun: nothing to sweep over; give a key several values, seed=1,2, or leave it out"
    ]
    assert refused("callbacks=3,4", "name=a") == [
        f"callbacks={n}: no such option; valid: {', '.join(options('callbacks'))}; {OUTSIDE}" for n in (3, 4)
    ]
    (tmp_path / "runs" / "a" / "1").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "1" / "metrics.jsonl").write_text("{}\n")
    assert refused("name=a", "seed=0,1", "callbacks=[]") == [
        "name: runs/a/1 already holds a run; continue with it by resume=a/1, or choose another name=…"
    ]
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    assert refused("name=b", "seed=0,1", "callbacks=[]") == [
        "--multirun: not under torchrun; a sweep starts the ranks of each run itself (trainer=ddp)"
    ]
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    monkeypatch.setenv("CLIP_ALIGN_RANK", "1")
    assert refused("name=b", "seed=0,1", "callbacks=[]") == [
        "--multirun: not under srun; a sweep starts the ranks of each run itself (trainer=ddp)"
    ]


SWEEP = """
import sys, time
from clip_align.__main__ import main
from clip_align.commands import multirun
code = '''
import pathlib, signal, sys, time
name = sys.argv[-1].split('=')[1].replace('/', '-')
def note(number, frame):
    pathlib.Path(name + '.signal').write_text(str(number))
    sys.exit(128 + number)
signal.signal(signal.SIGINT, note), signal.signal(signal.SIGTERM, note)
pathlib.Path(name).write_text('')
time.sleep(600)
'''
multirun.command = lambda overrides, name: [sys.executable, '-c', code, 'name=' + name]
sys.exit(main(['train', '--multirun', 'name=x', 'seed=0,1', 'callbacks=[]']))
"""


@pytest.mark.parametrize(
    ("number", "code", "to_group"),
    [(signal.SIGINT, 130, True), (signal.SIGINT, 130, False), (signal.SIGTERM, 143, True)],
)
def test_a_signal_ends_the_job_and_the_sweep(tmp_path: Path, number: signal.Signals, code: int, to_group: bool) -> None:
    process = subprocess.Popen([sys.executable, "-c", SWEEP], cwd=tmp_path, start_new_session=True)
    limit = time.monotonic() + 120
    while not (tmp_path / "x-0").exists() and time.monotonic() < limit:
        time.sleep(0.05)
    if to_group:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    assert process.wait(120) == code
    assert (tmp_path / "x-0.signal").read_text() == str(int(number))
    assert not (tmp_path / "x-1").exists()


@pytest.mark.slow
def test_a_real_sweep_trains_each_run_in_its_own_folder(tmp_path: Path) -> None:
    train = [sys.executable, str(Path(__file__).resolve().parents[2] / "train.py")]
    small = [
        "experiment=quick",
        "callbacks=[]",
        "tracker=none",
        "trainer=cpu",
        "trainer.max_steps=2",
        "data.images=256",
    ]
    done = subprocess.run(
        [*train, "--multirun", *small, "seed=1,2", "name=s", f"paths.cache={tmp_path}/cache"], cwd=tmp_path, timeout=600
    )
    assert done.returncode == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "runs"]  # no outputs/, no multirun/, no *.log
    stored = [json.loads((tmp_path / "runs" / "s" / n / "provenance.json").read_text()) for n in "01"]
    assert [(s["status"], s["exit_code"], s["seed"]) for s in stored] == [("done", 0, 1), ("done", 0, 2)]


def test_a_dry_run_of_a_sweep_looks_at_each_run_and_makes_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(multirun, "command", stand_in("import sys; print(sys.argv[1:]); sys.exit(2)"))
    assert multirun.multirun(["name=x", "seed=0,1", "dry_run=true", "data=folder", "callbacks=[]"]) == 2
    assert list(tmp_path.iterdir()) == []
    assert "['seed=1', 'dry_run=True', 'data=folder', 'callbacks=[]', 'name=x/1'" in capfd.readouterr().out


def test_runs_of_a_sweep_do_not_share_a_wandb_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_RUN_ID", "abc")
    monkeypatch.setattr(multirun, "command", stand_in("import os; print('id', os.environ.get('WANDB_RUN_ID'))"))
    assert multirun.multirun(["name=x", "seed=0,1", "callbacks=[]"]) == 0
    out = capfd.readouterr().out.splitlines()
    assert out[1] == "sweep runs/x: WANDB_RUN_ID is ignored: each run has its own wandb run"
    assert out.count("id None") == 2
