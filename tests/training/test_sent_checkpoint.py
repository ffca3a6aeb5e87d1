# SPDX-License-Identifier: Apache-2.0
"""The checkpoint of a resumed run on a machine without rank 0's folder; and facts that all ranks have to share."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
import torch
from rank_processes import run_ranks

from clip_align.processes.ranks import Ranks
from clip_align.training import sent_checkpoint
from clip_align.training.sent_checkpoint import fingerprint, on_every_machine


def test_a_fingerprint_is_of_the_content(tmp_path):
    for name, value in (("a", 1.0), ("b", 1.0), ("c", 2.0)):
        torch.save({"w": torch.full((1000,), value)}, tmp_path / name)
    shutil.copy(tmp_path / "a", tmp_path / "d")
    a, c, d = (fingerprint(tmp_path / name) for name in "acd")
    assert a == d != c
    assert fingerprint(tmp_path / "none") == ""
    (tmp_path / "e").write_bytes((tmp_path / "a").read_bytes()[:-100])
    assert fingerprint(tmp_path / "e") == ""


def test_one_rank_and_a_new_run_need_nothing(tmp_path):
    for checkpoint in (None, tmp_path / "x.ckpt"):
        with on_every_machine(checkpoint, tmp_path, True, Ranks(), print) as path:
            assert path == checkpoint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", ["nothing", "an older file of that name", "the same file"])
def test_a_machine_gets_what_it_lacks(tmp_path, there):
    for name in "ab":
        (tmp_path / name).mkdir()
    torch.save({"w": torch.arange(2000.0)}, tmp_path / "a" / "x.ckpt")
    old = tmp_path / "b" / "cache" / sent_checkpoint.FOLDER / "old.ckpt"
    old.parent.mkdir(parents=True)
    old.write_text("of a killed run")
    os.utime(old, (0, time.time() - 2 * sent_checkpoint.OLD_S))
    if there == "an older file of that name":
        torch.save({"w": torch.arange(2000.0) + 1}, tmp_path / "b" / "x.ckpt")
    elif there == "the same file":
        shutil.copy(tmp_path / "a" / "x.ckpt", tmp_path / "b" / "x.ckpt")
    outputs = run_ranks("sending_rank.py", 3, tmp_path)
    assert [code for code, _ in outputs] == [0, 0, 0], outputs
    lines = [output.splitlines() for _, output in outputs]
    digest = fingerprint(tmp_path / "a" / "x.ckpt")
    sent = there != "the same file"
    assert lines[0][-2] == f"x.ckpt {digest}"
    assert [line[-2] for line in lines[1:]] == [f"{'copy' if sent else 'x.ckpt'} {digest}"] * 2
    line = "resume: sending x.ckpt to a machine that does not have it"
    assert lines[0][:-2] == ([line] if sent else [])
    assert list(old.parent.iterdir()) == ([] if sent else [old])
    what = "the version of torch: 2 here, and 1 on rank 0; every machine needs the same files, under the same paths, "
    for rank, of in enumerate(lines):
        assert of[-1].removeprefix("rank 1: ") == f"{what}and the same environment", rank


def test_the_second_machine_cannot_write(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    torch.save({"w": torch.arange(2000.0)}, tmp_path / "a" / "x.ckpt")
    (tmp_path / "b" / "cache").write_text("in the way")
    outputs = run_ranks("sending_rank.py", 3, tmp_path)
    assert [code for code, _ in outputs] == [1, 1, 1]
    assert Path(tmp_path / "a" / "x.ckpt").exists()
