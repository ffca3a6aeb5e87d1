# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import html
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from matplotlib.figure import Figure

from clip_align.record.record import Record, read
from clip_align.report import compare
from clip_align.report.draw import draw
from clip_align.report.overlay import mean_points
from clip_align.report.score_curves import Curve, Point
from clip_align.report.style import COLOURS, WIDE


@pytest.fixture
def folders(tmp_path: Path, synthetic: ModuleType) -> list[Path]:
    return [synthetic.run(tmp_path / "runs" / f"seed-{seed}", last=600, seed=seed) for seed in range(3)]


def test_runs_lie_on_top_of_each_other_in_the_same_panels(folders: list[Path]) -> None:
    built = compare.overlaid(compare.read_runs(folders))
    assert [p.name for p in built] == ["zero_shot", "human", "human", "texture", "noise", "training", "training"]
    assert [(c.run, c.behind) for c in built[1].curves] == [
        ("mean of 3 seeds", False),
        ("seed=0", True),
        ("seed=1", True),
        ("seed=2", True),
    ]
    assert {c.key for c in built[1].curves} == {"human/tid2013_remade/srocc"}
    assert "level alone" in {r.label for r in built[1].references}
    assert built[3].references == ()  # the chance of hits is not that of the bias
    assert built[0].note == "world · no human data · rendered shapes, not photographs · clean"


def test_another_version_of_a_benchmark_is_another_panel(tmp_path: Path, synthetic: ModuleType) -> None:
    newer = [{**b, "version": 2} for b in synthetic.benchmarks()[:1]]
    runs = [
        synthetic.run(tmp_path / "a", last=60, chosen=synthetic.benchmarks()[:1]),
        synthetic.run(tmp_path / "b", last=60, chosen=newer),
    ]
    built = compare.overlaid(compare.read_runs(runs))
    assert [p.note.rsplit(" · ", 1)[1] for p in built[:2]] == ["version 1", "version 2"]
    assert [[c.run for c in p.curves] for p in built] == [["a"], ["b"], ["a", "b"], ["a", "b"]]


def test_versions_of_a_benchmark_share_no_row(tmp_path: Path, synthetic: ModuleType) -> None:
    accuracy = synthetic.benchmarks()[:1]
    runs = [
        synthetic.run(tmp_path / name, last=60, chosen=[{**b, "version": version} for b in accuracy])
        for name, version in (("a", 1), ("b", 2), ("c", 1))
    ]
    rows = compare._score_table(compare.read_runs(runs))
    found = [(r["version"], [value != "–" for value, _ in r["cells"]]) for r in rows if r["label"] == "clean"]
    assert found == [(1, [True, False, True]), (2, [False, True, False])]
    compare.write(runs, tmp_path / "out")
    assert "zero_shot/world/accuracy, version 2" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_run_has_the_same_colour_in_every_panel(tmp_path: Path, synthetic: ModuleType) -> None:
    benchmarks = synthetic.benchmarks()
    runs = [
        synthetic.run(tmp_path / "a", last=60, chosen=benchmarks[:1]),
        synthetic.run(tmp_path / "b", last=60, chosen=benchmarks[:2]),
    ]
    accuracy, alignment, *_ = compare.overlaid(compare.read_runs(runs))
    colours = []
    for panel in (accuracy, alignment):
        axes = Figure().add_axes((0.1, 0.1, 0.5, 0.5))
        draw(axes, panel, "", WIDE, 1.0)
        colours.append([line.get_color() for line in axes.lines if len(line.get_xdata()) > 2])
    assert colours == [list(COLOURS[:2]), [COLOURS[1]]]


def test_runs_of_one_name_are_distinguished(tmp_path: Path, synthetic: ModuleType) -> None:
    runs = [synthetic.run(tmp_path / sweep / "0", last=0) for sweep in ("s", "t")]
    assert [(r.label, r.name) for r in compare.read_runs(runs)] == [("s/0", "s/0"), ("t/0", "t/0")]


def test_page_and_figure(tmp_path: Path, folders: list[Path]) -> None:
    (folders[0] / "report.html").write_text("")
    compare.write(folders, tmp_path / "out" / "here")
    text = (tmp_path / "out" / "here" / "report.html").read_text(encoding="utf-8")
    assert (tmp_path / "out" / "here" / "curves.png").exists()
    assert '<a href="../../runs/seed-0/report.html">seed=0</a>' in text
    assert "human/tid2013_remade/within_level_srocc" in text
    assert "at least three that differ in the seed alone" in text.replace("\n", " ")
    assert text.count("<script") == 1 + text.count('<script type="application/json">')


def test_links_to_runs_hold_whatever_their_folders_are_called(tmp_path: Path, synthetic: ModuleType) -> None:
    runs = [synthetic.run(tmp_path / name, last=0) for name in ("a", "50 % #1?")]
    (runs[1] / "report.html").write_text("")
    compare.write(runs, tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert 'href="../50%20%25%20%231%3F/report.html"' in text


def test_runs_that_share_no_benchmark(tmp_path: Path, synthetic: ModuleType) -> None:
    runs = [
        synthetic.run(tmp_path / "a", last=60, chosen=synthetic.benchmarks()[:1]),
        synthetic.run(tmp_path / "b", last=60, chosen=synthetic.benchmarks()[1:2]),
    ]
    compare.write(runs, tmp_path / "out")
    assert (tmp_path / "out" / "report.html").exists()


def test_a_sweep_is_shown_by_its_seeds_and_names_its_folders(tmp_path: Path, synthetic: ModuleType) -> None:
    runs = [synthetic.run(tmp_path / "sweep" / str(n), last=60, seed=n + 1) for n in range(2)]
    assert [r.label for r in compare.read_runs(runs)] == ["seed=1", "seed=2"]
    compare.write(runs, tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for n in range(2):
        assert f"<h3>seed={n + 1}" in text
        assert f"<dt>run</dt><dd>sweep/{n}</dd>" in text
        assert f"<th>seed={n + 1}</th>" in text


def test_reference_lines_of_a_comparison_have_no_runs_colour(tmp_path: Path, synthetic: ModuleType) -> None:
    runs = [synthetic.run(tmp_path / str(n), last=60, seed=n, chosen=synthetic.many()) for n in range(2)]
    built = compare.overlaid(compare.read_runs(runs))
    assert all((r.owner, r.tag) == ("", "") for panel in built for r in panel.references)
    assert {c.key for p in built for c in p.curves} >= {"human/kadid10k/srocc", "human/tid2013_remade/srocc"}


def points(*values: float | None, low: float = 0.0) -> Curve:
    found = [Point(10 * i, 640 * i, v, low, 1.0) for i, v in enumerate(values)]
    return Curve("human/a/srocc", "srocc", "headline", tuple(found))


def test_the_mean_over_seeds_has_the_interval_of_t() -> None:
    first, second, third = mean_points([points(0.1, 0.5, 0.3), points(0.2, None, 0.3), points(0.3, 0.5, 0.3)])
    assert (first.step, first.samples, first.value) == (0, 0, pytest.approx(0.2))
    half = 4.302653 * 0.1 / 3**0.5  # t(2), .975
    assert (first.low, first.high) == (pytest.approx(0.2 - half), pytest.approx(0.2 + half))
    assert (second.value, second.reason) == (None, "undefined in 1 of 3 runs")
    assert (third.low, third.value, third.high) == (pytest.approx(0.3),) * 3


def test_a_panel_without_a_value_in_any_run_says_so(tmp_path: Path, synthetic: ModuleType) -> None:
    runs = [synthetic.run(tmp_path / "s" / str(n), last=60, seed=n) for n in range(3)]
    empty = [p.title for p in compare.overlaid(compare.read_runs(runs)) if p.empty]
    assert empty == ["Texture bias", "Accuracy lost to noise"]
    compare.write(runs, tmp_path / "out")
    assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8").count(">undefined so far</text>") == 2


def test_two_seeds_have_a_mean_and_no_band_and_steps_that_one_lacks_are_left_out() -> None:
    found = list(mean_points([points(0.1, 0.5, 0.3), points(0.3, 0.7)]))
    assert [(p.step, p.value, p.low) for p in found] == [(0, pytest.approx(0.2), None), (10, pytest.approx(0.6), None)]


def test_groups_of_seeds_have_a_colour_each_and_a_lone_run_stands_out(tmp_path: Path, synthetic: ModuleType) -> None:
    runs = []
    for number, (schedule, seed) in enumerate((("constant", 1), ("constant", 2), ("cosine", 1), ("cosine", 2))):
        runs.append(synthetic.run(tmp_path / "sweep" / str(number), last=60, seed=seed))
        (runs[-1] / "config.yaml").write_text(f"optimizer: {{schedule: {schedule}}}\nseed: {seed}\n")
    alignment = compare.overlaid(compare.read_runs(runs))[1]
    assert [(c.run, c.place, c.behind) for c in alignment.curves] == [
        ("optimizer.schedule=constant, mean of 2 seeds", 0, False),
        ("optimizer.schedule=constant, seed=1", 0, True),
        ("optimizer.schedule=constant, seed=2", 0, True),
        ("optimizer.schedule=cosine, mean of 2 seeds", 1, False),
        ("optimizer.schedule=cosine, seed=1", 1, True),
        ("optimizer.schedule=cosine, seed=2", 1, True),
    ]
    lone = compare.overlaid(compare.read_runs(runs[1:]))[1]
    assert [(c.place, c.behind) for c in lone.curves] == [(0, False), (1, False), (1, True), (1, True)]


def _with_items(folder: Path, synthetic: ModuleType) -> None:
    """Items whose ranks rise and fall with training, at every step of the synthetic record."""
    items = np.random.default_rng(0)
    human, reference, level = items.normal(size=480), np.arange(480) % 12, np.arange(480) // 12 % 5
    own = items.normal(size=480)
    generator = np.random.default_rng(len(folder.name))
    record = Record(folder)
    for step in [line["global_step"] for line in read(folder).evaluations]:
        agreement = 0.4 + 0.5 * min(1, step / 300) - 0.3 * max(0, (step - 600) / 900)
        model = {"d": agreement * human + own + 0.1 * generator.normal(size=480)}
        ids = [str(n) for n in range(480)]
        record.write_items(
            "human/tid2013_remade", step, ids, {"reference": reference}, {"level": level}, human, model, 60
        )
    record.close("done")


def test_seeds_have_a_verdict_together(tmp_path: Path, synthetic: ModuleType) -> None:
    runs = [synthetic.run(tmp_path / f"s{seed}", chosen=synthetic.benchmarks()[1:2], seed=seed) for seed in range(3)]
    for run in runs:
        _with_items(run, synthetic)
    compare.write(runs, tmp_path / "out")
    text = html.unescape((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert "<h2>Over several seeds</h2>" in text
    assert "<b>all runs.</b> srocc, 3 seeds: rose, then declined. It rose by ." in text
    assert "within_level_srocc, 3 seeds: rose, then declined." in text
    compare.write(runs[:2], tmp_path / "two")
    assert "Over several seeds" not in (tmp_path / "two" / "report.html").read_text(encoding="utf-8")
