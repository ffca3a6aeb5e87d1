# SPDX-License-Identifier: Apache-2.0
"""Verdicts from a record: their fields, their sentences word by word, and where there is none."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clip_align.analysis.verdict import verdicts
from clip_align.metrics.correlation import srocc
from clip_align.record import items as record_items
from clip_align.record.record import History, ItemsHistory, Position, Record, read, read_items

KEY = "human/tid2013_remade"
EVERY = 40


def _write(folder: Path, evaluations: int = 22, every: int = EVERY, null_at: int | None = None, **options: Any) -> None:
    """A record of a run that rises for a third and then falls, with early steps and a last one between the others."""
    generator = np.random.default_rng(0)
    reference, kind, level = (v.ravel() for v in np.meshgrid(np.arange(24), np.arange(8), np.arange(5), indexing="ij"))
    human = -level + generator.normal(size=len(level))
    own = 1.5 * generator.normal(size=len(level))
    record = Record(folder)
    start = Position(0, 0, 0, 0.0)
    record.append("event", start, {"event": "started", "regular_every": EVERY})
    scores = [{"name": n, "flat_margin": m} for n, m in (("srocc", 0.03), ("within_level_srocc", 0.06), ("plcc", None))]
    record.append("benchmark", start, {"key": KEY, "options": options, "scores": scores})
    steps = sorted({2, 8, 32, *range(0, evaluations * every, every), (evaluations - 1) * every + 7})
    for step in steps:
        t = step / (evaluations * every)
        agreement = 0.3 + 1.2 * min(1, 3 * t) - 1.0 * min(1, max(0, (t - 0.4) / 0.4))
        model = {"cosine": agreement * human + own + 0.1 * generator.normal(size=len(human)), "euclidean": 0 * human}
        value = None if step == null_at else srocc(model["cosine"], human)
        where = Position(step, step, 0, 0.0)
        if value is not None:
            record.write_items(
                KEY,
                step,
                [str(i) for i in range(len(human))],
                {"reference": reference, "type": kind},
                {"level": level},
                human,
                model,
                every,
            )
        fields = {f"{KEY}/{n}": value for n in ("srocc", "within_level_srocc", "plcc")}
        if value is None:
            fields |= {f"{KEY}/{n}/reason": "all equal" for n in ("srocc", "within_level_srocc", "plcc")}
        record.append("evaluation", where, fields)
    record.close("done")


def _verdicts(folder: Path) -> list[dict[str, Any]]:
    return verdicts(read(folder), lambda key: read_items(folder, key))


def test_a_run_that_rose_and_fell(tmp_path: Path) -> None:
    _write(tmp_path)
    pooled, within = _verdicts(tmp_path)
    assert (pooled["score"], within["score"]) == (f"{KEY}/srocc", f"{KEY}/within_level_srocc")
    for line in (pooled, within):
        assert line["word"] == "rose_then_fell"
        assert line["evaluations"] == 22  # neither the early steps nor the last one
        assert line["unit"] == "reference"
        assert line["rise/low"] < line["rise"] < line["rise/high"]
        assert line["fall/low"] < line["fall"] < line["fall/high"]
        assert line["start"] < line["end"] < line["peak"]
        assert 160 <= line["peak_from"] < line["peak_to"] <= 440
        assert line["naive_fall"] >= line["fall"] - 0.02
        assert line["naive_fall/label"].startswith("peak chosen and tested on the same evaluations")
        assert "Then it fell in this run: " in line["sentence"]
        json.dumps(line, allow_nan=False)
    assert pooled["sentence"].startswith("srocc rose from ")
    assert within["sentence"].startswith("within_level_srocc rose from ")
    assert (pooled["flat_margin"], within["flat_margin"]) == (0.03, 0.06)
    values = {e["global_step"]: e[f"{KEY}/srocc"] for e in read(tmp_path).evaluations}
    assert pooled["start"] == pytest.approx((values[0] + values[EVERY]) / 2, abs=1e-12)


def test_a_benchmarks_own_interval_decides_what_is_regular(tmp_path: Path) -> None:
    _write(tmp_path, every=60, every_n_steps=60)
    assert {line["evaluations"] for line in _verdicts(tmp_path)} == {22}


def test_a_record_without_an_interval_gives_no_verdict(tmp_path: Path) -> None:
    """Guessed from the spacing of the items it could be that of the early steps, or of a thinned record."""
    _write(tmp_path)
    history = read(tmp_path)
    history.events.clear()
    line = verdicts(history, lambda key: read_items(tmp_path, key))[0]
    assert line["reason"] == "the record does not name the interval of the regular evaluations"


def test_an_undefined_evaluation_is_left_out(tmp_path: Path) -> None:
    _write(tmp_path, null_at=10 * EVERY)
    line = _verdicts(tmp_path)[0]
    assert (line["word"], line["evaluations"], line["left_out"]) == ("rose_then_fell", 21, 1)
    assert line["sentence"].endswith("Left out, without a value: 1 of 22 evaluations.")


@pytest.mark.parametrize(("null_at", "left_out"), [(10, 1), (11, 0)])
def test_among_thinned_items_only_their_own_steps_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, null_at: int, left_out: int
) -> None:
    monkeypatch.setattr(record_items, "MOST_REGULAR", 22)
    _write(tmp_path, evaluations=44, null_at=null_at * EVERY)
    line = _verdicts(tmp_path)[0]
    assert (line["evaluations"], line["left_out"]) == (22 - left_out, left_out)


def test_an_undefined_start_gives_no_verdict(tmp_path: Path) -> None:
    _write(tmp_path, null_at=0)
    line = _verdicts(tmp_path)[0]
    assert line["word"] is None
    assert line["rise"] is None
    assert line["reason"] == "the score has no value at one of the first two regular evaluations, which are the start"


@pytest.mark.parametrize(
    ("evaluations", "missing", "reason"),
    [
        (25, [0], "the score has no value at one of the first two regular evaluations, which are the start"),
        (45, range(800), "the score has no value at one of the first two regular evaluations, which are the start"),
        (25, [23 * EVERY], "the score has no value at one of the last 5 regular evaluations, which are the end"),
        (25, range(2 * EVERY, 12 * EVERY), "15 of 25 regular evaluations have a value; the rule needs 20"),
    ],
    ids=["first file lost", "callback added at step 800", "late file lost", "many files lost"],
)
def test_missing_items_are_gaps(tmp_path: Path, evaluations: int, missing: Iterable[int], reason: str) -> None:
    _write(tmp_path, evaluations=evaluations)
    _lose_items(tmp_path, missing)
    for line in _verdicts(tmp_path):
        assert line["word"] is None
        assert line["reason"] == reason


def test_missing_items_are_counted(tmp_path: Path) -> None:
    _write(tmp_path)
    _lose_items(tmp_path, [10 * EVERY])
    line = _verdicts(tmp_path)[0]
    assert (line["word"], line["evaluations"], line["left_out"]) == ("rose_then_fell", 21, 1)
    assert line["sentence"].endswith("Left out, without a value: 1 of 22 evaluations.")


def _lose_items(folder: Path, steps: Iterable[int]) -> None:
    for step in steps:
        (folder / "items" / KEY / record_items.step_file(step)).unlink(missing_ok=True)


def test_too_few_evaluations(tmp_path: Path) -> None:
    _write(tmp_path, evaluations=12)
    line = _verdicts(tmp_path)[0]
    assert line["sentence"] == "srocc: no verdict: 12 regular evaluations; the rule needs at least 20."


def test_no_items(tmp_path: Path) -> None:
    _write(tmp_path)
    history = read(tmp_path)
    assert {v["sentence"].split(": ", 1)[1] for v in verdicts(history, lambda key: None)} == {
        "no verdict: items missing."
    }
    for line in reversed(history.evaluations):
        assert verdicts(history, lambda key: None)[0]["reason"] == "items missing"  # and not why some had no value
        for name in ("srocc", "within_level_srocc"):
            line[f"{KEY}/{name}"], line[f"{KEY}/{name}/reason"] = None, "unknown words"
    assert verdicts(history, lambda key: None)[0]["reason"] == "unknown words"


def test_scores_without_the_rule_and_layers() -> None:
    generator = np.random.default_rng(0)
    human, steps = generator.normal(size=80), list(range(25))
    model = human * np.linspace(0, 2, 25)[:, None] + generator.normal(size=80)
    items = ItemsHistory(
        [str(i) for i in range(80)], human, {}, {}, steps, {"cosine": np.zeros((25, 80)), "cosine@layer_6": model}
    )
    names = ("plcc", "srocc@layer_6", "srocc@layer_7", "within_level_srocc@layer_6", "srocc")
    scores = [{"name": n, "flat_margin": 0.03} for n in names]
    line = {"key": "human/mine", "options": {"every_n_steps": 1}, "scores": scores}
    history = History(benchmarks={"human/mine": line}, evaluations=[{"global_step": step} for step in steps])
    found = {v["score"]: v for v in verdicts(history, lambda key: items)}
    assert found["human/mine/plcc"]["reason"] == "there is no rule for plcc"
    assert found["human/mine/srocc@layer_7"]["reason"] == "items missing"
    assert found["human/mine/within_level_srocc@layer_6"]["reason"] == "the items have no levels"
    assert found["human/mine/srocc"]["reason"] == "0 of 25 regular evaluations have a value; the rule needs 20"
    assert found["human/mine/srocc@layer_6"]["word"] == "rise"
    assert found["human/mine/srocc@layer_6"]["unit"] == "item"


def test_several_benchmarks_are_distinguished_and_others_passed_over() -> None:
    scores = [{"name": "srocc", "flat_margin": 0.03}]
    benchmarks = {k: {"key": k, "scores": scores} for k in ("human/a", "human/b")}
    benchmarks["texture/c"] = {"key": "texture/c", "scores": [{"name": "texture_bias", "flat_margin": None}]}
    lines = verdicts(History(benchmarks=benchmarks), lambda key: None)
    assert [v["sentence"] for v in lines] == [f"human/{k}/srocc: no verdict: items missing." for k in "ab"]
    assert verdicts(History(), lambda key: None) == []
    assert not any(isinstance(v, float) and math.isnan(v) for line in lines for v in line.values())
