# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from clip_align.runs import provenance
from clip_align.runs.provenance import SWEEP, git_remote, remember_sweep, typed_command

ROOT = Path(__file__).resolve().parent.parent
GIVEN = ["seed=1", "data.shards=/a b/{0..3}.tar"]


@pytest.mark.parametrize(
    ("words", "typed"),
    [
        (["/env/bin/python3.11", "train.py"], ["python", "train.py"]),
        (["python", "-u", "-X", "dev", "/home/me/train.py"], ["python", "/home/me/train.py"]),
        (["python", "-m", "clip_align", "train"], ["python", "-m", "clip_align", "train"]),
        (["/env/bin/python", "/env/bin/clip-align", "train"], ["clip-align", "train"]),
        (
            ["/env/bin/python", "/env/bin/torchrun", "--nproc_per_node", "8", "train.py"],
            ["torchrun", "--nproc_per_node", "8", "train.py"],
        ),
        (["/env/bin/python", "-m", "pytest"], ["clip-align", "train"]),  # not our command line
    ],
)
@pytest.mark.parametrize("given", [GIVEN, []])
def test_the_command_is_the_one_that_was_typed(words: list[str], typed: list[str], given: list[str]) -> None:
    assert typed_command(given, [*words, *given]) == [*typed, *given]


def test_arguments_that_are_not_those_of_the_command_line_are_kept() -> None:
    assert typed_command(GIVEN, ["python", "train.py", "seed=2"]) == ["clip-align", "train", *GIVEN]


def test_a_process_finds_its_own_command_line() -> None:
    code = "import sys; from clip_align.runs.provenance import typed_command; print(typed_command(sys.argv[1:]))"
    script = subprocess.run([sys.executable, "-c", code, *GIVEN], capture_output=True, text=True, check=True, cwd=ROOT)
    assert script.stdout.strip() == str(["clip-align", "train", *GIVEN])  # -c is no command of ours


def test_runs_of_a_sweep_know_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SWEEP, raising=False)
    assert "sweep_command" not in provenance.provenance(["a"], 0)
    monkeypatch.setenv(SWEEP, "[]")  # restored afterwards
    remember_sweep(["python", "train.py", "--multirun", "seed=1,2"])
    child = [
        sys.executable,
        "-c",
        "import clip_align.runs.provenance as p, json; print(json.dumps(p.provenance([], 0)))",
    ]
    done = subprocess.run(child, capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(done.stdout)["sweep_command"] == ["python", "train.py", "--multirun", "seed=1,2"]


def test_a_remotes_password_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    address = "https://me:secret@git.example.org/a.git"
    subprocess.run(["git", "-C", str(tmp_path), "remote", "add", "origin", address], check=True)
    monkeypatch.setattr(provenance, "_checkout", lambda: tmp_path)
    assert git_remote() == "https://git.example.org/a.git"
    monkeypatch.setattr(provenance, "_checkout", lambda: None)
    assert git_remote() is None
