# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from clip_align.series import claims
from clip_align.series.claims import claimed


def test_a_claim_survives_another_process_that_removes_the_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open
    removed: list[Path] = []

    def other_process_first(path: Any, *arguments: Any) -> int:
        if not removed:
            removed.append(Path(path).parent)
            Path(path).parent.rmdir()
        return opened(path, *arguments)

    monkeypatch.setattr(claims.os, "open", other_process_first)
    with claimed(tmp_path, 4) as got:
        assert got
    assert removed == [tmp_path / ".claims"]
    assert not removed[0].exists()
