# SPDX-License-Identifier: Apache-2.0
"""The record: whole lines, damaged lines, mirrors that fail, items and their thinning."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clip_align.errors import RunError
from clip_align.record import items as record_items
from clip_align.record import record
from clip_align.record.record import Mirror, Position, Record
from clip_align.record.schema import completed_score

KEY = "human/tid2013_remade"


def at(step: int) -> Position:
    return Position(step, step * 128, 0, step / 10)


def write(run: Record, step: int, *, every: int = 1, n: int = 3) -> None:
    names = [f"I{i:02d}" for i in range(n)]
    run.write_items(
        KEY,
        step,
        ids=names,
        clusters={"reference": np.array(names), "type": np.arange(n)},
        conditions={"level": np.arange(n) / 2},
        human=np.linspace(0, 1, n),
        model={"euclidean": np.full(n, float(step)), "choice": np.full(n, -1, np.int8)},
        every=every,
    )


def test_lines_are_flat_json_with_position_and_null_for_what_is_not_finite(tmp_path: Path) -> None:
    run = Record(tmp_path)
    run.append("train", at(3), {"train/loss": np.float32(0.5), "train/grad_norm": float("nan"), "n": np.int64(4)})
    text = (tmp_path / "metrics.jsonl").read_text()
    assert text.endswith("\n")  # flushed before close
    assert json.loads(text) == {
        "kind": "train", "global_step": 3, "samples_seen": 384, "epoch": 0, "wall_seconds": 0.3,
        "train/loss": 0.5, "train/grad_norm": None, "n": 4,
    }  # fmt: skip


def test_nested_benchmark_fields_survive(tmp_path: Path) -> None:
    run = Record(tmp_path)
    score = {"name": "srocc", "chance": float("nan"), "axis": (0.0, 1.0), "baselines": {"level": np.float64(0.744)}}
    run.append("benchmark", at(0), {"key": KEY, "scores": [score]})
    read = record.read(tmp_path).benchmarks[KEY]["scores"][0]
    assert (read["chance"], read["axis"], read["baselines"]) == (None, [0.0, 1.0], {"level": 0.744})


@pytest.mark.parametrize("damage", [b'{"kind": "train", "glo', b"\xff\xfe", b"[1]", b'{"kind": "train"}', b"null"])
def test_a_damaged_line_costs_that_line_only(tmp_path: Path, damage: bytes) -> None:
    run = Record(tmp_path)
    run.append("train", at(1), {"train/loss": 1.0})
    run.close("failed")
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(damage)  # torn: no newline behind it
    again = Record(tmp_path)
    again.append("train", at(2), {"train/loss": 2.0})
    history = record.read(tmp_path)
    assert [line["train/loss"] for line in history.train] == [1.0, 2.0]
    assert history.damaged_lines == 1


HERE = {"global_step": 1, "samples_seen": 128, "epoch": 0, "wall_seconds": 1.5}
BENCHMARK = {"kind": "benchmark", **HERE, "key": KEY, "scores": [{"name": "srocc"}]}


@pytest.mark.parametrize(
    "line",
    [
        *({**HERE, "kind": "train", key: value} for key in HERE for value in (None, "1", True, float("nan"), 1e400)),
        {"kind": 1, **HERE},
        {**BENCHMARK, "key": None},
        {**BENCHMARK, "scores": {"srocc": {}}},
        {**BENCHMARK, "scores": [{"label": "SROCC"}]},
        {**BENCHMARK, "scores": [{"name": "srocc", "chance": "none"}]},
        {**BENCHMARK, "scores": [{"name": "srocc", "axis": [0]}]},
        {**BENCHMARK, "scores": [{"name": "srocc", "baselines": {"level": "high"}}]},
        {**BENCHMARK, "options": []},
        {"kind": "event", **HERE, "message": "of no kind"},
        {"kind": "event", **HERE, "event": "started", "regular_every": "often"},
        {**BENCHMARK, "scores": [{"name": "srocc", "has_verdict": "yes"}]},
        {"kind": "evaluation", **HERE, "weights/ema/span_steps": "all"},
        {"kind": "verdict", **HERE, "peak_from": "early"},
        {"kind": "verdict", **HERE, "fall/low": "much"},
        {"kind": "verdict", **HERE, "fall/earlier": [0]},
        {"kind": "verdict", **HERE, "stretches": [{"direction": "fell"}]},
    ],
)
def test_a_line_of_wrong_types_is_damaged(tmp_path: Path, line: dict[str, Any]) -> None:
    good = [{"kind": "train", **HERE, "train/loss": 1.0}, BENCHMARK]
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(of)}\n" for of in (*good, line)))
    history = record.read(tmp_path)
    assert (history.train, list(history.benchmarks)) == ([good[0]], [KEY])
    assert (history.events, history.verdicts, history.damaged_lines) == ([], [], 1)


def test_of_an_evaluation_only_the_values_that_are_no_numbers_are_lost(tmp_path: Path) -> None:
    fine = {"kind": "evaluation", **HERE, "a/b/srocc": 0.5, "a/b/plcc": None, "a/b/plcc/reason": "all equal"}
    bad = {"a/b/krocc": "high", "a/b/srocc/low": [0.1], "a/b/srocc/high": float("nan"), "a/b/n": True}
    (tmp_path / "metrics.jsonl").write_text(json.dumps({**fine, **bad}) + "\n")
    assert record.read(tmp_path) == record.History(evaluations=[fine])


def test_no_record_reads_as_empty(tmp_path: Path) -> None:
    assert record.read(tmp_path) == record.History()
    assert record.read_items(tmp_path, KEY) is None


def test_of_a_repeated_step_the_last_line_counts_and_resumed_takes_later_steps_back(tmp_path: Path) -> None:
    run = Record(tmp_path)
    run.append("event", at(0), {"event": "started", "regular_every": 10})
    for step in (0, 10, 20, 23):
        run.append("evaluation", at(step), {f"{KEY}/srocc": step / 100})
        write(run, step)
    run.append("event", at(10), {"event": "resumed", "message": "from step 10"})
    run.append("evaluation", at(20), {f"{KEY}/srocc": 0.9})
    history = record.read(tmp_path)
    assert [(e["global_step"], e[f"{KEY}/srocc"]) for e in history.evaluations] == [(0, 0.0), (10, 0.1), (20, 0.9)]
    assert record_items.steps_on_disk(tmp_path, KEY) == [0, 10]


class Loud(Mirror):
    """A tracker that fails on the first evaluation, and again when it is closed."""

    def __init__(self) -> None:
        self.seen: list[Mapping[str, Any]] = []

    def line(self, line: Mapping[str, Any]) -> None:
        self.seen.append(line)
        if line["kind"] == "evaluation":
            raise ConnectionResetError("the other\nend is gone")

    def close(self, status: str) -> None:
        raise OSError("closed")


class Calm(Mirror):
    def __init__(self) -> None:
        self.seen: list[Mapping[str, Any]] = []

    def line(self, line: Mapping[str, Any]) -> None:
        self.seen.append(line)

    def close(self, status: str) -> None:
        self.seen.append({"status": status})


def test_a_failing_mirror_is_dropped_with_one_warning_and_the_others_see_everything(tmp_path: Path) -> None:
    loud, calm = Loud(), Calm()
    run = Record(tmp_path, [loud, calm])
    for step in (0, 10):
        run.append("evaluation", at(step), {f"{KEY}/srocc": 0.5})
    run.close("done")
    warnings = [e for e in record.read(tmp_path).events if e["event"] == "warning"]
    assert [w["message"] for w in warnings] == [
        "Loud failed and is off for the rest of the run (the other end is gone); recording continues"
    ]
    assert len(loud.seen) == 1
    assert [line.get("kind") for line in calm.seen] == ["event", "evaluation", "evaluation", None]


def test_a_mirror_that_fails_when_closed_is_named_in_the_record(tmp_path: Path) -> None:
    Record(tmp_path, [Loud()]).close("done")
    assert "closed" in record.read(tmp_path).events[0]["message"]


def test_a_full_disk_ends_the_run_with_one_line(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    (tmp_path / "metrics.jsonl").symlink_to(full)
    with pytest.raises(RunError, match="No space left") as caught:
        Record(tmp_path).append("train", at(1), {"train/loss": 1.0})
    assert len(caught.value.lines) == 1


def test_items_come_back_as_they_were_given(tmp_path: Path) -> None:
    run = Record(tmp_path)
    write(run, 0)
    write(run, 10)
    items = record.read_items(tmp_path, KEY)
    assert items is not None
    assert items.ids == ["I00", "I01", "I02"]
    assert items.steps == [0, 10]
    np.testing.assert_array_equal(items.human, [0, 0.5, 1])
    np.testing.assert_array_equal(items.clusters["reference"], ["I00", "I01", "I02"])
    np.testing.assert_array_equal(items.clusters["type"], [0, 1, 2])
    np.testing.assert_array_equal(items.conditions["level"], [0, 0.5, 1])
    np.testing.assert_array_equal(items.model["euclidean"], [[0, 0, 0], [10, 10, 10]])
    assert items.model["euclidean"].dtype == np.float64
    assert items.model["choice"].dtype == np.int8


def test_human_values_keep_every_digit(tmp_path: Path) -> None:
    human = np.random.default_rng(0).random(50)
    ids = [str(i) for i in range(50)]
    Record(tmp_path).write_items(KEY, 0, ids, {"item": ids}, {}, human, {"value": human}, 1)
    items = record.read_items(tmp_path, KEY)
    assert items is not None
    np.testing.assert_array_equal(items.human, human)
    np.testing.assert_array_equal(items.model["value"][0], human)


def test_a_damaged_items_file_costs_that_step(tmp_path: Path) -> None:
    run = Record(tmp_path)
    write(run, 0)
    write(run, 10)
    (tmp_path / "items" / KEY / record.step_file(0)).write_bytes(b"PK\x03\x04")
    items = record.read_items(tmp_path, KEY)
    assert items is not None
    assert items.steps == [10]


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("without", [(), (5, 10)])
def test_items_are_thinned_evenly_beyond_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resumed: bool, without: tuple[int, ...]
) -> None:
    """Also where a run was resumed, and where early events had no items because the score was undefined."""
    monkeypatch.setattr(record_items, "MOST_REGULAR", 20)
    run = Record(tmp_path)
    write(run, 3, every=5)
    for step in range(0, 5 * 100, 5):
        if resumed and step == 300:
            run.close("terminated")
            run = Record(tmp_path)
        if step not in without:
            write(run, step, every=5)
        kept = [s for s in record_items.steps_on_disk(tmp_path, KEY) if s % 5 == 0]
        assert len(kept) <= 20
    assert record_items.steps_on_disk(tmp_path, KEY) == [0, 3, *range(40, 500, 40)]  # early events are few and stay


def test_five_hundred_regular_events_are_kept() -> None:
    assert [record_items.items_spacing(60, 60 * n) for n in (0, 499, 500, 999, 1000)] == [60, 60, 120, 120, 240]


def test_curves_are_drawn_once_a_score_was_defined_often_enough() -> None:
    name = "texture/world_cue_conflict/texture_bias"
    score = completed_score({"name": "texture_bias", "drawn_after": 2})
    values = [None, 0.4, None, 0.5, 0.6, 0.7]
    lines: list[dict[str, Any]] = [{name: v, f"{name}/low": v, f"{name}/high": v} for v in values]
    lines[0][f"{name}/reason"] = "nothing above chance"
    lines.insert(4, {"human/tid2013_remade/srocc": 0.5})  # an event without this benchmark is passed over
    points = record.drawn(lines, "texture/world_cue_conflict", score)  # type: ignore[arg-type]
    assert [p.value for p in points] == [None, None, None, None, 0.6, 0.7]
    assert points[0].reason == "nothing above chance"
    assert points[1].reason == "defined at 1 evaluation running; drawn from 2 on"
    assert points[4].reason is None


@pytest.mark.parametrize("variant", ["", "@layer_6"])
def test_a_score_may_wait_for_the_evaluations_of_another(variant: str) -> None:
    """The corrected bias where the gate was open before, though its own interval was still too wide then."""
    of, name = f"texture/x/bias{variant}", f"texture/x/corrected{variant}"
    score = completed_score({"name": f"corrected{variant}", "drawn_after": 2, "drawn_after_of": "bias"})
    values = [(None, None), (0.4, 0.5), (None, None), (0.4, None), (0.4, 0.5), (0.4, None), (0.4, 0.5)]
    lines: list[dict[str, Any]] = [{of: bias, name: corrected} for bias, corrected in values]
    points = record.drawn(lines, "texture/x", score)  # type: ignore[arg-type]
    assert [p.value for p in points] == [None, None, None, None, 0.5, None, 0.5]
    assert points[1].reason == "bias defined at 1 evaluation running; drawn from 2 on"
    (lone,) = record.drawn(lines[1:2], "texture/x", score)  # type: ignore[arg-type]
    assert (lone.value, lone.reason) == (0.5, "one evaluation")


def test_a_lone_evaluation_is_drawn_and_marked() -> None:
    score = completed_score({"name": "bias", "drawn_after": 2})
    (point,) = record.drawn([{"texture/x/bias": 0.4}], "texture/x", score)  # type: ignore[list-item]
    assert (point.value, point.reason) == (0.4, "one evaluation")


def test_a_description_that_the_record_has_is_not_repeated(tmp_path: Path) -> None:
    about = {"key": "a/b", "n": 3, "scores": [{"name": "x", "chance": None}], "options": {"layers": ["all"]}}
    Record(tmp_path).append("benchmark", Position(0, 0, 0, 0.0), about)
    resumed = Record(tmp_path, (), record.read(tmp_path).benchmarks)
    resumed.append("benchmark", Position(5, 50, 0, 9.0), about)  # as the first event of a resumed run has it
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1
    resumed.append("benchmark", Position(5, 50, 0, 9.0), {**about, "n": 4})
    assert [record.read(tmp_path).benchmarks["a/b"][k] for k in ("n", "global_step")] == [4, 5]
