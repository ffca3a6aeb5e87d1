# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

from clip_align.tracking.follow_file import Tail


def test_whole_lines_once_and_damaged_ones_never(tmp_path: Path, synthetic: ModuleType) -> None:
    path = tmp_path / "metrics.jsonl"
    tail = Tail(path)
    assert list(tail.lines()) == []
    one, two, three = (json.dumps({"kind": "train", **synthetic.where(step)}) for step in (1, 2, 3))
    path.write_text(f"{one}\n{two[:9]}")
    assert [x["global_step"] for x in tail.lines()] == [1]
    assert list(tail.lines()) == []
    with path.open("a") as file:
        file.write(f'{two[9:]}\nnonsense\n[1]\n{{"other": 1}}\n{three}\n')
    assert [x["global_step"] for x in tail.lines()] == [2, 3]
