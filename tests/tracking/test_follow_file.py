# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

from clip_align.tracking.follow_file import Tail


def test_whole_lines_once_and_damaged_ones_never(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tail = Tail(path)
    assert list(tail.lines()) == []
    path.write_text('{"global_step": 1}\n{"glob')
    assert [x["global_step"] for x in tail.lines()] == [1]
    assert list(tail.lines()) == []
    with path.open("a") as file:
        file.write('al_step": 2}\nnonsense\n[1]\n{"other": 1}\n{"global_step": 3}\n')
    assert [x["global_step"] for x in tail.lines()] == [2, 3]
