# SPDX-License-Identifier: Apache-2.0
"""The schema of the record against what the code writes, what docs/record.md says, and what older releases wrote."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clip_align.analysis.course import Course
from clip_align.analysis.verdict import verdict_fields
from clip_align.evaluation.score import Score
from clip_align.record import schema
from clip_align.record.lines import as_read
from clip_align.record.record import METRICS, History, Mirror, deliver, read
from clip_align.record.schema import SCORE_DEFAULTS, completed, completed_score, measured

ROOT = Path(__file__).resolve().parents[2]
FORMER = ROOT / "tests" / "report" / "record_0_1.jsonl"  # of a run of 200 steps by release 0.1, some lines left out
HERE = {"global_step": 1, "samples_seen": 128, "epoch": 0, "wall_seconds": 1.5}
LINE = set(schema.Line.__annotations__)
KINDS = {
    "benchmark": schema.BenchmarkLine,
    "train": schema.TrainLine,
    "evaluation": schema.EvaluationLine,
    "verdict": schema.VerdictLine,
    "event": schema.EventLine,
}


def own(kind: str) -> dict[str, Any]:
    """Keys that only lines of a kind have, with their types as written."""
    return {k: v for k, v in KINDS[kind].__annotations__.items() if k not in LINE}


def tables() -> Iterator[tuple[str, dict[str, str]]]:
    """(heading, type by key) of every table of the page."""
    heading = ""
    found: dict[str, str] = {}
    for line in (ROOT / "docs" / "record.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## ") or line.startswith("Each score"):
            if found:
                yield heading, found
            heading, found = line.removeprefix("## ").strip("`:"), {}
        if row := re.fullmatch(r"\| `([^`]+)` \| (.+?) \| (.+) \|", line):
            assert row[3].strip()  # a meaning, with its unit
            found[row[1]] = row[2]
    if found:
        yield heading, found


def test_the_page_describes_every_key_of_every_kind() -> None:
    described = dict(tables())
    assert set(described["Every line"]) == LINE
    assert set(described["Each score"]) == set(schema.ScoreEntry.__annotations__)
    for kind in KINDS:
        assert set(described[kind]) == set(own(kind)), kind


WORDS = {
    "text": r"str|Kind|Role",
    "integer": r"int",
    "number": r"float",
    "boolean": r"bool",
    "object": r"dict\[.*\]",
    "list": r"list\[.*\]",
    "list of two numbers": r"list\[float\]",
    "list of two integers": r"list\[int\]",
    "list of lists": r"list\[list\[int\]\]",
    "list of objects": r"list\[.*Entry\]",
    "list of texts": r"list\[str\]",
}


def test_the_page_has_the_types_of_the_code() -> None:
    types = {"Every line": schema.Line.__annotations__, "Each score": schema.ScoreEntry.__annotations__}
    types |= {kind: own(kind) for kind in KINDS}
    for heading, keys in tables():
        for key, words in keys.items():
            written = getattr(types[heading][key], "__forward_arg__", str(types[heading][key]))
            plain = re.sub(r"NotRequired\[(.*)\]", r"\1", re.sub(r"ForwardRef\('(.*?)'.*", r"\1", written))
            null = " | None" if words.endswith(" or null") else ""
            plain = re.sub(r"<class '(\w+)'>", r"\1", plain.replace("typing.", ""))
            expected = f"({WORDS[words.removesuffix(' or null')]}){re.escape(null)}"
            assert re.fullmatch(expected, plain), (key, words, plain)


def test_every_field_of_a_score_but_its_function_is_in_the_schema() -> None:
    written = set(Score.__dataclass_fields__) - {"compute"}
    assert written == set(schema.ScoreEntry.__annotations__)
    assert set(SCORE_DEFAULTS) == written - {"name"}


def test_a_verdict_has_the_keys_of_the_schema() -> None:
    written = {"score", "unit", *verdict_fields(Course(None, "too few evaluations"), "srocc")}
    assert set(own("verdict")) - written == {"rise/high", "peak", "flat_margin", "dropped_resamples"}  # of release 0.1
    assert written <= set(own("verdict"))


def written_keys() -> Iterator[tuple[str, set[str]]]:
    """(value of ``event``, all keys) of every dictionary that the code writes; ``event`` is empty for measurements."""
    for path in sorted((ROOT / "clip_align").rglob("*.py")):
        if path.parent.name == "record":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Dict):
                pairs = {k.value: v for k, v in zip(node.keys, node.values, strict=True) if isinstance(k, ast.Constant)}
                keys = {k for k in pairs if isinstance(k, str)}
                if "event" in keys:
                    for value in ast.walk(pairs["event"]):
                        if isinstance(value, ast.Constant) and isinstance(value.value, str):
                            yield value.value, keys
                elif any(k.startswith(("train/", "time/")) for k in keys):
                    yield "", keys


def test_every_line_that_the_code_writes_is_described() -> None:
    text = (ROOT / "docs" / "record.md").read_text(encoding="utf-8")
    found = list(written_keys())
    assert {event for event, _ in found} >= {"started", "resumed", "checkpoint", "warning"}
    for event, keys in found:
        if event:
            assert keys <= set(own("event")), (event, keys)
            assert f"`{event}`" in text
        else:
            assert keys <= set(own("train")) | set(own("evaluation")), keys


def test_a_record_of_release_0_1_reads_with_every_key() -> None:
    history = History()
    for raw in FORMER.read_bytes().splitlines():
        line = as_read(json.loads(raw))
        assert line is not None
        deliver(line, history)
        keys = own(line["kind"])
        assert {k for k, v in keys.items() if "NotRequired" not in str(v)} <= set(line)
    assert list(history.benchmarks) == [
        "human/tid2013_remade",
        "texture/world_cue_conflict",
        "noise/world_noise",
        "zero_shot/world",
    ]
    assert [e["global_step"] for e in history.evaluations] == [0, 60, 200]
    value = measured(history.evaluations[-1], "human/tid2013_remade/srocc")
    assert value is not None
    assert (value.value, value.reason) == (pytest.approx(0.618, abs=5e-4), None)
    bias = measured(history.evaluations[0], "texture/world_cue_conflict/texture_bias")
    assert bias is not None
    assert bias.value is None
    assert str(bias.reason).startswith("only 11 % of the answers")


def test_what_an_older_release_did_not_write_has_a_default() -> None:
    score = completed_score({"name": "s", "axis": None, "baselines": {"a": None, "b": 0.5}})
    assert (score["label"], score["axis"], score["baselines"], score["role"]) == ("s", [0.0, 1.0], {"b": 0.5}, "detail")
    margins = {margin: completed_score({"name": "s", "flat_margin": margin})["has_verdict"] for margin in (0.03, None)}
    assert margins == {0.03: True, None: False}
    line = completed({"kind": "benchmark", **HERE, "key": "human/a", "scores": [{"name": "s"}], "mine": 1})
    assert (line["panel"], line["options"], line["n"], line["mine"]) == ("human", {}, None, 1)
    verdict = completed({"kind": "verdict", **HERE, "score": "human/a/s", "word": "rise"})
    assert set(verdict) == set(schema.VerdictLine.__annotations__)
    assert (verdict["rule"], verdict["stretches"], verdict["clusters"]) == (1, (), 0)
    assert completed({"kind": "event", **HERE, "event": "x"})["message"] == ""


def test_measured_tells_not_due_from_undefined() -> None:
    line = {"a/b/x": None, "a/b/y": 0.5, "a/b/y/low": 0.4}
    assert measured(line, "a/b/z") is None
    assert measured(line, "a/b/x") == (None, None, None, "undefined")
    assert measured(line, "a/b/y") == (0.5, 0.4, None, None)


class Followed(Mirror):
    """Notes what it is given."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def line(self, line: Any) -> None:
        self.calls.append((line["kind"], line["global_step"]))

    def rewind(self, step: int, samples: int) -> None:
        self.calls.append(("rewind", step, samples))


def test_a_resumed_run_rewinds_every_mirror_before_its_line(tmp_path: Path) -> None:
    from clip_align.record.record import Position, Record

    first, second = Followed(), Followed()
    run = Record(tmp_path, [first, second])
    run.append("evaluation", Position(20, 2560, 0, 1.0), {})
    run.append("event", Position(10, 1280, 0, 2.0), {"event": "resumed"})
    run.append("event", Position(10, 1280, 0, 2.0), {"event": "warning", "message": "resumed"})
    expected = [("evaluation", 20), ("rewind", 10, 1280), ("event", 10), ("event", 10)]
    assert first.calls == second.calls == expected
    again = Followed()
    for raw in (tmp_path / METRICS).read_bytes().splitlines():
        deliver(as_read(json.loads(raw)), again)  # type: ignore[arg-type]
    assert again.calls == expected
    assert read(tmp_path).evaluations == []


def test_only_the_reader_of_the_record_knows_what_a_resumed_run_takes_back() -> None:
    """Whoever compares an event with "resumed" to take steps back does it a second time."""
    compared = re.compile(r"""[!=]= ["']resumed["']""")
    found = [p for p in (ROOT / "clip_align").rglob("*.py") if compared.search(p.read_text(encoding="utf-8"))]
    assert len(found) == 1, found
