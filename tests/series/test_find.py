# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clip_align.series.find import Foreign, found_subject


@pytest.mark.parametrize("typed", ["exp", "exp/checkpoints", "exp/checkpoints/epoch_*.pt", "e*p/checkpoints/*.pt"])
def test_a_watched_series_is_the_same_before_and_after_its_first_checkpoint(typed: str, tmp_path: Path) -> None:
    def subject() -> tuple[str, str]:
        words = [str(tmp_path / typed)]
        found = found_subject(words, tmp_path / "runs", None, torch.device("cpu"), True, Foreign())
        return found.label, found.identity

    (tmp_path / "exp" / "checkpoints").mkdir(parents=True)
    before = subject()
    (tmp_path / "exp" / "checkpoints" / "epoch_1.pt").write_bytes(b"half")
    assert before == subject() == ("exp", str(tmp_path / "exp"))
