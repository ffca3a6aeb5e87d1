# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from clip_align.runs.provenance import git_commit, provenance


def test_without_git_the_commit_is_null(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_commit() is None


def test_keys_of_trackers_never_reach_the_provenance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "hush")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert provenance([], 0)["wandb_environment"] == {"WANDB_MODE": "offline"}
