# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from clip_align.runs.provenance import git_commit, provenance


def test_without_git_the_commit_is_null(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_commit() is None


def test_the_commit_is_the_checkouts() -> None:
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        pytest.skip("not a git checkout")
    head = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert (git_commit() or "").removesuffix("-dirty") == head.stdout.strip()


def test_keys_of_trackers_never_reach_the_provenance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "hush")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert provenance([], 0)["wandb_environment"] == {"WANDB_MODE": "offline"}
