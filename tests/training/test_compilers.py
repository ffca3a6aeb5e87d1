# SPDX-License-Identifier: Apache-2.0
"""torch.compile is refused before step 0 where it could not compile."""

from __future__ import annotations

from pathlib import Path

import pytest

from clip_align.config import TrainerConfig
from clip_align.errors import UserError
from clip_align.training import compilers
from clip_align.training.compilers import compiler_problem
from clip_align.training.launch_ranks import rank_layout

INSTALL = "install them (Debian, Ubuntu: apt install g++ python3-dev), or leave trainer.compile=false"


def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *names: str, header: bool = True) -> dict[str, str]:
    """An environment whose PATH has these programs."""
    for name in names:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    if header:
        (tmp_path / "Python.h").write_text("")
    monkeypatch.setattr(compilers.sysconfig, "get_path", lambda name: str(tmp_path))
    return {"PATH": str(tmp_path)}


@pytest.mark.parametrize(
    ("names", "header", "gpu", "more", "missing"),
    [
        (("g++",), True, False, {}, None),
        (("clang++",), True, False, {}, None),
        (("c++-12",), True, False, {"CXX": "c++-12 -march=native"}, None),
        (("g++", "gcc"), True, True, {}, None),
        ((), True, False, {}, "no C++ compiler (g++)"),
        (("g++",), True, False, {"CXX": "nowhere"}, "no C++ compiler (g++)"),
        (("g++",), False, False, {}, "no Python.h"),
        ((), False, True, {}, "no C++ compiler (g++) and no C compiler (gcc) and no Python.h"),
    ],
)
def test_what_is_missing_is_named(tmp_path, monkeypatch, names, header, gpu, more, missing):
    environment = machine(tmp_path, monkeypatch, *names, header=header) | more
    line = f"trainer.compile: {missing} on this machine; {INSTALL}" if missing else None
    problem = compiler_problem(gpu, environment)
    assert (problem and str(problem), problem and problem.key) == (line, missing and "trainer.compile")


def test_only_where_it_is_requested(tmp_path, monkeypatch):
    environment = machine(tmp_path, monkeypatch)
    assert rank_layout(TrainerConfig(kind="cpu"), 0, environment).world == 1
    with pytest.raises(UserError, match=r"trainer\.compile: no C\+\+ compiler"):
        rank_layout(TrainerConfig(kind="cpu", compile=True), 0, environment)


def test_the_image_has_what_compiling_needs() -> None:
    dockerfile = Path(__file__).resolve().parents[2] / "docker" / "Dockerfile"
    installed = dockerfile.read_text(encoding="utf-8").split("install -y", 1)[1].split("&&", 1)[0].split()
    assert {"g++", "python3-dev"} <= set(installed)
