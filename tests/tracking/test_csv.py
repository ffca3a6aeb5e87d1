# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
from pathlib import Path
from types import ModuleType
from typing import Any

from clip_align.tracking.csv import CsvMirror


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def line(step: int, **values: Any) -> dict[str, Any]:
    where = {"global_step": step, "samples_seen": step * 128, "epoch": 0, "wall_seconds": 1.0}
    return {"kind": "evaluation", **where, **values}


def test_a_run_as_two_tables(tmp_path: Path, synthetic: ModuleType) -> None:
    mirror = CsvMirror(tmp_path)
    lines = list(synthetic.lines(120))
    for one in lines:
        mirror.line(one)
    mirror.close("done")
    evaluations, train = rows(tmp_path / "evaluations.csv"), rows(tmp_path / "train.csv")
    recorded = [x for x in lines if x["kind"] == "evaluation"]
    assert [int(r["global_step"]) for r in evaluations] == [0, 2, 8, 32, 60, 120]
    key = "human/tid2013_remade/srocc"
    assert [float(r[key]) for r in evaluations] == [x[key] for x in recorded]
    assert evaluations[1]["texture/world_cue_conflict/shape_hits"] == ""  # not due then
    assert evaluations[0]["texture/world_cue_conflict/texture_bias"] == ""
    assert "below .25" in evaluations[0]["texture/world_cue_conflict/texture_bias/reason"]
    assert [int(r["global_step"]) for r in train] == list(range(10, 121, 10))


def test_every_row_is_on_the_disk_at_once(tmp_path: Path) -> None:
    mirror = CsvMirror(tmp_path)
    mirror.line(line(0, a=1))
    assert [r["a"] for r in rows(tmp_path / "evaluations.csv")] == ["1"]


def test_new_columns_join_old_rows(tmp_path: Path) -> None:
    mirror = CsvMirror(tmp_path)
    mirror.line(line(0, a=1))
    mirror.line(line(10, a=2, b=3))
    mirror.line(line(20, a=4))
    assert [(r["a"], r["b"]) for r in rows(tmp_path / "evaluations.csv")] == [("1", ""), ("2", "3"), ("4", "")]


def test_a_resumed_run_goes_on_and_repeated_steps_replace_what_followed(tmp_path: Path) -> None:
    first = CsvMirror(tmp_path)
    for step in (0, 10, 20, 30):
        first.line(line(step, a=step))
    again = CsvMirror(tmp_path)
    again.rewind(10, 1280)
    assert [r["a"] for r in rows(tmp_path / "evaluations.csv")] == ["0", "10"]
    again.line(line(20, a=-20))
    again.line(line(40, a=40))
    assert [r["a"] for r in rows(tmp_path / "evaluations.csv")] == ["0", "10", "-20", "40"]


def test_a_repeated_step_replaces_its_row(tmp_path: Path) -> None:
    mirror = CsvMirror(tmp_path)
    for step, a in ((0, 1), (10, 2), (10, 3)):
        mirror.line(line(step, a=a))
    assert [r["a"] for r in rows(tmp_path / "evaluations.csv")] == ["1", "3"]


def test_a_torn_last_row_is_left_out(tmp_path: Path) -> None:
    CsvMirror(tmp_path).line(line(0, a=1))
    with (tmp_path / "evaluations.csv").open("a") as file:
        file.write("1")
    again = CsvMirror(tmp_path)
    again.line(line(10, a=2))
    assert [r["global_step"] for r in rows(tmp_path / "evaluations.csv")] == ["0", "10"]
