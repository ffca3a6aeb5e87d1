# SPDX-License-Identifier: Apache-2.0
"""What ``trainer.compile=true`` needs of the machine: torch.compile writes C++ (on GPUs C too) and has it compiled."""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from clip_align.errors import Problem

_CXX = ("g++", "clang++")
_CC = ("gcc", "clang", "cc")
INSTALL = "install them (Debian, Ubuntu: apt install g++ python3-dev), or leave trainer.compile=false"


def compiler_problem(gpu: bool, environment: Mapping[str, str]) -> Problem | None:
    """What is missing; None where towers can be compiled.

    Args:
        gpu: whether training is on GPUs, whose kernels are launched through C.
        environment: names the compilers in CXX and CC where they are not the usual ones.
    """
    cxx, cc = (tuple(environment.get(name, "").split()[:1]) for name in ("CXX", "CC"))  # may carry options
    wanted: dict[str, tuple[str, ...]] = {"C++ compiler (g++)": cxx or _CXX}
    if gpu:
        wanted["C compiler (gcc)"] = cc or _CC
    path = environment.get("PATH")
    missing = [what for what, names in wanted.items() if not any(shutil.which(name, path=path) for name in names)]
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():  # the generated code includes it
        missing.append("Python.h")
    return Problem("trainer.compile", f"no {' and no '.join(missing)} on this machine; {INSTALL}") if missing else None
