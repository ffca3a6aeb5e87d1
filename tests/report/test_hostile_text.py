# SPDX-License-Identifier: Apache-2.0
"""Text from data (keys of a tar, captions, paths) in everything that shows it: shown, never obeyed."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from clip_align.errors import visible
from clip_align.record.record import Position, Record, read
from clip_align.report import compare, figures, page
from clip_align.runs.folder import RunFolder
from clip_align.tracking.console import ConsoleMirror
from clip_align.tracking.console_lines import Lines
from clip_align.tracking.csv import CsvMirror
from clip_align.tracking.tensorboard import TensorBoardMirror

BAD = "k\x1b[2J\x1b]0;t\x07\r\n12:00:00 done at step 9\u2028x\u202egnp.\u2066<script>alert(1)</script>&\x9b31m"
SHOWN = visible(BAD)


def lines(synthetic: ModuleType) -> Iterator[dict[str, Any]]:
    score = synthetic.score("srocc", f"label {BAD}", has_verdict=True, unit=BAD, direction=BAD, baselines={BAD: 0.3})
    other = synthetic.score("texture_bias", BAD)
    mine = synthetic.benchmark(
        "human/mine", "human", [score, other], human_data=BAD, stand_in=BAD, source=BAD, licence=BAD, options={BAD: BAD}
    )
    for line in synthetic.lines(60, [mine]):
        if line["kind"] == "event":
            line |= {"run": BAD, "message": BAD}
        if line["kind"] == "evaluation":
            line["human/mine/texture_bias/reason"] = BAD
        yield line
    yield {**synthetic.where(60), "kind": "event", "event": "skipped_samples", "message": BAD, "causes": {BAD: 1}}
    yield {**synthetic.verdicts(60)[0], "score": "human/mine/srocc", "sentence": BAD}


def record(folder: Path, mirrors: list[Any], written: Iterator[dict[str, Any]]) -> None:
    run = Record(folder, mirrors)
    for line in written:
        where = Position(*(line.pop(key) for key in vars(Position(0, 0, 0, 0.0))))
        run.append(line.pop("kind"), where, line)
    run.close("done")


def assert_shown(text: str, *, found: bool = True) -> None:
    """No character of it is obeyed by a terminal; the text that came in is there, escaped."""
    bad = {c for c in text.replace("\n", "") if unicodedata.category(c) in ("Cc", "Zl", "Zp")}
    assert not bad, bad
    assert not {unicodedata.bidirectional(c) for c in text} & {"RLO", "LRO", "RLE", "LRE", "LRI", "RLI", "FSI"}
    if found:
        assert SHOWN in text


def assert_own_scripts(text: str, panels: int) -> None:
    """A script and the numbers of each panel, without a text of the record."""
    scripts = re.findall("<script(.*?)>(.*?)</script>", text, re.DOTALL)
    assert [attributes for attributes, _ in scripts] == [' type="application/json"'] * panels + [""]
    assert text.count("<script") == len(scripts)
    assert not any("label" in body or "alert" in body for _, body in scripts[:-1])
    assert scripts[-1][1] == (Path(page.__file__).with_name("figure.js")).read_text(encoding="utf-8").rstrip("\n")


@pytest.mark.parametrize("interactive", [False, True])
def test_terminal_and_train_log(
    tmp_path: Path, synthetic: ModuleType, capsys: pytest.CaptureFixture[str], interactive: bool
) -> None:
    out = io.StringIO()
    console = ConsoleMirror(tmp_path, interactive, stream=out)
    console.notify(f"indexing {BAD}: 1 of 2")
    console.notify(BAD)
    console.show(BAD)
    record(tmp_path, [console], lines(synthetic))
    logged = (tmp_path / "train.log").read_text(encoding="utf-8")
    assert_shown(logged)
    assert all(line[2] == line[5] == ":" and not line.startswith("12:00:00 done") for line in logged.splitlines())
    assert_shown(out.getvalue())
    assert "\x1b[2J" not in capsys.readouterr().out


def test_lines_before_there_is_a_run() -> None:
    out = io.StringIO()
    notify = Lines(out)
    notify(BAD)
    notify(f"{BAD}: 1 of 2 images made")
    notify.plain(BAD)
    assert_shown(out.getvalue())
    assert len(out.getvalue().splitlines()) == 3


def test_page_and_figure(tmp_path: Path, synthetic: ModuleType) -> None:
    record(tmp_path, [], lines(synthetic))
    (tmp_path / "config.yaml").write_text(f"caption: '{BAD}'\nseed: 1\n", encoding="utf-8")
    facts = {"status": "done", "command": ["train.py", BAD], "data": BAD}
    (tmp_path / "provenance.json").write_text(json.dumps(facts), encoding="utf-8")
    page.write(tmp_path)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert_shown(text, found=False)
    assert_own_scripts(text, panels=3)
    assert text.count(html.escape(SHOWN, quote=False)) > 5
    history = read(tmp_path)
    assert_shown(figures.run_title(history))


def test_page_of_a_comparison(tmp_path: Path, synthetic: ModuleType) -> None:
    folders = [tmp_path / "runs" / name for name in ("a", "b\x1b[2J\u202e<script>")]
    for folder in folders:
        record(folder, [], lines(synthetic))
    compare.write(folders, tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert_shown(text, found=False)
    assert_own_scripts(text, panels=4)


def test_trackers(tmp_path: Path, synthetic: ModuleType) -> None:
    record(tmp_path, [CsvMirror(tmp_path), TensorBoardMirror(RunFolder(tmp_path), {"seed": 1})], lines(synthetic))
    table = list(csv.DictReader(io.StringIO((tmp_path / "evaluations.csv").read_text(encoding="utf-8"))))
    assert table[0]["human/mine/texture_bias/reason"] == SHOWN
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    (verdict,) = events.Tensors("verdict/human/mine/srocc/text_summary")
    assert verdict.tensor_proto.string_val[0].decode() == SHOWN


def test_the_report_command_prints_a_path_that_moves_nothing(tmp_path: Path, synthetic: ModuleType) -> None:
    record(tmp_path / "a", [], lines(synthetic))
    command = [sys.executable, "-m", "clip_align", "report", str(tmp_path / "a"), f"output={tmp_path}/o\x1b[2J"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    assert_shown(done.stdout, found=False)
