# SPDX-License-Identifier: Apache-2.0
"""Where a run comes from: command, commit, versions, hardware. `run_folder` writes it to provenance.json."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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


def provenance(argv: Sequence[str], seed: int, **fields: Any) -> dict[str, Any]:
    """Where a run comes from: command, commit (null without git), versions, hardware, seed, time; plus ``fields``."""
    return {
        "command": list(argv),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "working_folder": os.getcwd(),
        "git_commit": git_commit(),
        "versions": versions(),
        "hardware": hardware(),
        "wandb_environment": {k: v for k, v in os.environ.items() if k.startswith("WANDB_") and "KEY" not in k},
        "seed": seed,
        **fields,
    }


def git_commit() -> str | None:
    """Commit of the checkout this package runs from, ``-dirty`` appended when files differ; None without git."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():  # an installed package inside somebody else's repository is not that commit
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
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
    affinity = getattr(os, "sched_getaffinity", None)
    found: dict[str, Any] = {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "memory_gb": _memory_gb(),
        "gpus": [],
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        found["cuda"] = torch.version.cuda
    return found


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None
