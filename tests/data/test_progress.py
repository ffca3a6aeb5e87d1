# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from clip_align.data import progress
from clip_align.data.progress import Progress, followed, loaded


def test_the_line_has_what_is_known() -> None:
    assert str(Progress("indexing shards", 1, 1200)) == "indexing shards: 1 of 1,200"
    assert str(Progress("world", 5000, 20000, "images rendered", 12.4)) == (
        "world: 5,000 of 20,000 images rendered, about 12 s left"
    )
    assert str(Progress("world", 9, 9, "images rendered", 0.0)) == "world: 9 of 9 images rendered"


def test_a_report_comes_back_from_another_process_and_any_other_line_as_it_is() -> None:
    report = Progress("a: 1 of 3", 2, 3, "made", 0.5)
    assert loaded(report.dumped() + "\n") == report
    for line in ("a: 2 of 3 made", "3", "{}", '{"what": "a"}', "null", ""):
        assert loaded(f"{line}\n") == line


def test_items_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS", -1.0)
    shown: list[str | Progress] = []
    assert list(followed("ab", "letters", shown.append)) == ["a", "b"]
    assert shown == [Progress("letters", 1, 2), Progress("letters", 2, 2)]
