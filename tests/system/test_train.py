# SPDX-License-Identifier: Apache-2.0
"""``train`` as a process: exit codes, files, signals, resume."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from miniature_shards import samples, tar
from training_runs import ROOT, code_of, forked, lines, losses, provenance, reached, real, text, when

from clip_align.training.checkpoint_files import OWN


def test_a_run_ends_well_and_its_name_is_taken(tmp_path, small):
    assert code_of(real([*small, "name=a"], tmp_path / "out")) == 0, text(tmp_path)
    run = tmp_path / "a"
    assert {p.name for p in run.iterdir()} == {
        "config.yaml", "provenance.json", "metrics.jsonl", "items", "checkpoints", "curves.png", "report.html",
        "train.log",
    }  # fmt: skip
    assert (tmp_path / "latest").resolve() == run
    about = provenance(run)
    assert (about["status"], about["exit_code"], about["ranks"], about["global_batch"]) == ("done", 0, 1, 32)
    assert about["data_fingerprint"]
    assert [line["global_step"] for line in lines(run, "evaluation")] == [0, 2, 10, 20]
    assert [line["global_step"] for line in lines(run, "train")] == [10, 20]
    started, finished = lines(run, "event")[0], lines(run, "event")[-1]
    assert started["event"] == "started"
    assert (started["max_steps"], started["evaluations_planned"], started["regular_every"]) == (20, 4, 10)
    assert (finished["event"], finished["exit_code"]) == ("finished", 0)
    assert [line["key"] for line in lines(run, "benchmark")] == ["zero_shot/world"]
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint[OWN]["samples_seen"] == 640
    assert "of" in checkpoint[OWN]["words"]
    began = time.monotonic()
    assert code_of(real([*small, "name=a"], tmp_path / "again")) == 2
    printed = (tmp_path / "again").read_text().splitlines()
    assert len(printed) == 1
    assert "already holds a run" in printed[0]
    assert "resume=a" in printed[0]
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    ("number", "code", "status"),
    [(2, 130, "interrupted"), pytest.param(15, 143, "terminated", marks=pytest.mark.slow)],
)
def test_a_signal_to_the_group_ends_a_run_in_order(tmp_path, small, number, code, status):
    run = forked([*small, "name=s", "trainer.max_steps=9999", "data.workers=2"], tmp_path / "out", "slow")
    when(reached(tmp_path / "s", 10), run)
    began = time.monotonic()
    os.killpg(run.pid, number)
    assert code_of(run) == code, text(tmp_path)
    assert time.monotonic() - began < 100
    folder = tmp_path / "s"
    assert (provenance(folder)["status"], provenance(folder)["exit_code"]) == (status, code)
    step = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    stopped = lines(folder, "event")[-1]
    assert (stopped["event"], stopped["global_step"]) == ("stopped", step)
    assert stopped["message"] == f"{status} at step {step}"
    cache = next(key for key in small if key.startswith("paths.cache"))
    assert f"to resume: python train.py resume=s paths.runs={tmp_path} {cache}" in text(tmp_path).splitlines()
    assert (folder / "report.html").stat().st_size > 1000
    assert "Traceback" not in text(tmp_path)


def test_a_killed_run_goes_on_where_its_checkpoint_is(tmp_path, small):
    common = [*small, "trainer.log_every_n_steps=1", "checkpoint.every_n_steps=6", "data.workers=1"]
    assert code_of(forked([*common, "name=whole"], tmp_path / "out")) == 0, text(tmp_path)
    assert code_of(forked([*common, "name=parts", "resume=auto"], tmp_path / "out", "killed")) == -9
    assert max(losses(tmp_path / "parts")) == 16
    assert provenance(tmp_path / "parts")["status"] == "running"
    assert code_of(forked([*common, "name=parts", "resume=auto"], tmp_path / "out")) == 0, text(tmp_path)
    resumed = next(line for line in lines(tmp_path / "parts", "event") if line["event"] == "resumed")
    assert resumed["global_step"] == 12
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    walls = [line["wall_seconds"] for line in lines(tmp_path / "parts")]
    assert walls == sorted(walls)
    scores = [
        {line["global_step"]: line["zero_shot/world/accuracy"] for line in lines(tmp_path / name, "evaluation")}
        for name in ("whole", "parts")
    ]
    assert scores[0] == scores[1]
    evaluated = [line["global_step"] for line in lines(tmp_path / "parts", "evaluation")]
    assert evaluated == [0, 2, 10, 20]  # none repeated: the checkpoint of step 12 knows of step 10
    assert provenance(tmp_path / "parts")["resumed"][0]["step"] == 12

    assert code_of(forked([*common, "name=parts", "resume=auto"], tmp_path / "done")) == 0
    printed = (tmp_path / "done").read_text().splitlines()
    assert len(printed) == 1
    assert "is finished (20 steps); nothing to do" in printed[0]


@pytest.mark.slow
def test_a_run_goes_on_with_the_next_epoch_where_its_data_have_changed(tmp_path, small):
    tar(tmp_path / "shards" / "0.tar", samples(range(96)))
    shards = ["data=webdataset", f"data.shards={tmp_path}/shards", "data.batch_size=32", "callbacks=[]"]
    common = [*(key for key in small if not key.startswith(("data.", "callbacks"))), *shards, "name=d"]
    assert code_of(forked([*common, "trainer.max_steps=4"], tmp_path / "out")) == 0, text(tmp_path)
    before = provenance(tmp_path / "d")["data_fingerprint"]
    tar(tmp_path / "shards" / "1.tar", samples(range(96, 192)))
    again = [f"paths.runs={tmp_path}", "resume=d", "trainer.max_steps=8"]
    assert code_of(forked(again, tmp_path / "out")) == 0, text(tmp_path)
    reported = [line for line in text(tmp_path).splitlines() if "continuing with epoch 2 of these" in line]
    assert len(reported) == 1
    assert f"fingerprint {before}, now {provenance(tmp_path / 'd')['data_fingerprint']}" in reported[0]
    resumed = next(line for line in lines(tmp_path / "d", "event") if line["event"] == "resumed")
    assert (resumed["global_step"], resumed["epoch"]) == (4, 2)
    assert provenance(tmp_path / "d")["resumed"][0]["data_fingerprint_before"] == before
    checkpoint = torch.load(tmp_path / "d" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint[OWN]["cursor"] == [2, 4]


def test_a_run_is_resumed_where_its_shards_have_moved_to(tmp_path, small):
    for name in ("whole", "parts", "other"):
        tar(tmp_path / name / "0.tar", samples(range(96)))
    common = [*(key for key in small if not key.startswith(("data.", "callbacks"))), "data=webdataset"]
    common += ["data.batch_size=32", "callbacks=[]", "trainer.log_every_n_steps=1", "optimizer.schedule=constant"]
    for name, steps in (("whole", 8), ("parts", 4)):
        arguments = [*common, f"data.shards={tmp_path}/{name}", f"name=on_{name}", f"trainer.max_steps={steps}"]
        assert code_of(forked(arguments, tmp_path / "out")) == 0, text(tmp_path)
    (tmp_path / "parts").rename(tmp_path / "moved")
    again = [f"paths.runs={tmp_path}", "resume=on_parts", "trainer.max_steps=8"]
    assert code_of(forked(again, tmp_path / "out")) == 2  # as long as nobody says where
    assert code_of(forked([*again, f"data.shards={tmp_path}/moved"], tmp_path / "out")) == 0, text(tmp_path)
    assert "data.shards: the same data as before, in another place" in text(tmp_path).splitlines()
    assert losses(tmp_path / "on_parts") == losses(tmp_path / "on_whole")
    assert "workers: null" in (tmp_path / "on_parts" / "config.yaml").read_text()  # each launch determines the number
    begun = [line for line in lines(tmp_path / "on_parts", "event") if line["event"] in ("started", "resumed")]
    assert [line["workers"] for line in begun] == [0, 0]
    assert provenance(tmp_path / "on_parts")["workers"] == 0
    said = "data.workers: 0 for each rank (on the CPU, training itself uses all cores)"
    assert said in text(tmp_path).splitlines()
    tar(tmp_path / "other" / "0.tar", samples(range(97)))
    again[-1] = "trainer.max_steps=9"
    assert code_of(forked([*again, f"data.shards={tmp_path}/other"], tmp_path / "out")) == 2
    assert text(tmp_path).splitlines()[-1].startswith(f"data.shards: not the data that {tmp_path}/on_parts was trained")


@pytest.mark.slow
def test_steps_without_a_checkpoint_are_a_new_start_with_the_old_record_aside(tmp_path, small):
    common = [*small, "name=k", "checkpoint.every_n_steps=99", "checkpoint.best=null", "trainer.log_every_n_steps=5"]
    assert code_of(forked(common, tmp_path / "out", "killed")) == -9
    assert [line["global_step"] for line in lines(tmp_path / "k", "evaluation")] == [0, 2, 10]
    assert code_of(forked([*common, "resume=k"], tmp_path / "out")) == 0, text(tmp_path)
    assert "holds no checkpoint: starting again, old record kept aside" in text(tmp_path)
    assert [line["global_step"] for line in lines(tmp_path / "k", "evaluation")] == [0, 2, 10, 20]
    aside = [p for p in (tmp_path / "k").iterdir() if p.name.startswith("before-")]
    assert [line["global_step"] for line in lines(aside[0], "evaluation")] == [0, 2, 10]


def test_nan_loss_stops_the_run(tmp_path, small):
    arguments = [*small, "name=n", "checkpoint.every_n_steps=6", "trainer.max_steps=9999"]
    assert code_of(forked(arguments, tmp_path / "out", "poisoned")) == 1
    last = text(tmp_path).splitlines()[-1]
    assert last.startswith("train/loss is nan at step 14; samples: ")
    assert "step-000000012.ckpt" in last
    assert "Traceback" not in text(tmp_path)
    assert (provenance(tmp_path / "n")["status"], provenance(tmp_path / "n")["exit_code"]) == ("failed", 1)
    weights = torch.load(tmp_path / "n" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(bool(torch.isfinite(w).all()) for w in weights.values())
    assert lines(tmp_path / "n", "event")[-1]["message"] == last


def test_an_error_of_ours_is_one_line(tmp_path, small):
    assert code_of(forked([*small, "name=f"], tmp_path / "out", "failing")) == 1
    assert text(tmp_path).splitlines()[-1].startswith("ValueError: something is wrong here (with HYDRA_FULL_ERROR=1")
    assert "Traceback" not in text(tmp_path)
    assert "and more about it" in (tmp_path / "f" / "train.log").read_text()
    assert provenance(tmp_path / "f")["status"] == "failed"


def test_what_cannot_be_trained_is_refused_before_a_folder_is_made(tmp_path, small):
    arguments = [*small, "name=x", "data=webdataset", f"data.shards={tmp_path}/none-{{000..003}}.tar"]
    assert code_of(forked([a for a in arguments if a != "data.images=512"], tmp_path / "out")) == 2
    assert not (tmp_path / "x").exists()
    assert len(text(tmp_path).splitlines()) == 1, text(tmp_path)


@pytest.mark.slow
def test_training_losses_do_not_depend_on_callbacks(tmp_path, small):
    common = [*small, "trainer.log_every_n_steps=1"]
    for name, more in (("with", "callbacks=[world,world_noise]"), ("without", "callbacks=[]")):
        assert code_of(forked([*common, f"name={name}", more], tmp_path / "out")) == 0, text(tmp_path)
    assert losses(tmp_path / "with") == losses(tmp_path / "without")
    assert not lines(tmp_path / "without", "evaluation")


@pytest.mark.parametrize("number", [2, 15])
def test_before_training_a_signal_ends_at_once(tmp_path, small, number):
    arguments = [a for a in small if not a.startswith("paths.cache")]
    run = forked([*arguments, "name=e", "data.images=60000", f"paths.cache={tmp_path}/cold"], tmp_path / "out")
    when(lambda: "images rendered" in text(tmp_path), run)
    began = time.monotonic()
    os.killpg(run.pid, number)
    assert code_of(run) == 128 + number, text(tmp_path)
    assert time.monotonic() - began < 60
    assert not (tmp_path / "e").exists()
    assert not [p for p in (tmp_path / "cold").rglob("*") if p.name == "world.json"]


@pytest.mark.slow
def test_a_closed_terminal_ends_a_run_in_order(tmp_path, small):
    """The terminal takes standard output with it: what is printed then fails, and the run is saved all the same."""
    ours, its = pty.openpty()
    run = subprocess.Popen(
        [sys.executable, "train.py", *small, "name=t", "trainer.max_steps=999999", "data.workers=1"],
        cwd=ROOT, stdin=its, stdout=its, stderr=its, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        env={**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm"},
    )  # fmt: skip
    os.close(its)
    reader = threading.Thread(target=lambda: read_all(ours), daemon=True)
    reader.start()
    when(reached(tmp_path / "t", 10), run)
    os.kill(run.pid, signal.SIGSTOP)  # nothing is printed between the two lines
    os.close(ours) if not reader.is_alive() else os.dup2(os.open(os.devnull, os.O_RDONLY), ours)
    os.kill(run.pid, signal.SIGCONT)
    assert code_of(run) == 143
    about = provenance(tmp_path / "t")
    assert (about["status"], about["exit_code"]) == ("terminated", 143)
    assert (tmp_path / "t" / "report.html").exists()
    step = lines(tmp_path / "t", "event")[-1]["global_step"]
    assert (tmp_path / "t" / "checkpoints" / f"step-{step:09d}.ckpt").exists()
    assert f"terminated at step {step}" in (tmp_path / "t" / "train.log").read_text()


def read_all(terminal: int) -> None:
    """What a terminal emulator does: else a full buffer would stop the run."""
    with contextlib.suppress(OSError):
        while os.read(terminal, 65536):
            pass
