# SPDX-License-Identifier: Apache-2.0
"""Where a run comes from: command, commit, versions, hardware. `run_folder` writes it to provenance.json."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clip_align.processes.torchrun import under_torchrun

PACKAGES = (
    "clip-align",
    "torch",
    "torchvision",
    "pytorch-lightning",
    "open_clip_torch",
    "webdataset",
    "torchmetrics",
    "hydra-core",
    "wandb",
    "numpy",
    "scipy",
    "pillow",
)

SWEEP = "CLIP_ALIGN_SWEEP_COMMAND"  # environment variable of a sweep's runs: the sweep's command, a JSON list


def typed_command(arguments: Sequence[str], words: Sequence[str] | None = None) -> list[str]:
    """The command line of ``train`` as it was typed: ``python train.py …``, ``torchrun … train.py …``.

    Args:
        arguments: those behind ``train`` or ``train.py``, as given.
        words: the whole command line; the process's own, or torchrun's, where not given. One that is not ours (of a
            test, of a notebook) gives ``clip-align train …``.
    """
    # torchrun starts train.py with words of its own: what was typed is its own command line
    line = list(words or (_words_of_parent() if under_torchrun() else ()) or sys.orig_argv)
    ours = line[1 : len(line) - len(arguments)]
    while len(ours) > 1 and ours[0].startswith("-") and ours[0] != "-m":  # the interpreter's own options
        ours = ours[2:] if ours[0] in ("-X", "-W") else ours[1:]
    script = Path(ours[0]).name if ours else ""
    if line[len(line) - len(arguments) :] != list(arguments):  # not our command line
        return ["clip-align", "train", *arguments]
    if script in ("clip-align", "torchrun"):
        return [script, *ours[1:], *arguments]
    if script == "train.py" or ours[:2] == ["-m", "clip_align"]:
        return ["python", *ours, *arguments]  # python, not the path of this environment's interpreter
    return ["clip-align", "train", *arguments]


def remember_sweep(command: Sequence[str]) -> None:
    """Let the runs that this process starts note down that they are members of a sweep."""
    os.environ[SWEEP] = json.dumps(list(command))


def _words_of_parent() -> list[str]:
    """Command line of the process that started this one; empty where the system does not give it."""
    try:
        # each word ends with a null byte
        return Path(f"/proc/{os.getppid()}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def provenance(argv: Sequence[str], seed: int, **fields: Any) -> dict[str, Any]:
    """Where a run comes from: command, commit (null without git), versions, hardware, seed, time.

    Args:
        argv: the command as typed.
        seed: of the run.
        **fields: further facts, under their own names.
    """
    sweep = {"sweep_command": json.loads(os.environ[SWEEP])} if SWEEP in os.environ else {}
    return {
        "command": list(argv),
        **sweep,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "working_folder": os.getcwd(),
        "git_commit": git_commit(),
        "git_remote": git_remote(),
        "versions": versions(),
        "hardware": hardware(),
        # they change what wandb does; WANDB_API_KEY stays out
        "wandb_environment": {k: v for k, v in os.environ.items() if k.startswith("WANDB_") and "KEY" not in k},
        "seed": seed,
        **fields,
    }


def git_remote() -> str | None:
    """Address of the checkout's remote ``origin`` without name and password; None without git or remote."""
    root = _checkout()
    try:
        # a token may be part of the address
        return re.sub(r"(?<=://)[^/@]*@", "", _git(root, "remote", "get-url", "origin")) if root else None
    except (OSError, subprocess.SubprocessError):
        return None


def _checkout() -> Path | None:
    root = Path(__file__).resolve().parents[2]  # where the package lies
    # An installed package inside somebody else's repository does not come from that repository.
    return root if (root / ".git").exists() else None


def git_commit() -> str | None:
    """Commit of the checkout this package runs from, ``-dirty`` appended when files differ; None without git."""
    root = _checkout()
    if root is None:
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        # other files, such as runs/, do not count
        return f"{commit}-dirty" if _git(root, "status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return None


def versions() -> dict[str, str | None]:
    """Python and the packages that numbers depend on, None for one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def version() -> str:
    """Name and version of this program, as ``--version`` prints it."""
    try:
        return f"clip-align {importlib.metadata.version('clip-align')}"
    except importlib.metadata.PackageNotFoundError:
        return "clip-align (not installed as a package)"


def hardware() -> dict[str, Any]:
    """Machine, processor, usable cores, and GPUs when torch is already loaded (never loads it)."""
    affinity = getattr(os, "sched_getaffinity", None)  # cores of this job, where a scheduler gives it some
    memory_gb = None
    with contextlib.suppress(AttributeError, ValueError, OSError):  # no sysconf on Windows, or not these names
        memory_gb = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    found: dict[str, Any] = {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "memory_gb": memory_gb,
        "gpus": [],
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        found["cuda"] = torch.version.cuda
    return found


def _git(root: Path, *words: str) -> str:
    # a repository on a slow disk must not hold up the run
    done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()  # without /proc
