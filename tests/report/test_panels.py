# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from clip_align.record.record import History, read
from clip_align.report.figures import cells_of, numbered
from clip_align.report.panels import MOST_CURVES, Panel, panels
from clip_align.report.score_curves import Curve, Point, gaps_of, tags
from clip_align.report.score_variants import all_scores


@pytest.fixture
def history(tmp_path: Path, synthetic: ModuleType) -> History:
    return read(synthetic.run(tmp_path / "run"))


def test_panels_come_in_the_papers_order(history: History) -> None:
    assert [p.title for p in panels(history)] == [
        "Zero-shot accuracy",
        "Human alignment",
        "Human alignment: within level",
        "Texture bias",
        "Accuracy lost to noise",
        "Training loss",
        "Logit scale",
    ]


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


def test_every_panel_names_its_human_data_and_its_stand_in(history: History) -> None:
    built = panels(history)
    assert built[0].note == "world, world_noise · no human data · rendered shapes, not photographs"
    assert built[1].note == (
        "tid2013_remade · TID2013's mean opinion scores of its own images, values unmodified · the images: 16 of "
        "TID2013's 24 distortion types re-made on crops of the same Kodak photographs"
    )


def test_chance_that_not_all_curves_share_names_its_score(history: History) -> None:
    assert [r.label for r in of(history, "texture").references] == [
        "chance"
    ]  # of both hit rates, the only ones with one


def test_a_companion_with_a_verdict_has_a_panel_of_its_own_with_its_own_lines(history: History) -> None:
    within = panels(history)[2]
    assert [(c.name, c.leads) for c in within.curves] == [("within level", True)]
    assert {r.label: (r.value, r.owner) for r in within.references if r.kind == "baseline"} == {
        "SSIM": (0.276, within.curves[0].key),
        "PSNR-RGB": (-0.196, within.curves[0].key),
        "type alone": (0.665, within.curves[0].key),
    }
    assert [c.name for c in panels(history)[1].curves] == ["SROCC, all pairs"]


def test_a_headlines_variant_stays_in_its_panel(tmp_path: Path, synthetic: ModuleType) -> None:
    synthetic.write(tmp_path, synthetic.layered(synthetic.lines(60), "@raw"))
    pooled = panels(all_scores(read(tmp_path)))[1]
    assert [(c.key.rpartition("/")[2], c.leads) for c in pooled.curves] == [("srocc", True), ("srocc@raw", False)]


def test_another_form_of_a_companion_with_a_verdict_stands_in_its_panel(tmp_path: Path, synthetic: ModuleType) -> None:
    tid = synthetic.benchmarks()[1]
    wider = synthetic.score("within_level_srocc_two_way", "within level, other distortions too", "companion")
    history = read(synthetic.write(tmp_path, synthetic.lines(60, [{**tid, "scores": [wider, *tid["scores"]]}])))
    pooled, within, *_ = panels(history)
    assert [c.name for c in pooled.curves] == ["SROCC, all pairs"]
    assert within.title == "Human alignment: within level"
    assert [(c.name, c.leads) for c in within.curves] == [
        ("within level", True),
        ("within level, other distortions too", False),
    ]


def test_loss_and_logit_scale_are_small_panels_at_the_end(history: History) -> None:
    loss, scale = panels(history)[-2:]
    assert [(p.name, p.small, p.curves[0].key) for p in (loss, scale)] == [
        ("training", True, "train/loss"),
        ("training", True, "train/logit_scale"),
    ]
    assert {p.value for p in scale.curves[0].points} == {2.66}


def test_a_loss_that_never_had_a_value_has_no_panel(history: History) -> None:
    for line in history.train:
        line["train/loss"] = None
    assert [p.title for p in panels(history)][-2:] == ["Accuracy lost to noise", "Logit scale"]


def test_marks_are_those_of_the_last_verdict_about_a_curve_of_the_panel(history: History) -> None:
    assert [m.sentence.split(":")[0] for m in panels(history)[1].marks] == ["srocc"]
    assert [m.sentence.split(":")[0] for m in panels(history)[2].marks] == ["within_level_srocc"]
    history.verdicts.append({**history.verdicts[0], "sentence": "newer"})
    assert [m.sentence for m in panels(history)[1].marks] == ["newer"]
    history.verdicts.clear()
    assert panels(history)[1].marks == ()


def test_texture_is_drawn_from_the_second_defined_evaluation_on(history: History) -> None:
    texture = of(history, "texture")
    assert texture.curves[0].defined[0].step == 360
    held = [p for p in texture.curves[0].points if p.held]
    assert [p.step for p in held] == [300, 960]


def test_gaps_keep_the_reason_why_the_score_was_undefined(history: History) -> None:
    first, second = of(history, "texture").gaps
    assert (first.start, first.end) == (0, 360 * 128)
    assert first.reason == "0.23 of the decisions hit a cue, below .25"
    assert (second.start, second.end) == (840 * 128, 1020 * 128)


def test_upper_limit_of_the_relative_drop_follows_accuracy(history: History) -> None:
    noise = of(history, "noise")
    clean = history.evaluations[-1]["noise/world_noise/accuracy_clean"]
    assert noise.bounds[0].points[-1] == (1500 * 128, pytest.approx(1 - 0.0625 / clean))
    history.evaluations[-1]["noise/world_noise/relative_drop_limit"] = 0.5  # the benchmark's own value goes first
    assert of(history, "noise").bounds[0].points[-1][1] == 0.5


def test_an_outside_benchmark_gets_a_panel_of_its_own_or_joins_the_one_it_names(
    tmp_path: Path, synthetic: ModuleType
) -> None:
    own = synthetic.benchmark("saliency/gaze_maps", "", [synthetic.score("cc", "correlation")])
    joins = synthetic.benchmark("human/my_pairs", "alignment", [synthetic.score("srocc", "SROCC, all pairs")])
    built = panels(read(synthetic.run(tmp_path, chosen=[*synthetic.benchmarks(), own, joins])))
    names = ["zero_shot", "human", "human", "texture", "noise", "saliency", "training", "training"]
    assert [p.name for p in built] == names
    assert built[5].title == "Saliency"
    headlines = [c.name for c in built[1].curves if c.role == "headline"]
    assert headlines == ["SROCC, all pairs (tid2013_remade)", "SROCC, all pairs (my_pairs)"]


def test_each_benchmark_of_psychophysics_has_a_panel_with_its_own_lines(tmp_path: Path, synthetic: ModuleType) -> None:
    lines = {"contrast_sensitivity": "pixel RMSE", "spectral_sensitivity": "PSNR"}
    chosen = [
        synthetic.benchmark(f"human/{name}", "psychophysics", [synthetic.score("plcc", "PLCC", baselines={line: 0.3})])
        for name, line in lines.items()
    ]
    built = panels(read(synthetic.run(tmp_path, chosen=[*synthetic.benchmarks(), *chosen])))
    found = [p for p in built if p.name == "psychophysics"]
    assert [p.title for p in found] == ["Psychophysics: contrast sensitivity", "Psychophysics: spectral sensitivity"]
    for panel, (name, line) in zip(found, lines.items(), strict=True):
        assert [(c.key, c.tag) for c in panel.curves] == [(f"human/{name}/plcc", "")]
        assert [r.label for r in panel.references if r.label in lines.values()] == [line]


def test_a_run_without_benchmarks_shows_its_loss(tmp_path: Path, synthetic: ModuleType) -> None:
    built = panels(read(synthetic.run(tmp_path, chosen=[])))
    assert [(p.title, p.small) for p in built] == [("Training loss", False), ("Logit scale", False)]


def test_nothing_recorded_gives_no_panel(tmp_path: Path) -> None:
    assert panels(read(tmp_path)) == []


def test_a_gap_at_the_end_reaches_to_the_end() -> None:
    points = (Point(0, 0, 0.5), Point(1, 10, 0.5), Point(2, 20, None, reason="why"))
    (gap,) = gaps_of(Curve("a/b/c", "c", "headline", points))
    assert (gap.start, gap.end, gap.reason) == (10, 20, "why")


def of(history: History, name: str) -> Panel:
    return next(p for p in panels(all_scores(history)) if p.name == name)


def recorded(tmp_path: Path, synthetic: ModuleType, chosen: str, *suffixes: str) -> History:
    lines = synthetic.lines(chosen=getattr(synthetic, chosen)())
    return read(synthetic.write(tmp_path, synthetic.layered(lines, *suffixes)))


MANY_LAYERS = tuple(f"@layer_{n}" for n in range(24))


@pytest.mark.parametrize("chosen", ["benchmarks", "many", "six_families", "shipped"])
@pytest.mark.parametrize("suffixes", [(), ("@layer_6", "@ema", "@layer_6@ema"), MANY_LAYERS])
def test_every_score_and_every_headlines_lines_are_drawn_whatever_else_is_there(
    tmp_path: Path, synthetic: ModuleType, chosen: str, suffixes: tuple[str, ...]
) -> None:
    history = all_scores(recorded(tmp_path, synthetic, chosen, *suffixes))
    built = panels(history)
    shown = [(b, s) for b in history.benchmarks.values() for s in b["scores"] if s["role"] in ("headline", "companion")]
    curves = [c for p in built for c in p.curves if p.name != "training"]
    assert sorted(c.key for c in curves) == sorted(f"{b['key']}/{s['name']}" for b, s in shown)
    lines = [(r.label, r.value, key) for p in built for r in p.references for key in r.keys]
    for benchmark, score in shown:
        key = f"{benchmark['key']}/{score['name']}"
        if score["chance"] is not None:
            assert any(v == pytest.approx(score["chance"], abs=1e-6) and k == key for _, v, k in lines)
        leads = score["role"] == "headline" or score["has_verdict"]
        for levels in (score["ceilings"], score["baselines"]) if leads else ():
            for label, value in levels.items():
                assert label.endswith(" sd") or (label.replace("_", " "), value, key) in lines
    for panel in built:
        names = [c.name for c in panel.curves]
        assert len(set(names)) == len(names) <= MOST_CURVES
        owned = {(r.name, r.kind) for r in panel.references}
        assert len(owned) == len(panel.references)  # no two lines of a panel have the same name


def test_a_panel_per_family_in_the_papers_order(tmp_path: Path, synthetic: ModuleType) -> None:
    built = panels(recorded(tmp_path, synthetic, "six_families"))
    assert [p.title for p in built] == [
        "Zero-shot accuracy",
        "Human alignment",
        "Texture bias",
        "Accuracy lost to noise",
        "Similarity judgements",
        "Saliency",
        "Training loss",
        "Logit scale",
    ]


def test_accuracies_from_texture_alone_are_no_texture_bias(tmp_path: Path, synthetic: ModuleType) -> None:
    def titles(*names: str) -> list[str]:
        members = [synthetic.benchmark("texture/a", "texture", [synthetic.score(name, name) for name in names])]
        found = panels(read(synthetic.write(tmp_path, synthetic.lines(60, members))))
        return [p.title for p in found if p.name == "texture"]

    assert titles("kept_4", "accuracy_whole") == ["Texture and shape"]
    assert titles("accuracy_8", "texture_bias") == ["Texture bias"]


def test_records_of_former_panels_fall_into_families_and_a_benchmark_may_still_choose(
    tmp_path: Path, synthetic: ModuleType
) -> None:
    chosen = [
        synthetic.benchmark(key, panel, [synthetic.score("s", "score")])
        for key, panel in (
            ("human/a", "alignment"),  # as release 0.1 wrote them
            ("similarity/b", "alignment"),
            ("saliency/c", "alignment"),
            ("zero_shot/d", "accuracy"),
            ("similarity/e", "human"),  # chosen
            ("noise/f", "my_panel"),
        )
    ]
    built = panels(read(synthetic.write(tmp_path, synthetic.lines(60, chosen))))
    assert {p.name: [c.key for c in p.curves] for p in built if p.name != "training"} == {
        "zero_shot": ["zero_shot/d/s"],
        "human": ["human/a/s", "similarity/e/s"],
        "similarity": ["similarity/b/s"],
        "saliency": ["saliency/c/s"],
        "my_panel": ["noise/f/s"],
    }


def test_two_headlines_keep_their_own_lines_gaps_limits_and_peaks(tmp_path: Path, synthetic: ModuleType) -> None:
    tid, kadid = "human/tid2013_remade/srocc", "human/kadid10k/srocc"
    synthetic.write(tmp_path, synthetic.lines(chosen=synthetic.many()))
    verdict = synthetic.verdicts()[0]
    synthetic.write(
        tmp_path,
        [
            {**verdict, "fall/low": 0.0, "stretches": []},
            {**verdict, "score": kadid, "peak_from": 300, "peak_to": 900, "fall/low": 0.01},
        ],
    )
    history = read(tmp_path)
    alignment = of(history, "human")
    lines = {r.name: (r.value, r.owner) for r in alignment.references}
    assert lines["level alone (tid2013_remade)"] == (0.744, tid)
    assert lines["level alone (kadid10k)"] == (0.6, kadid)
    assert lines["rating noise (kadid10k)"] == (0.95, kadid)
    assert lines["chance"] == (0.0, "")  # of both: in no headline's colour
    assert {m.key: m.peak for m in alignment.marks} == {tid: None, kadid: (300, 900)}  # only where a fall is shown
    noise = of(history, "noise")
    assert [b.label for b in noise.bounds] == [
        "limit of relative, sigma .10 (world_noise)",
        "limit of relative, sigma .10 (cifar100)",
    ]
    assert {g.key for g in noise.gaps} == {f"noise/{n}/corrected_drop_10" for n in ("world_noise", "cifar100")}
    assert [r.name for r in of(history, "zero_shot").references if r.kind == "chance"] == [
        "chance: world, world_noise",
        "chance: cifar100",
    ]
    saliency = {r.name: r.owner for r in of(history, "saliency").references}
    assert saliency == {
        "chance": "",
        "centre bias (correlation)": "saliency/salicon/cc",
        "centre bias (NSS)": "saliency/salicon/nss",
    }


def test_scores_of_one_label_are_distinguished_by_as_much_of_their_key_as_is_needed() -> None:
    labels = [
        ("clean", "zero_shot/world/accuracy"),
        ("clean", "noise/world/accuracy_clean"),
        ("SROCC", "human/a/srocc"),
        ("bias", "texture/a/one"),
        ("bias", "texture/a/two"),
        ("x", "human/a/x"),
        ("x", "human/b/x"),
    ]
    assert tags(labels) == ["zero_shot/world", "noise/world", "", "texture/a/one", "texture/a/two", "a", "b"]


def test_variants_stand_behind_their_score_in_the_order_of_layers(tmp_path: Path, synthetic: ModuleType) -> None:
    history = all_scores(recorded(tmp_path, synthetic, "benchmarks", "@layer_10", "@layer_2", "@ema"))
    labels = [s["label"] for s in history.benchmarks["human/tid2013_remade"]["scores"]][:4]
    assert labels == [
        "SROCC, all pairs",
        "SROCC, all pairs, averaged weights (EMA)",
        "SROCC, all pairs, layer 2",
        "SROCC, all pairs, layer 10",
    ]


def test_what_others_report_is_said_below_the_panel_and_drawn_nowhere(tmp_path: Path, synthetic: ModuleType) -> None:
    context = {"context": {"CLIP, projection": 0.719, "level alone": 0.744}, "context_source": "other images (a paper)"}
    mine = synthetic.benchmark("human/mine", "human", [synthetic.score("srocc", "SROCC", **context)])
    alignment = panels(read(synthetic.write(tmp_path, synthetic.lines(60, [mine]))))[0]
    assert alignment.context == ("For comparison, other images (a paper): CLIP, projection .719; level alone .744.",)
    assert alignment.references == ()


def test_panels_are_numbered_by_family_and_lettered_within_it(history: History) -> None:
    assert [title.split()[0] for title in numbered(panels(history))] == ["1", "2a", "2b", "3", "4", "5a", "5b"]
    assert numbered([]) == []


def test_two_small_panels_that_follow_each_other_share_a_cell(history: History) -> None:
    built = panels(history)
    assert [len(cell) for cell in cells_of(built)] == [1, 1, 1, 1, 1, 2]
    assert [len(cell) for cell in cells_of([built[-1], built[0], built[-1]])] == [1, 1, 1]
