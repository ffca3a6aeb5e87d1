# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import re
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL import Image

from clip_align.record.record import History, read
from clip_align.report import axis_limits, compare, figures, page
from clip_align.report.name_labels import CAPTION_LINES
from clip_align.report.panels import Panel, panels
from clip_align.report.style import MUTED, WIDE


def write(history: History, path: Path) -> None:
    figures.write_figure(path, panels(history), title=figures.run_title(history), foot=figures.footnote(history))


def image(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.mark.parametrize("last", [0, 2, 1500])
def test_a_figure_at_any_time_of_a_run(tmp_path: Path, synthetic: ModuleType, last: int) -> None:
    history = read(synthetic.run(tmp_path, last=last, status="running"))
    write(history, tmp_path / "curves.png")
    pixels = image(tmp_path / "curves.png")
    rows = 3
    assert pixels.shape[1] == round(WIDE.columns * WIDE.width * WIDE.dpi)
    assert pixels.shape[0] > rows * WIDE.height * WIDE.dpi
    assert pixels.std() > 5


def test_a_figure_without_any_record(tmp_path: Path) -> None:
    write(read(tmp_path), tmp_path / "curves.png")
    assert image(tmp_path / "curves.png").std() > 0


def test_a_figure_with_some_benchmarks_only(tmp_path: Path, synthetic: ModuleType) -> None:
    history = read(synthetic.run(tmp_path, chosen=synthetic.benchmarks()[1:2]))
    write(history, tmp_path / "curves.png")
    assert [p.name for p in panels(history)] == ["human", "human", "training", "training"]


def texts_of(built: list[Panel], foot: str, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Bbox, Figure]]:
    """Every text of the figure with its box in pixels."""
    kept: list[Figure] = []
    original = Figure.savefig

    def keep(self: Figure, *args: object, **kwargs: object) -> None:
        kept.append(self)
        original(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Figure, "savefig", keep)
    figures.image(built, title=", ".join(["a long name of a run"] * 12), foot=foot)
    (figure,) = kept
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    renderer = canvas.get_renderer()
    boxes = []
    for axes in figure.axes:
        assert isinstance(axes, Axes)
        shown = list(axes.texts)
        for ticks, labels, (low, high) in (
            (axes.get_xticks(), axes.get_xticklabels(), axes.get_xlim()),
            (axes.get_yticks(), axes.get_yticklabels(), axes.get_ylim()),
        ):
            shown += [label for tick, label in zip(ticks, labels, strict=True) if low <= tick <= high]
        boxes += [(t.get_text(), t.get_window_extent(renderer), figure) for t in shown if t.get_text()]
    return boxes + [(t.get_text(), t.get_window_extent(renderer), figure) for t in figure.texts]


def assert_apart(boxes: list[tuple[str, Bbox, Figure]]) -> None:
    """No text lies on another one or leaves the figure."""
    for index, (text, box, figure) in enumerate(boxes):
        assert box.x0 >= 0, text
        assert box.x1 <= figure.bbox.width, text
        assert box.y0 >= 0, text
        assert box.y1 <= figure.bbox.height, text
        for other, other_box, _ in boxes[index + 1 :]:
            width = min(box.x1, other_box.x1) - max(box.x0, other_box.x0)
            height = min(box.y1, other_box.y1) - max(box.y0, other_box.y0)
            assert width <= 0 or height <= 2.5, f"{text!r} lies on {other!r}"


@pytest.mark.parametrize("last", [0, 900, 1500])
@pytest.mark.parametrize("chosen", ["benchmarks", "shipped", "many", "six_families"])
def test_no_text_overlaps_another_or_leaves_the_figure(
    tmp_path: Path, synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch, last: int, chosen: str
) -> None:
    history = read(synthetic.run(tmp_path, last=last, chosen=getattr(synthetic, chosen)()))
    assert_apart(texts_of(panels(history), figures.footnote(history), monkeypatch))


def test_every_line_of_two_headlines_is_named_in_its_headlines_colour(
    tmp_path: Path, synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = read(synthetic.run(tmp_path, chosen=synthetic.many()))
    alignment = panels(history)[1]
    assert len(alignment.references) > 12
    figure = texts_of([alignment], "", monkeypatch)[0][2]
    colours = {text.get_text().replace("\n", " "): text.get_color() for text in figure.axes[0].texts}
    for line in alignment.references:
        (colour,) = (c for text, c in colours.items() if text.lstrip("↑↓\xa0 ").startswith(f"{line.name}:"))
        owner = next((f"{c.name}:" for c in alignment.curves if c.key == line.owner), None)
        expected = next(c for text, c in colours.items() if owner and text.startswith(owner)) if owner else MUTED
        assert colour == expected, line.name


def test_no_line_loses_its_name_however_many_benchmarks_a_family_has(
    tmp_path: Path, synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    tid = synthetic.benchmarks()[1]
    chosen = [{**tid, "key": f"human/database_number_{n}"} for n in range(4)]
    built = panels(read(synthetic.run(tmp_path, last=300, chosen=chosen)))
    built = [p for p in built if p.title.startswith("Human alignment (")]
    assert [p.title for p in built] == ["Human alignment (1 of 2)", "Human alignment (2 of 2)"]
    boxes = texts_of(built, "", monkeypatch)
    assert_apart(boxes)
    texts = ["".join(text.split()) for text, _, _ in boxes]  # a long word may be broken
    for panel in built:
        for line in panel.references:
            shown = sum(text.lstrip("↑↓").startswith(f"{''.join(line.name.split())}:") for text in texts)
            assert shown == (1 if line.tag else len(built)), line.name


def test_each_undefined_headline_is_marked_in_its_own_strip(
    tmp_path: Path, synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = panels(read(synthetic.run(tmp_path, last=240, chosen=synthetic.many())))
    texts = [text for text, _, _ in texts_of([p for p in built if p.name == "texture"], "", monkeypatch)]
    for name in ("world_cue_conflict", "cue_conflict"):
        assert any(text.startswith(f"bias, corrected ({name}) undefined: 0.") for text in texts)


LONG = "learning-rate-sweep-constant-schedule-no-warmup-seed"


def test_no_text_of_a_comparison_overlaps_another_and_runs_are_distinguished(
    tmp_path: Path, synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [synthetic.run(tmp_path / f"{LONG}-{seed}", seed=seed) for seed in range(6)]
    for folder in folders:  # without a configuration runs are called by their names
        (folder / "config.yaml").unlink()
    boxes = texts_of(compare.overlaid(compare.read_runs(folders)), compare.FOOT, monkeypatch)
    assert_apart(boxes)
    names = [text.replace("\n", "") for text, _, _ in boxes if "seed-" in text]
    ends = {match[1] for name in names if (match := re.search(r"(seed-\d):\s*-?[\d.]+$", name))}
    assert len(ends) == 6
    assert len(names) == 6 * 7  # in each panel


def test_a_hatched_stretch_names_the_score_that_is_undefined(
    tmp_path: Path, synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = panels(read(synthetic.run(tmp_path, last=900)))
    texts = [text.replace("\n", " ") for text, _, _ in texts_of(built, "", monkeypatch)]
    assert any(text.startswith("bias, corrected undefined: 0.23 of the decisions") for text in texts)


def test_intervals_of_lone_points_stand_side_by_side_and_a_lone_bound_is_seen(
    tmp_path: Path, synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = read(synthetic.run(tmp_path, last=0))
    history.evaluations[0]["noise/world_noise/relative_drop_limit"] = 0.4
    built = panels(history)
    figure = texts_of(built, "", monkeypatch)[0][2]
    accuracy, noise = figure.axes[0], figure.axes[-1]
    lines = [c for c in accuracy.collections if isinstance(c, LineCollection)]
    places = [float(c.get_transform().transform(c.get_segments()[0][0])[0]) for c in lines]
    assert len(places) == 4
    assert min(b - a for a, b in pairwise(places)) > 5  # pixels
    assert [x.get_marker() for x in noise.lines if list(x.get_ydata()) == [0.4]] == ["_"]


@pytest.mark.parametrize("size", [1e-4, 40.0, 12_500.0])
def test_scores_of_any_size_have_ticks_that_fit(
    tmp_path: Path, synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch, size: float
) -> None:
    mine = synthetic.benchmark("human/mine", "alignment", [synthetic.score("x", "x", axis=[0.0, 1e6])])
    key = "human/mine/x"
    lines = [
        {**synthetic.where(s), "kind": "evaluation", key: size * v, f"{key}/low": None, f"{key}/high": None}
        for s, v in ((0, 1.0), (60, 1.1), (120, 1.15))
    ]
    synthetic.write(tmp_path, [{**synthetic.where(0), **mine}, *lines])
    boxes = texts_of(panels(read(tmp_path)), "", monkeypatch)
    assert_apart(boxes)
    ticks = [text for text, box, _ in boxes if box.x1 < WIDE.left * WIDE.dpi]
    assert len(set(ticks)) == len(ticks) > 2


def test_a_long_label_keeps_its_value(tmp_path: Path, synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    label = "SROCC over a rather long and wordy description of items and views, and more of it"
    mine = synthetic.benchmark("human/mine", "alignment", [synthetic.score("srocc", label, chance=0.0)])
    built = panels(read(synthetic.run(tmp_path, last=300, chosen=[mine])))
    boxes = texts_of(built, "", monkeypatch)
    assert_apart(boxes)
    assert any(re.search(r"…:\s\.\d\d$", text) for text, _, _ in boxes)


@pytest.mark.parametrize("axis", [[-0.2, 1.0], [1.0, -0.2], None])
def test_no_curve_leaves_its_panel_and_no_interval_widens_the_axis(
    synthetic: ModuleType, tmp_path: Path, axis: list[float] | None
) -> None:
    mine = synthetic.benchmark("human/mine", "alignment", [synthetic.score("cc", "correlation", axis=axis)])
    line = {"kind": "evaluation", "human/mine/cc/low": -3.0, "human/mine/cc/high": 0.9}
    lines = [{**synthetic.where(s), **line, "human/mine/cc": v} for s, v in ((0, 0.1), (60, -0.3), (120, -0.4))]
    synthetic.write(tmp_path, [{**synthetic.where(0), **mine}, *lines])
    (panel,) = panels(read(tmp_path))
    low, high = axis_limits.limits(panel)
    assert -0.5 < low < -0.4
    assert 0.9 < high < 1.0


def test_signs_of_formulae_in_outside_texts_are_drawn_as_they_are(tmp_path: Path, synthetic: ModuleType) -> None:
    score = synthetic.score("texture_bias", r"costs $\frac$", baselines={r"a $\nonsense{$ line": 0.3})
    mine = synthetic.benchmark("human/mine", "alignment", [score], stand_in=r"$x^{$ of $5 and $10")
    history = read(synthetic.run(tmp_path, last=60, chosen=[mine]))
    history.evaluations[0]["human/mine/texture_bias/reason"] = r"$\sqrt$ of $-1"
    assert figures.image(panels(history), title=r"$\title$", foot=r"$\foot$")


def test_intervals_outside_a_wrong_axis_do_not_squeeze_the_curve(synthetic: ModuleType, tmp_path: Path) -> None:
    mine = synthetic.benchmark("human/mine", "alignment", [synthetic.score("db", "PSNR, dB")])  # axis (0, 1)
    line = {"kind": "evaluation", "human/mine/db/low": 24.0, "human/mine/db/high": 26.0, "human/mine/db": 25.0}
    synthetic.write(tmp_path, [{**synthetic.where(0), **mine}, *({**synthetic.where(s), **line} for s in (0, 60))])
    (panel,) = panels(read(tmp_path))
    assert axis_limits.limits(panel)[0] > 23


@pytest.mark.slow
@pytest.mark.parametrize("every", [0, 3], ids=["as it comes", "with a gap at every third"])
def test_a_long_record_is_drawn_fast(tmp_path: Path, synthetic: ModuleType, every: int) -> None:
    lines = [synthetic.evaluation(step, synthetic.benchmarks()) for step in range(0, 6000, 60)]
    lines = [{**lines[i % 100], **synthetic.where(60 * i)} for i in range(10_000)]
    for i in range(0, 10_000, every or 10_000):
        for key in ("noise/world_noise/corrected_drop_10", "human/tid2013_remade/srocc"):
            lines[i] |= {key: None, f"{key}/low": None, f"{key}/high": None, f"{key}/reason": f"interval {i} wide"}
    synthetic.write(tmp_path, [*({**b, **synthetic.where(0)} for b in synthetic.benchmarks()), *lines])
    start = time.process_time()
    page.write(tmp_path)
    assert time.process_time() - start < 30
    assert len((tmp_path / "report.html").read_text(encoding="utf-8")) < 2_000_000


def test_no_torch_no_pyplot() -> None:
    code = (
        "import sys; import clip_align.report.page, clip_align.report.live_report, clip_align.report.compare; "
        "import clip_align.commands.report; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'matplotlib.pyplot', 'scipy.stats', 'wandb')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_same_record_gives_the_same_image(tmp_path: Path, synthetic: ModuleType) -> None:
    history = read(synthetic.run(tmp_path, last=300))
    first, second = (figures.image(panels(history), title="t", foot="f") for _ in range(2))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(first))), np.asarray(Image.open(io.BytesIO(second))))


@pytest.mark.parametrize("suffix", [".svg", ".pdf"])
def test_a_figure_for_print_is_the_same_each_time(tmp_path: Path, synthetic: ModuleType, suffix: str) -> None:
    history = read(synthetic.run(tmp_path, last=300))
    first, second = (figures.image(panels(history), title="a <b> & c", foot="f", suffix=suffix) for _ in range(2))
    assert first == second
    if suffix == ".pdf":
        assert first.startswith(b"%PDF")
        return
    root = ElementTree.fromstring(first)
    assert root.get("role") == "img"
    title, description = root[0], root[1]
    assert (title.tag.rpartition("}")[2], title.text) == ("title", "a <b> & c")
    assert str(description.text).startswith(
        "Zero-shot accuracy: Curves over samples seen; latest values: clean (world)"
    )


def test_marks_and_sentences_of_two_verdicts_in_a_panel_overlap_nothing(
    tmp_path: Path, synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    synthetic.write(tmp_path, synthetic.lines(chosen=synthetic.many()))
    marked = {
        "rise/low": 0.1,
        "fall/low": 0.01,
        "compared/earlier": [0, 0],
        "compared/later": [1440, 1500],
        "stretches": [{"first": 780, "last": 1320, "direction": "fell", "at_least": 0.01}],
        "sentence": "A sentence of a verdict that is rather long, with steps and bounds. " * 12,
    }
    keys = ("human/tid2013_remade/srocc", "human/kadid10k/srocc", "human/tid2013_remade/within_level_srocc")
    synthetic.write(tmp_path, [{**synthetic.verdicts()[0], **marked, "score": key} for key in keys])
    boxes = texts_of(panels(read(tmp_path)), "", monkeypatch)
    assert_apart(boxes)
    texts = [text for text, _, _ in boxes]
    for tag in (" (tid2013_remade)", " (kadid10k)", ""):
        assert f"windows compared{tag}" in texts
        assert f"range of the peak{tag}" in texts
    assert sum(text.startswith("A sentence") for text in texts) == len(keys)
    assert all(text.count("\n") < CAPTION_LINES for text in texts if text.startswith("A sentence"))
