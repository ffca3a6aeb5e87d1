# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from clip_align.record.record import read
from clip_align.report import page
from clip_align.report.panels import panels
from clip_align.report.score_curves import Point
from clip_align.report.score_variants import all_scores
from clip_align.report.style import COLOURS, TEXT_COLOURS
from clip_align.report.svg_figure import MOST_ROWS, svg_cells
from clip_align.report.svg_paths import Frame, band_path, line_path
from clip_align.report.thinned import COLUMNS, FEW, thinned

Browse = Callable[..., Any]
MARKED = {
    "rise/low": 0.1,
    "fall/low": 0.011,
    "fall/earlier": [480, 600],
    "fall/later": [1440, 1500],
    "stretches": [
        {"first": 180, "last": 480, "direction": "rose", "at_least": 0.08},
        {"first": 780, "last": 1320, "direction": "fell", "at_least": 0.011},
    ],
}


@pytest.fixture
def written(tmp_path: Path, synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The page of a run, without its PNG."""
    monkeypatch.setattr(page, "write_figure", lambda *figure, **texts: None)

    def make(marked: bool = True, **more: Any) -> str:
        folder = synthetic.run(tmp_path / "run", status="terminated", **more)
        if marked:
            synthetic.write(folder, [{**verdict, **MARKED} for verdict in synthetic.verdicts()])
        page.write(folder)
        return (folder / "report.html").read_text(encoding="utf-8")

    return make


FRAME = Frame(left=0, top=0, width=100, height=50, low=0.0, high=1.0)


def test_a_path_is_broken_at_gaps_and_a_lone_point_moves_by_its_curves_place() -> None:
    points = [(0.0, 0.5, None, None), (10.0, 1.0, None, None), (20.0, None, None, None), (30.0, 0.0, None, None)]
    assert line_path(FRAME, points, 2) == "M0.0 25.0L10.0 0.0M38.0 50.0"
    assert line_path(FRAME, [], 0) == ""


def test_a_band_runs_along_the_upper_ends_and_back_along_the_lower() -> None:
    points = [(0.0, 0.5, 0.4, 0.6), (10.0, 0.5, 0.2, 0.8)]
    assert band_path(FRAME, points, 0) == "M0.0 20.0L10.0 10.0L10.0 40.0L0.0 30.0Z"
    assert band_path(FRAME, points[:1], 0) == "M-0.6 20.0L0.6 20.0L0.6 30.0L-0.6 30.0Z"
    assert band_path(FRAME, [(0.0, 0.5, None, None)], 0) == ""


def test_a_long_curve_keeps_what_is_seen_of_it() -> None:
    points = [Point(i, i, float(i % 7), i % 7 - 1.0, i % 7 + 1.0) for i in range(10_000)]
    points[5_003] = Point(5_003, 5_003, 40.0, 39.0, 41.0)
    points[7_000] = Point(7_000, 7_000, None)
    points[2_000] = Point(2_000, 2_000, 3.0, -50.0, 4.0)
    kept = thinned(points, [lambda x: x / 10_000])
    assert len(kept) <= 7 * COLUMNS
    assert kept == sorted(kept, key=lambda p: p.step)
    assert {points[0], points[-1], points[5_003], points[7_000], points[2_000]} <= set(kept)
    assert thinned(points[:FEW], [lambda x: x]) == points[:FEW]


def test_every_panel_has_a_role_a_title_a_description_and_a_table(written: Callable[..., str]) -> None:
    text = written()
    figures = re.findall(r'<figure class="panel".*?</figure>', text, re.DOTALL)
    assert len(figures) == 7
    for figure in figures:
        (labelled,) = re.findall(r'<svg viewBox="[^"]*" role="img" aria-labelledby="([^"]*)">', figure)
        title, description = (re.search(rf'id="{name}">(.*?)<', figure) for name in labelled.split())
        assert title
        assert title[1]
        assert description
        assert description[1].startswith("Curves over samples seen; latest values: ")
        (name,) = re.findall(r'<figure class="panel" id="(.*?)"', figure)
        (table,) = re.findall(rf'<details class="values" id="{name}-values">(.*?)</details>', text, re.DOTALL)
        assert table.count("<tr>") > 10
        assert json.loads(html.unescape(re.findall(r'<script type="application/json">(.*?)</script>', figure)[0]))
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(set(ids)) == len(ids)


def test_the_page_is_complete_without_its_script(written: Callable[..., str]) -> None:
    text = html.unescape(re.sub(r"<script.*?</script>", "", written(), flags=re.DOTALL))
    for part in (
        '<form class="axis" hidden',  # controls that would do nothing
        "windows compared",
        "range of the peak",
        "rose by at least .080 between steps 180 and 480; fell by at least .011 between steps 780 and 1320",
        ">100k</text>",
        "↑\xa0rating noise: .99",
        "<td>1500</td><td>192k</td>",
    ):
        assert part in text, part
    assert text.count('<path class="curve') > 2 * 7


def test_marks_stand_where_the_verdict_says(tmp_path: Path, synthetic: ModuleType) -> None:
    folder = synthetic.run(tmp_path, status="terminated")
    synthetic.write(folder, [{**synthetic.verdicts()[0], **MARKED}])
    (alignment,) = svg_cells(panels(read(folder)))[1]
    frame = alignment["frame"]
    windows, peak = alignment["brackets"]
    assert [(s["from"], s["to"]) for s in windows["spans"]] == [
        ("480 61440", "600 76800"),
        ("1440 184320", "1500 192000"),
    ]
    assert windows["spans"][1]["x"] + windows["spans"][1]["width"] == pytest.approx(frame.x(1.0), abs=0.2)
    assert (peak["text"], peak["spans"][0]["from"], peak["spans"][0]["to"]) == (
        "range of the peak",
        "480 61440",
        "780 99840",
    )
    rose, fell = alignment["stretches"]
    assert [p[0] for p in rose["points"]] == [180, 240, 300, 360, 420, 480]
    assert (fell["direction"], fell["points"][-1][0]) == ("fell", 1320)


def test_lines_outside_the_axis_are_marks_at_its_ends(tmp_path: Path, synthetic: ModuleType) -> None:
    (alignment,) = svg_cells(panels(read(synthetic.run(tmp_path))))[1]
    sides = [(r["kind"], r["side"]) for r in alignment["references"] if r["side"]]
    assert sides.count(("ceiling", 1)) == 3
    assert ("chance", -1) in sides
    names = {line for n in alignment["names"] for _, line in n["lines"]}
    assert {"↑\xa0content-blind:\xa0.93", "↓\xa0chance:\xa0.00"} <= names


READ = """
  const box = (e) => { const b = e.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom, e.textContent]; };
  const seen = (e) => e.getClientRects().length > 0 && getComputedStyle(e).display !== "none";
  return {
    width: document.documentElement.clientWidth, scrolled: document.documentElement.scrollWidth,
    plots: [...document.querySelectorAll(".plot")].map((plot) => ({
      box: box(plot), texts: [...plot.querySelectorAll("svg text")].filter(seen).map(box) })),
    legends: [...document.querySelectorAll(".legend li")].filter(seen).map(box),
  };
"""


@pytest.mark.parametrize("width", [390, 800, 1440])
@pytest.mark.parametrize("chosen", ["shipped", "many"])
def test_no_text_of_a_panel_is_cut_or_lies_on_another(
    written: Callable[..., str], synthetic: ModuleType, browse: Browse, width: int, chosen: str
) -> None:
    found = browse(written(marked=chosen == "shipped", chosen=getattr(synthetic, chosen)()), READ, width)
    assert found["width"] == width
    assert found["scrolled"] <= width
    assert len(found["plots"]) >= 7
    assert bool(found["legends"]) == (width == 390)
    for left, _, right, _, text in found["legends"]:
        assert 0 <= left < right <= width, text
    for plot in found["plots"]:
        left, top, right, bottom, _ = plot["box"]
        for index, (x0, y0, x1, y1, text) in enumerate(plot["texts"]):
            assert left - 1 <= x0, text
            assert x1 <= right + 1, text
            assert top - 1 <= y0, text
            assert y1 <= bottom + 1, text
            for a0, b0, a1, b1, other in plot["texts"][:index]:
                across, down = min(x1, a1) - max(x0, a0), min(y1, b1) - max(y0, b0)
                assert across <= 0.5 or down <= 0.35 * min(y1 - y0, b1 - b0), f"{text!r} lies on {other!r}"


USE = """
  const form = document.querySelector("form.axis"), panel = document.querySelectorAll("figure.panel")[1];
  const svg = panel.querySelector(".plot > svg"), reading = panel.querySelector(".reading");
  const ticks = () => [...panel.querySelectorAll(".x-ticks text")].map((t) => t.textContent);
  const curve = () => panel.querySelector(".curve[data-curve]").getAttribute("d");
  const press = (key) => svg.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  const found = { shown: !form.hidden, ticks: [ticks()], curves: [curve()], readings: [] };
  for (const [name, value] of [["unit", "steps"], ["scale", "linear"], ["unit", "samples"], ["scale", "log"]]) {
    form.elements[name].value = value;
    form.dispatchEvent(new Event("change"));
    found.ticks.push(ticks());
    found.curves.push(curve());
  }
  for (const key of ["End", "ArrowLeft", "Home", "ArrowLeft"]) { press(key); found.readings.push(reading.textContent); }
  const box = svg.getBoundingClientRect();
  svg.dispatchEvent(new PointerEvent("pointermove", { clientX: box.left + 0.999 * box.width, bubbles: true }));
  found.hover = reading.textContent;
  press("Escape");
  found.hidden = reading.hidden;
  return found;
"""


def test_values_are_read_by_keyboard_and_pointer_and_the_axis_changes(
    written: Callable[..., str], synthetic: ModuleType, browse: Browse
) -> None:
    text = written()
    found = browse(text, USE, 1440)
    assert found["shown"]
    assert found["ticks"][0] == found["ticks"][4] == ["0", "10k", "50k", "100k"]
    assert found["ticks"][1] == ["0", "100", "200", "500", "1k"]
    assert found["ticks"][2][-1] == "1.5k"
    assert found["curves"][0] == found["curves"][4] == found["curves"][1]  # steps are in proportion to samples
    assert found["curves"][2] != found["curves"][0]
    assert found["curves"][2] == found["curves"][3]
    last = synthetic.evaluation(1500, synthetic.benchmarks())
    key = "human/tid2013_remade/srocc"
    low, value, high = (f"{last[k]:.3f}".lstrip("0") for k in (f"{key}/low", key, f"{key}/high"))
    assert found["readings"][0] == f"step 1500, 192,000 samplesSROCC, all pairs: {value} [{low}, {high}]"
    assert found["readings"][1].startswith("step 1440, ")
    assert found["readings"][2].startswith("step 0, 0 samples")
    assert found["readings"][3] == found["readings"][2]
    assert found["hover"] == found["readings"][0]
    assert found["hidden"]


def test_labels_of_a_record_are_text_to_the_script_too(
    tmp_path: Path, synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch, browse: Browse
) -> None:
    monkeypatch.setattr(page, "write_figure", lambda *figure, **texts: None)
    bad = '</script><img src=x onerror="document.title=1">\u202e'
    mine = synthetic.benchmark(
        "human/mine", "human", [synthetic.score("srocc", bad, baselines={bad: 0.3})], stand_in=bad
    )
    page.write(synthetic.run(tmp_path / "run", last=60, chosen=[mine], status="running"))
    text = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    script = """
      const svg = document.querySelector(".plot > svg");
      svg.dispatchEvent(new KeyboardEvent("keydown", { key: "End" }));
      return [document.images.length, document.title, document.querySelector(".reading").textContent];
    """
    images, title, reading = browse(text, script, 800)
    assert images == 0
    assert title != "1"
    assert '</script><img src=x onerror="document.title=1">\\u202e: .' in reading


@pytest.mark.slow
@pytest.mark.parametrize("every", [0, 3], ids=["as it comes", "with a gap at every third"])
def test_the_panels_of_a_long_record_are_small_and_made_fast(tmp_path: Path, synthetic: ModuleType, every: int) -> None:
    lines = [synthetic.evaluation(step, synthetic.benchmarks()) for step in range(0, 6000, 60)]
    lines = [{**lines[i % 100], **synthetic.where(60 * i)} for i in range(10_000)]
    for i in range(0, 10_000, every or 10_000):
        lines[i]["noise/world_noise/corrected_drop_10"] = None
    synthetic.write(tmp_path, [*({**b, **synthetic.where(0)} for b in synthetic.benchmarks()), *lines])
    built = panels(all_scores(read(tmp_path)))
    start = time.process_time()
    cells = svg_cells(built)
    assert time.process_time() - start < 12
    for panel in (panel for cell in cells for panel in cell):
        assert all(len(c["points"]) < 14 * COLUMNS for c in (*panel["curves"], *panel["bounds"]))
        assert len(panel["hatches"]) < 2 * COLUMNS
        assert len(panel["table"]["rows"]) <= MOST_ROWS + 1


def test_the_page_has_the_colours_of_the_figure() -> None:
    text = Path(page.__file__).with_name("figure.css").read_text(encoding="utf-8")
    light, dark = (dict(re.findall(r"--([ct]\d): (#\w+);", part)) for part in text.split("@media", 2)[:2])
    assert [light[f"c{n}"] for n in range(8)] == list(COLOURS)
    assert [light[f"t{n}"] for n in range(8)] == list(TEXT_COLOURS)
    assert dark.keys() == light.keys()  # a dark page has a lighter colour for each
    assert len(set(dark.values())) >= 8
    dashes = re.findall(r"\.k(\d) \{[^}]*--dash: ([^;]+);", text)
    assert len(dashes) == len(COLOURS)
    assert len({dash for _, dash in dashes[:6]}) == 6
