# SPDX-License-Identifier: Apache-2.0
"""``train`` on two ranks of the CPU: the same numbers as on one, and the same ways to end."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from training_runs import code_of, forked, lines, losses, provenance, reached, real, text, when

from clip_align.testing.gloo_ranks import free_port

pytestmark = pytest.mark.slow
RANKS = ["trainer=ddp", "trainer.devices=2", "data.batch_size=16"]


def torchrun(tmp_path: Path) -> list[str]:
    return ["-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port", str(free_port()), "train.py"]


def scores(folder: Path) -> list[dict[str, object]]:
    return [{k: v for k, v in line.items() if "/" in k and "time" not in k} for line in lines(folder, "evaluation")]


def test_two_ranks_record_what_one_rank_does(tmp_path, small):
    callbacks = "callbacks=[world,world_noise]"
    two, one, under = (tmp_path / name for name in ("two", "one", "under"))
    assert code_of(real([*small, *RANKS, callbacks, "name=two"], tmp_path / "out")) == 0, text(tmp_path)
    assert "Warning" not in text(tmp_path)
    assert code_of(real([*small, callbacks, "name=one"], tmp_path / "out")) == 0, text(tmp_path)
    arguments = [*small, "trainer=ddp", "data.batch_size=16", callbacks, "name=under"]
    assert code_of(real(arguments, tmp_path / "out", torchrun(tmp_path))) == 0, text(tmp_path)
    assert provenance(two)["ranks"] == provenance(under)["ranks"] == 2
    for other in (two, under):
        assert scores(other)[0] == scores(one)[0]  # the same weights, and one thread each: bit for bit
        assert losses(other)[10] == pytest.approx(losses(one)[10], rel=1e-4)
        assert len(lines(other, "evaluation")) == len(lines(one, "evaluation")) == 4
        assert len(lines(other, "train")) == 2


@pytest.mark.parametrize(("number", "code", "status"), [(2, 130, "interrupted"), (15, 143, "terminated")])
@pytest.mark.parametrize("callbacks", ["callbacks=world", "callbacks=[world,tid2013_remade]"])
def test_a_signal_to_the_group_ends_two_ranks_in_order(tmp_path, small, number, code, status, callbacks):
    arguments = [*small, *RANKS, callbacks, "name=s", "trainer.max_steps=99999", "data.workers=1"]
    run = real([*arguments, "evaluation.every_n_steps=15"], tmp_path / "out")
    when(reached(tmp_path / "s", 10), run, 400)
    began = time.monotonic()
    os.killpg(run.pid, number)
    assert code_of(run) == code, text(tmp_path)
    assert time.monotonic() - began < 150
    about = provenance(tmp_path / "s")
    assert (about["status"], about["exit_code"]) == (status, code)
    assert (tmp_path / "s" / "report.html").stat().st_size > 1000
    assert lines(tmp_path / "s", "event")[-1]["event"] == "stopped"
    assert (tmp_path / "s" / "checkpoints" / "last.ckpt").exists()
    assert "Traceback" not in text(tmp_path)
    assert len(text(tmp_path).splitlines()) == len(set(text(tmp_path).splitlines()))  # printed once


def test_a_signal_to_the_first_rank_alone_ends_both(tmp_path, small):
    run = real([*small, *RANKS, "name=s", "trainer.max_steps=99999"], tmp_path / "out")
    when(reached(tmp_path / "s", 10), run, 400)
    run.terminate()
    assert code_of(run) == 143, text(tmp_path)


def test_a_rank_that_disappears_ends_the_run(tmp_path, small):
    run = real([*small, *RANKS, "name=d", "trainer.max_steps=99999"], tmp_path / "out")
    when(reached(tmp_path / "d", 10), run, 400)
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    ranks = [int(p) for p in children if b"clip_align.training.child_rank" in Path(f"/proc/{p}/cmdline").read_bytes()]
    assert len(ranks) == 1
    os.kill(ranks[0], 9)
    assert code_of(run) == 1, text(tmp_path)
    assert text(tmp_path).splitlines()[-1] == "rank 1: ended with code -9"
    assert provenance(tmp_path / "d")["status"] == "failed"


def test_resume_on_another_number_of_ranks(tmp_path, small):
    """From two ranks to one, whose batch is as large or comes in two parts; each step has the same samples."""
    once = [*small, "optimizer.schedule=constant", "trainer.log_every_n_steps=1"]
    assert code_of(forked([*once, "name=one", "trainer.max_steps=8"], tmp_path / "out")) == 0, text(tmp_path)
    assert code_of(real([*once, *RANKS, "name=r", "trainer.max_steps=4"], tmp_path / "out")) == 0, text(tmp_path)
    shutil.copytree(tmp_path / "r", tmp_path / "s")
    for name, division in (("r", "data.batch_size=32"), ("s", "trainer.accumulate=2")):
        arguments = [f"resume={name}", f"paths.runs={tmp_path}", small[-1], "trainer.max_steps=8", "trainer.devices=1"]
        assert code_of(forked(arguments, tmp_path / "out")) == 2, text(tmp_path)
        assert "both must stay: type data.batch_size=32 or trainer.accumulate=2" in text(tmp_path)
        assert code_of(forked([*arguments, division], tmp_path / "out")) == 0, text(tmp_path)
        assert "ranks: 2 before, 1 now; each step has the same samples, and losses differ by rounding" in text(tmp_path)
        assert losses(tmp_path / name) == pytest.approx(losses(tmp_path / "one"), rel=1e-4)
        assert len(losses(tmp_path / name)) == 8


def test_a_rank_that_never_comes_ends_the_run_with_one_line(tmp_path, small, monkeypatch):
    """As torchrun starts the first of two ranks; the other one's machine is down."""
    port = free_port()
    places = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 1, "MASTER_PORT": port}
    for name, value in {**places, "MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "x"}.items():
        monkeypatch.setenv(name, str(value))
    limits = ["trainer.stall_warning_seconds=1", "trainer.stall_limit_seconds=5"]
    assert code_of(real([*small, "trainer=ddp", "data.batch_size=16", "name=w", *limits], tmp_path / "out")) == 1
    said = [line for line in text(tmp_path).splitlines() if line.startswith("ranks: ")]
    state = f"ranks: 1 of 2 ranks have joined at 127.0.0.1:{port}, rank 1 not yet; "
    assert re.match(rf"{re.escape(state)}waited \d s, giving up in \d s$", said[0]), text(tmp_path)
    last = text(tmp_path).splitlines()[-1]
    assert re.match(rf"{re.escape(state)}gave up after \d+ s: ", last), text(tmp_path)
    assert not (tmp_path / "w").exists()
