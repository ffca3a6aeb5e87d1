# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from clip_align.record.record import History, read
from clip_align.report.panels import Peak, panels
from clip_align.report.score_curves import Curve, Point, gaps_of


@pytest.fixture
def history(tmp_path: Path, synthetic: ModuleType) -> History:
    return read(synthetic.run(tmp_path / "run"))


def test_panels_come_in_the_papers_order(history: History) -> None:
    assert [p.name for p in panels(history)] == ["zero_shot", "human", "texture", "noise"]


def test_clean_and_noisy_accuracy_share_a_panel_and_nothing_is_left_out(history: History) -> None:
    accuracy = panels(history)[0]
    assert [c.name for c in accuracy.curves] == [
        "clean (world)",
        "random textures",
        "clean (world_noise)",
        "noisy, sigma .10",
    ]
    assert {r.label: r.kind for r in accuracy.references} == {
        "chance": "chance",
        "nearest neighbour in pixels": "baseline",
    }


def test_reference_lines_are_those_of_the_headline(history: History) -> None:
    lines = {r.label: r for r in panels(history)[1].references}
    assert lines["level alone"].value == 0.744
    assert lines["untrained"].spread == 0.012
    assert "untrained sd" not in lines
    assert [r for r in lines if lines[r].kind == "ceiling"] == ["rating noise", "replication TID2008", "content-blind"]


def test_every_panel_says_what_is_human_data_and_what_a_stand_in(history: History) -> None:
    built = panels(history)
    assert built[0].note == "world, world_noise · no human data · rendered shapes, not photographs"
    assert built[1].note == (
        "tid2013_remade · TID2013's mean opinion scores of its own images, values unmodified · the images: 16 of "
        "TID2013's 24 distortion types re-made on crops of the same Kodak photographs"
    )


def test_chance_that_not_all_curves_share_names_its_score(history: History) -> None:
    assert [r.label for r in panels(history)[2].references] == ["chance"]  # of both hit rates, the only ones with one


def test_peak_is_drawn_only_with_a_verdict(history: History) -> None:
    assert panels(history)[1].peaks == (Peak("human/tid2013_remade/srocc", 480 * 128, 780 * 128),)
    history.verdicts.clear()
    assert panels(history)[1].peaks == ()


def test_texture_is_drawn_from_the_second_defined_evaluation_on(history: History) -> None:
    texture = panels(history)[2]
    assert texture.curves[0].defined[0].step == 360
    held = [p for p in texture.curves[0].points if p.held]
    assert [p.step for p in held] == [300, 960]


def test_gaps_keep_the_reason_why_the_score_was_undefined(history: History) -> None:
    first, second = panels(history)[2].gaps
    assert (first.start, first.end) == (0, 360 * 128)
    assert first.reason == "0.23 of the decisions hit a cue, below .25"
    assert (second.start, second.end) == (840 * 128, 1020 * 128)


def test_upper_limit_of_the_relative_drop_follows_accuracy(history: History) -> None:
    noise = panels(history)[3]
    clean = history.evaluations[-1]["noise/world_noise/accuracy_clean"]
    assert noise.bounds[0].points[-1] == (1500 * 128, pytest.approx(1 - 0.0625 / clean))
    history.evaluations[-1]["noise/world_noise/relative_drop_limit"] = 0.5  # the benchmark's own value goes first
    assert panels(history)[3].bounds[0].points[-1][1] == 0.5


def test_an_outside_benchmark_gets_a_panel_of_its_own_or_joins_the_one_it_names(
    tmp_path: Path, synthetic: ModuleType
) -> None:
    own = synthetic.benchmark("saliency/gaze_maps", "", [synthetic.score("cc", "correlation")])
    joins = synthetic.benchmark("human/my_pairs", "alignment", [synthetic.score("srocc", "SROCC, all pairs")])
    built = panels(read(synthetic.run(tmp_path, chosen=[*synthetic.benchmarks(), own, joins])))
    assert [p.name for p in built] == ["zero_shot", "human", "texture", "noise", "saliency"]
    assert built[-1].title == "Saliency"
    headlines = [c.name for c in built[1].curves if c.role == "headline"]
    assert headlines == ["SROCC, all pairs (tid2013_remade)", "SROCC, all pairs (my_pairs)"]


def test_a_run_without_benchmarks_shows_its_loss(tmp_path: Path, synthetic: ModuleType) -> None:
    built = panels(read(synthetic.run(tmp_path, chosen=[])))
    assert [p.name for p in built] == ["loss"]


def test_nothing_recorded_gives_no_panel(tmp_path: Path) -> None:
    assert panels(read(tmp_path)) == []


def test_a_gap_at_the_end_reaches_to_the_end() -> None:
    points = (Point(0, 0, 0.5), Point(1, 10, 0.5), Point(2, 20, None, reason="why"))
    (gap,) = gaps_of(Curve("a/b/c", "c", "headline", points))
    assert (gap.start, gap.end, gap.reason) == (10, 20, "why")
