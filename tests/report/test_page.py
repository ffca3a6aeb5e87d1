# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from clip_align.record.record import Record, read
from clip_align.report import page
from clip_align.report.sentences import EARLIER
from clip_align.runs.folder import RunFolder, lock, write_atomic


class Page(HTMLParser):
    """What a page loads, and whether its tags close."""

    VOID = frozenset({"meta", "col", "br", "input", "path", "rect"})  # of SVG those that are written as one tag

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.open: list[str] = []
        self.refresh: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.loads += [v for k, v in attrs if k in ("src", "srcset", "href") and v]
        if given.get("http-equiv") == "refresh":
            self.refresh = given["content"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in self.VOID

    def handle_endtag(self, tag: str) -> None:
        if tag != "path":  # one with a title in it
            assert self.open.pop() == tag


@pytest.fixture(autouse=True)
def quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures have their own tests: one page is made with a real one."""
    if request.node.name != "test_a_finished_run":
        monkeypatch.setattr(page, "write_figure", lambda path, *panels, **texts: write_atomic(path, b"\x89PNG"))


def written(folder: Path, **more: object) -> tuple[str, Page]:
    page.write(folder, **more)  # type: ignore[arg-type]
    text = (folder / "report.html").read_text(encoding="utf-8")
    return text, Page(text)


def test_a_finished_run(tmp_path: Path, synthetic: ModuleType) -> None:
    text, parsed = written(synthetic.run(tmp_path))
    assert parsed.open == []
    assert parsed.refresh is None
    assert parsed.loads == []
    assert set(re.findall(r"https?://[^\"' ]*", re.sub(r"<pre>.*?</pre>", "", text, flags=re.S))) == {
        "http://www.w3.org/2000/svg"  # the name of SVG's elements, not a place
    }
    for part in (
        "SROCC, all pairs.</b> srocc: rose, then fell in this run.",
        "re-made on crops of the same Kodak photographs; 6 of the 24",
        "TID2013's mean opinion scores of its own images",
        "24 references, jackknife, t",
        "level alone .744",
        "rating noise (ceiling) .992",
        "train.py seed=0",
        "experiment: synthetic",
        "samples/s <b>1,250</b>",
        "time waiting for data <b>2 %</b>",
    ):
        assert part in html.unescape(text), part
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no browser to lay the page out")
@pytest.mark.parametrize("width", [1440, 800, 500])  # a window of chromium is never narrower
def test_what_is_human_data_can_be_read_at_any_width(tmp_path: Path, synthetic: ModuleType, width: int) -> None:
    text, _ = written(synthetic.run(tmp_path, last=60, chosen=synthetic.shipped()))
    measure = "document.title = [...document.querySelectorAll('dd')].map(e => Math.round(e.offsetWidth)).join()"
    (tmp_path / "measured.html").write_text(f"{text}<script>{measure}</script>", encoding="utf-8")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", f"--window-size={width},900"]
    options = {"capture_output": True, "text": True, "timeout": 60, "check": True}
    shown = subprocess.run(
        [*command, f"--user-data-dir={tmp_path / 'browser'}", f"file://{tmp_path}/measured.html"], **options
    )
    found = re.search("<title>(.*?)</title>", shown.stdout)
    assert found is not None
    widths = [int(w) for w in found[1].split(",")]
    assert min(widths) > 300
    assert max(widths) < width


def test_a_run_under_way_reloads_itself_and_gives_no_verdict(tmp_path: Path, synthetic: ModuleType) -> None:
    held = lock(RunFolder(synthetic.run(tmp_path, status="running")))
    assert held is not None
    text, parsed = written(tmp_path)
    os.close(held)
    assert parsed.refresh == "10"
    assert "below its best" not in text
    assert "A verdict about rise and fall comes at the end of the run." in text
    assert "time left, about" in text


def test_the_page_stops_reloading_when_the_run_has_ended(tmp_path: Path, synthetic: ModuleType) -> None:
    synthetic.run(tmp_path, last=300, status="running")
    _, parsed = written(tmp_path, status="interrupted")
    assert parsed.refresh is None


def test_a_run_that_was_killed_is_judged_and_does_not_reload(tmp_path: Path, synthetic: ModuleType) -> None:
    text, parsed = written(synthetic.run(tmp_path, last=300, status="running"), judge=True)
    assert ">failed<" in text
    assert "srocc: no verdict: items missing." in text
    assert parsed.refresh is None


def test_missing_items_are_named(tmp_path: Path, synthetic: ModuleType) -> None:
    text, _ = written(synthetic.run(tmp_path, last=300, status="terminated"))
    assert "No verdict: items missing." in text


def test_notes_of_a_benchmark_are_shown(tmp_path: Path, synthetic: ModuleType) -> None:
    synthetic.run(tmp_path, last=60, status="running")
    line = {**synthetic.evaluation(120, synthetic.benchmarks()), "human/tid2013_remade/dropped_features": 3.0}
    synthetic.write(tmp_path, [line])
    assert "Also recorded: dropped features 3." in written(tmp_path)[0]


def test_undefined_scores_have_their_reasons(tmp_path: Path, synthetic: ModuleType) -> None:
    text, _ = written(synthetic.run(tmp_path, last=60, status="running"))
    assert "undefined: 0.15 of the decisions hit a cue, below .25" in text


def test_a_value_that_is_held_back_is_not_called_undefined(tmp_path: Path, synthetic: ModuleType) -> None:
    text, _ = written(synthetic.run(tmp_path, last=300, status="running"))  # its bias is defined at the last one alone
    assert "not drawn yet: defined at 1 evaluation running; drawn from 2 on" in text
    assert "undefined: defined" not in text


@pytest.mark.parametrize("make", ["nothing", "config only", "no evaluation", "no benchmarks"])
def test_a_page_of_almost_nothing(tmp_path: Path, synthetic: ModuleType, make: str) -> None:
    if make == "config only":
        (tmp_path / "config.yaml").write_text("seed: 0\n")
    elif make == "no evaluation":
        synthetic.write(tmp_path, [x for x in synthetic.lines(10) if x["kind"] != "evaluation"])
    elif make == "no benchmarks":
        synthetic.run(tmp_path, last=100, chosen=[])
    _, parsed = written(tmp_path)
    assert parsed.open == []


def test_text_from_the_record_is_escaped(tmp_path: Path, synthetic: ModuleType) -> None:
    bad = "<script>alert(1)</script>"
    mine = synthetic.benchmark("human/mine", "alignment", [synthetic.score("srocc", bad)], stand_in=bad)
    synthetic.run(tmp_path, last=60, chosen=[mine])
    synthetic.write(tmp_path, [{**synthetic.where(60), "kind": "event", "event": "warning", "message": bad}])
    text, _ = written(tmp_path)
    assert "<script>alert" not in text
    assert html.escape(bad) in text


def test_damaged_lines_are_counted(tmp_path: Path, synthetic: ModuleType) -> None:
    synthetic.run(tmp_path, last=60)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "evalu\n')
    assert "1 damaged line of the record left out" in written(tmp_path)[0]


def test_a_report_elsewhere_leaves_the_run_alone(tmp_path: Path, synthetic: ModuleType) -> None:
    synthetic.run(tmp_path / "run", last=60)
    before = sorted(p.name for p in (tmp_path / "run").iterdir())
    page.write(tmp_path / "run", output=tmp_path / "other")
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == before
    assert sorted(p.name for p in (tmp_path / "other").iterdir()) == ["curves.png", "report.html"]
    page.write(tmp_path / "run", status="running", output=tmp_path / "other")
    assert Page((tmp_path / "other" / "report.html").read_text(encoding="utf-8")).refresh is None


def test_broken_provenance_is_no_failure(tmp_path: Path, synthetic: ModuleType) -> None:
    synthetic.run(tmp_path, last=60)
    (tmp_path / "provenance.json").write_text("{")
    text, _ = written(tmp_path)
    assert ">unknown<" in text


def test_provenance_is_shown_whole(tmp_path: Path, synthetic: ModuleType) -> None:
    synthetic.run(tmp_path, last=60)
    facts = {"status": "done", "versions": {"torch": "2.14.1"}}
    (tmp_path / "provenance.json").write_text(json.dumps(facts))
    assert '"torch": "2.14.1"' in html.unescape(written(tmp_path)[0])


def test_what_is_not_known_before_the_end_is_left_out(tmp_path: Path, synthetic: ModuleType) -> None:
    synthetic.run(tmp_path, last=60)
    facts = {"status": "running", "exit_code": None, "ended": None, "git_commit": None}
    (tmp_path / "provenance.json").write_text(json.dumps(facts))
    text = html.unescape(written(tmp_path, status="done")[0])
    assert '"git_commit": null' in text  # it is known that there is none
    assert "exit_code" not in text
    assert '"ended"' not in text


def test_all_events_are_counted_and_the_last_are_shown(tmp_path: Path, synthetic: ModuleType) -> None:
    synthetic.run(tmp_path, last=0)
    events = [{**synthetic.where(i), "kind": "event", "event": "checkpoint", "message": ""} for i in range(250)]
    assert "Events (1)" in written(tmp_path)[0]
    synthetic.write(tmp_path, events)
    assert "Events (251, the last 200)" in written(tmp_path)[0]


def test_a_verdict_that_the_record_lacks_is_computed_and_needs_items(tmp_path: Path, synthetic: ModuleType) -> None:
    synthetic.run(tmp_path, last=300, status="terminated")
    text, _ = written(tmp_path, judge=True)
    assert "srocc: no verdict: items missing." in text


def test_a_finished_page_has_the_whole_time_and_a_running_one_the_time_so_far(
    tmp_path: Path, synthetic: ModuleType
) -> None:
    synthetic.run(tmp_path, last=60, status="done")
    end = {**synthetic.where(60), "kind": "event", "event": "finished", "message": "", "wall_seconds": 185.0}
    synthetic.write(tmp_path, [end])
    assert "time taken <b>3 min 05 s</b>" in written(tmp_path)[0]  # the last training line was at 6.6 s
    text = written(tmp_path, status="running")[0]
    assert "time so far <b>3 min 05 s</b>" in text
    assert "time left, about" in text
    assert "time left" not in written(tmp_path)[0]


def test_the_command_is_the_one_that_was_typed_and_the_home_folder_is_short(
    tmp_path: Path, synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    synthetic.run(tmp_path, last=0)
    (tmp_path / "config.yaml").write_text("paths:\n  cache: /home/me/.cache/clip-align\n  runs: /home/media\n")
    facts = {
        "status": "done",
        "command": ["python", "train.py", "data.shards=/home/me/my data/{0..3}.tar"],
        "sweep_command": ["python", "train.py", "--multirun", "seed=1,2"],
    }
    (tmp_path / "provenance.json").write_text(json.dumps(facts))
    text = html.unescape(written(tmp_path)[0])
    assert "<pre>python train.py 'data.shards=~/my data/{0..3}.tar'</pre>" in text
    assert "<pre>python train.py --multirun seed=1,2</pre>" in text
    assert "cache: ~/.cache/clip-align" in text
    assert "/home/me/" not in text
    assert "runs: /home/media" in text


def test_verdicts_about_scores_of_one_label_are_distinguished(tmp_path: Path, synthetic: ModuleType) -> None:
    synthetic.write(tmp_path, synthetic.lines(60, synthetic.many()))
    verdict = synthetic.verdicts(60)[0]
    synthetic.write(tmp_path, [verdict, {**verdict, "score": "human/kadid10k/srocc"}])
    text = written(tmp_path)[0]
    for name in ("tid2013_remade", "kadid10k"):
        assert f"<b>SROCC, all pairs ({name}).</b>" in text


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no browser to print the page")
def test_folded_parts_are_printed(tmp_path: Path, synthetic: ModuleType) -> None:
    pages = []
    for lines in (1, 300):
        folder = synthetic.run(tmp_path / str(lines), last=60)
        (folder / "config.yaml").write_text("".join(f"key{n}: {n}\n" for n in range(lines)))
        written(folder)
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'browser'}"]
        subprocess.run(
            [*command, f"--print-to-pdf={folder}/page.pdf", f"file://{folder}/report.html"],
            check=True, capture_output=True, timeout=600,
        )  # fmt: skip
        pages.append(max(map(int, re.findall(rb"/Count (\d+)", (folder / "page.pdf").read_bytes()))))
    assert pages[1] - pages[0] >= 4


def _with_items(folder: Path, fall: float) -> None:
    """Items of the synthetic record, whose ranks rise with training and then fall."""
    items = np.random.default_rng(0)
    human, reference, level = items.normal(size=480), np.arange(480) % 12, np.arange(480) // 12 % 5
    own = items.normal(size=480)
    record = Record(folder)
    for step in [line["global_step"] for line in read(folder).evaluations]:
        agreement = 0.4 + 0.5 * min(1, step / 300) - fall * max(0, (step - 300) / 600)
        model = {"d": agreement * human + own + 0.1 * items.normal(size=480)}
        ids, clusters = [str(n) for n in range(480)], {"reference": reference}
        record.write_items("human/tid2013_remade", step, ids, clusters, {"level": level}, human, model, 60)
    record.close("done")


@pytest.mark.parametrize("fall", [0.6, 0.0])
def test_a_fall_under_way_is_news_only_where_it_is_shown(tmp_path: Path, synthetic: ModuleType, fall: float) -> None:
    synthetic.run(tmp_path, last=900, status="running")
    _with_items(tmp_path, fall)
    text = html.unescape(written(tmp_path, status="running")[0])
    assert ("SROCC, all pairs fell by at least ." in text) == (fall > 0)
    assert ("corrected for looking after every evaluation" in text) == (fall > 0)
    assert "below its best" not in text
    assert "A verdict about rise and fall comes at the end of the run." in text
    ended = html.unescape(written(tmp_path, status="done", judge=True)[0])
    assert "corrected for looking" not in ended


def test_the_numbers_of_a_sentence_stand_in_the_table(tmp_path: Path, synthetic: ModuleType) -> None:
    synthetic.run(tmp_path, last=1500, status="interrupted")
    _with_items(tmp_path, 0.3)
    text = html.unescape(written(tmp_path, judge=True)[0])
    sentences = re.findall(r"<p><b>[^<]*\.</b> (.*?)</p>", text, flags=re.S)
    assert len(sentences) == 2
    table = text.partition("the numbers of the verdicts")[2].partition("</table>")[0]
    for sentence in sentences:
        assert "rose, then fell in this run" in sentence
        for number in re.findall(r"(?<![\w.])\d*\.\d+|(?<=steps )[\d,]*\d", sentence):
            assert number in table, number


def test_a_record_of_an_earlier_rule_is_drawn_marked_or_judged_again(tmp_path: Path, synthetic: ModuleType) -> None:
    synthetic.run(tmp_path, last=1500, status="interrupted")
    older = {
        **synthetic.where(1500),
        "kind": "verdict",
        "score": "human/tid2013_remade/srocc",
        "word": "undecided",
        "sentence": "a fall above .03 is excluded.",
        "peak_from": 300,
        "peak_to": 600,
        "flat_margin": 0.03,
        "dropped_resamples": 0.0,
    }
    synthetic.write(tmp_path, [older])
    text = html.unescape(written(tmp_path, judge=True)[0])
    assert f"a fall above .03 is excluded.{EARLIER}" in text
    assert "the numbers of the verdicts" not in text
    _with_items(tmp_path, 0.3)
    again = html.unescape(written(tmp_path, judge=True)[0])
    assert "excluded" not in again
    assert "rose, then fell in this run" in again
    assert "excluded" in written(tmp_path)[0]  # a live page takes the record as it is
