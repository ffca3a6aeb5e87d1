# SPDX-License-Identifier: Apache-2.0
"""Verdicts from a record: their fields, their sentences word by word, and where there is none."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clip_align.analysis.verdict import RULE, verdicts
from clip_align.metrics.correlation import srocc
from clip_align.record import items as record_items
from clip_align.record.record import History, ItemsHistory, Position, Record, read, read_items
from clip_align.record.schema import completed

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
    verdict = {"srocc": True, "within_level_srocc": True, "plcc": False}
    scores = [{"name": name, "has_verdict": has} for name, has in verdict.items()]
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
        assert line["evaluations"] == 26  # the early steps and the last one count as well
        assert (line["clusters"], line["unit"], line["left_out"], line["rule"]) == (24, "reference", 0, RULE)
        assert 0 < line["rise/low"] < line["rise"]
        assert 0 < line["fall/low"] < line["fall"] < line["fall/high"]
        assert line["start"] < line["end"] < line["fall/earlier/value"]
        assert line["rise/earlier"] == [0, 0]
        assert line["fall/later"][1] == line["compared/later"][1] == 21 * EVERY + 7
        assert 160 <= line["peak_from"] < line["peak_to"] <= 440
        assert line["naive_fall"] >= line["fall"] - 0.02
        assert line["naive_fall/label"].startswith("peak chosen and tested on the same evaluations")
        assert {s["direction"] for s in line["stretches"]} == {"rose", "fell"}
        json.dumps(line, allow_nan=False)
    assert pooled["sentence"].startswith("srocc: rose, then fell in this run. It rose by at least ")
    assert within["sentence"].startswith("within_level_srocc: rose, then fell in this run. ")
    values = {e["global_step"]: e[f"{KEY}/srocc"] for e in read(tmp_path).evaluations}
    assert pooled["start"] == pytest.approx(values[0], abs=1e-12)


def test_every_number_of_a_sentence_is_in_the_fields(tmp_path: Path) -> None:
    _write(tmp_path)
    for line in _verdicts(tmp_path):
        numbers = {abs(v) for v in _numbers(line)}
        text = line["sentence"].replace("(80 %)", "").replace("lag-1", "").replace(",", "")
        for found in re.findall(r"(?<![\w.])-?\d*\.?\d+", text.split(": ", 1)[1]):
            number, slack = float(found), 0.0 if "." not in found else 10.0 ** -(len(found.partition(".")[2]))
            assert any(abs(number - n) <= slack for n in numbers), (found, text)


def _numbers(line: Any) -> Iterator[float]:
    if isinstance(line, dict):
        line = list(line.values())
    if isinstance(line, list):
        for entry in line:
            yield from _numbers(entry)
    elif isinstance(line, (int, float)) and not isinstance(line, bool):
        yield float(line)


def test_averaged_weights_have_the_jitter_that_their_overlap_hides(tmp_path: Path) -> None:
    _write(tmp_path)
    history = read(tmp_path)
    items = read_items(tmp_path, KEY)
    found = {}
    for weights, carried in (("raw", 0.6), ("ema", 0.0), ("ema", 0.6)):
        history.benchmarks[KEY]["weights"] = weights
        for line in history.evaluations:
            line.update({"weights/ema/span_steps": 40.0, "weights/ema/carried_fraction": carried})
        found[weights, carried] = verdicts(history, lambda key: items)[0]["jitter"]
    assert found["raw", 0.6] == found["ema", 0.0]
    assert found["ema", 0.6] > 1.5 * found["ema", 0.0]


def test_an_undefined_evaluation_is_left_out(tmp_path: Path) -> None:
    _write(tmp_path, null_at=10 * EVERY)
    line = _verdicts(tmp_path)[0]
    assert (line["word"], line["evaluations"], line["left_out"]) == ("rose_then_fell", 25, 1)
    assert line["sentence"].endswith("Left out, without a value: 1 of 26 evaluations.")


@pytest.mark.parametrize(("null_at", "left_out"), [(10, 1), (11, 0)])
def test_among_thinned_items_only_their_own_steps_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, null_at: int, left_out: int
) -> None:
    monkeypatch.setattr(record_items, "MOST_REGULAR", 22)
    _write(tmp_path, evaluations=44, null_at=null_at * EVERY)
    line = _verdicts(tmp_path)[0]
    assert (line["evaluations"], line["left_out"]) == (26 - left_out, left_out)


NO_START = "the score has no value at step 0, which is the start"


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ([0], NO_START),
        ([21 * EVERY + 7], "the score has no value at the last evaluation, which is the end"),
        (range(2 * EVERY, 18 * EVERY), "10 of 26 evaluations have a value; the rule needs at least 12"),
    ],
    ids=["first file lost", "last file lost", "many files lost"],
)
def test_missing_items_are_gaps(tmp_path: Path, missing: Iterable[int], reason: str) -> None:
    _write(tmp_path)
    _lose_items(tmp_path, missing)
    for line in _verdicts(tmp_path):
        assert line["word"] is line["rise"] is line["fall/high"] is None
        assert line["reason"] == reason
        json.dumps(line, allow_nan=False)


def test_a_callback_that_was_added_later_has_no_start(tmp_path: Path) -> None:
    _write(tmp_path, evaluations=45)
    history = read(tmp_path)
    history.evaluations = [line for line in history.evaluations if line["global_step"] > 800]
    line = verdicts(history, lambda key: read_items(tmp_path, key))[0]
    assert line["reason"] == NO_START


def _lose_items(folder: Path, steps: Iterable[int]) -> None:
    for step in steps:
        (folder / "items" / KEY / record_items.step_file(step)).unlink(missing_ok=True)


def test_too_few_evaluations(tmp_path: Path) -> None:
    _write(tmp_path, evaluations=7)
    line = _verdicts(tmp_path)[0]
    assert line["sentence"] == "srocc: no verdict: 11 evaluations have a value; the rule needs at least 12."


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
    names = ("plcc", "srocc@layer_6", "srocc@layer_7", "within_level_srocc@layer_6", "srocc", "krocc_two_way")
    scores = [{"name": n, "has_verdict": True} for n in names]
    line = completed({"kind": "benchmark", "key": "human/mine", "options": {"every_n_steps": 1}, "scores": scores})
    values = {f"human/mine/{name}": 0.5 for name in names}
    history = History(benchmarks={"human/mine": line}, evaluations=[{"global_step": s, **values} for s in steps])
    found = {v["score"]: v for v in verdicts(history, lambda key: items)}
    assert found["human/mine/plcc"]["reason"] == "there is no rule for plcc"
    assert found["human/mine/srocc@layer_7"]["reason"] == "items missing"
    assert found["human/mine/within_level_srocc@layer_6"]["reason"] == "the items have no levels"
    assert found["human/mine/krocc_two_way"]["reason"] == "there is no rule for krocc"
    assert found["human/mine/srocc"]["reason"] == "0 of 25 evaluations have a value; the rule needs at least 12"
    assert found["human/mine/srocc@layer_6"]["word"] == "rose"
    assert found["human/mine/srocc@layer_6"]["unit"] == "item"


def test_several_benchmarks_are_distinguished_and_others_passed_over() -> None:
    scores = [{"name": "srocc", "has_verdict": True}]
    benchmarks = {k: {"key": k, "scores": scores} for k in ("human/a", "human/b")}
    benchmarks["texture/c"] = {"key": "texture/c", "scores": [{"name": "texture_bias", "has_verdict": False}]}
    lines = verdicts(History(benchmarks=benchmarks), lambda key: None)
    assert [v["sentence"] for v in lines] == [f"human/{k}/srocc: no verdict: items missing." for k in "ab"]
    assert verdicts(History(), lambda key: None) == []
    assert not any(isinstance(v, float) and math.isnan(v) for line in lines for v in line.values())


def test_clusters_are_those_that_the_score_declares(tmp_path: Path) -> None:
    _write(tmp_path)
    history, items = read(tmp_path), read_items(tmp_path, KEY)
    assert items is not None
    entry = history.benchmarks[KEY]["scores"][0]
    found = {}
    for name, clusters in (("srocc", ["type"]), ("srocc", ["nowhere"]), ("srocc_two_way", ["reference", "type"])):
        changed = {**entry, "name": name, "clusters": clusters}
        history.benchmarks[KEY]["scores"] = [changed]
        for line in history.evaluations:
            line[f"{KEY}/{name}"] = 0.5
        found[name, clusters[0]] = verdicts(history, lambda key: items)[0]
    assert (found["srocc", "type"]["clusters"], found["srocc", "type"]["unit"]) == (8, "type")
    assert found["srocc", "nowhere"]["reason"] == "the items lack the clusters that the score names"
    both = found["srocc_two_way", "reference"]
    assert (both["clusters"], both["unit"]) == (8, "reference x type")
    assert both["smallest_detectable_fall"] >= found["srocc", "type"]["smallest_detectable_fall"]


def test_the_verdicts_of_a_default_run_take_little_time() -> None:
    """A third of a second of processor time; the limit leaves room for slow machines."""
    generator = np.random.default_rng(0)
    axes = np.meshgrid(np.arange(24), np.arange(16), np.arange(5), indexing="ij")
    reference, _, level = (v.ravel() for v in axes)
    human, steps = generator.normal(size=1920), list(range(0, 1600, 40))
    model = human * np.linspace(0.5, 1, 40)[:, None] + generator.normal(size=(40, 1920))
    items = ItemsHistory(
        [str(i) for i in range(1920)], human, {"reference": reference}, {"level": level}, steps, {"d": model}
    )
    scores = [{"name": name, "has_verdict": True} for name in ("srocc", "within_level_srocc")]
    line = completed({"kind": "benchmark", "key": KEY, "scores": scores})
    values = {f"{KEY}/{score['name']}": 0.5 for score in scores}
    history = History(benchmarks={KEY: line}, evaluations=[{"global_step": s, **values} for s in steps])
    began = time.process_time()
    assert [found["word"] for found in verdicts(history, lambda key: items)] == ["rose", "rose"]
    assert time.process_time() - began < 4.0
