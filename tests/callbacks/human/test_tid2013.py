# SPDX-License-Identifier: Apache-2.0
"""human/tid2013 on a tree as its authors distribute it, and on the database's own scores."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import quality_trees
import torch
from numpy.typing import NDArray

from clip_align.callbacks.human.tid2013 import SUBSETS, TID2013, Subset
from clip_align.errors import UserError
from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.evaluation.observers import observed
from clip_align.evaluation.scoring import BenchmarkResult
from clip_align.metrics.correlation import krocc, srocc
from clip_align.perception.observers import Measured
from clip_align.testing.stubs import StubModel, Words, evaluated, evaluated_model


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quality_trees.tid(tmp_path_factory.mktemp("tid") / "tid2013", types=24, levels=5)


@pytest.fixture(scope="module")
def two(tree: Path) -> TID2013:
    return TID2013(str(tree), references=2)


@pytest.fixture(scope="module")
def scores(shared_data: Path) -> NDArray[Any]:
    """The database's own opinions: reference, type, level, mean, standard error."""
    with (shared_data / "opinion_scores" / "tid2013.csv").open(newline="") as file:
        return np.array([[float(v) for v in row] for row in list(csv.reader(file))[1:]])


@pytest.fixture(scope="module")
def whole(scores: NDArray[Any], tmp_path_factory: pytest.TempPathFactory) -> TID2013:
    """All 3,000 pairs with the database's own opinions; image files are empty."""
    folder = tmp_path_factory.mktemp("whole")
    own = {(int(r), int(t), int(level)): mos for r, t, level, mos, _ in scores}
    quality_trees.tid(folder, 24, 5, quality_trees.EVERY, own, empty=True)
    return TID2013(str(folder))


def judged(callback: TID2013, distances: NDArray[np.float64]) -> BenchmarkResult:
    return observed(callback, Measured(distances))


def test_pairs_are_joined_by_name_whatever_its_case(two: TID2013) -> None:
    assert len(two.rated) == 2 * 24 * 5
    names = [(p.reference.name, p.distorted.name, p.type, p.level, p.cluster) for p in two.rated]
    assert names[0] == ("I01.BMP", "i01_01_1.BMP", "01 additive Gaussian noise", 1, "I01")
    assert names[-1] == ("i25.bmp", "i25_24_5.bmp", "24 sparse sampling and reconstruction", 5, "I25")
    expected = [quality_trees.made_up((r, t, level)) for r in (1, 25) for t in range(1, 25) for level in range(1, 6)]
    assert [p.opinion for p in two.rated] == expected


def test_a_perfect_metric_its_negation_and_a_constant_one(two: TID2013) -> None:
    quality_trees.check_orientation(two)


def test_the_order_of_the_list_does_not_matter(tree: Path, two: TID2013, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "copy")
    path = tmp_path / "copy" / "mos_with_names.txt"
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(reversed(path.read_bytes().split(b"\r\n"))))
    again = TID2013(str(tmp_path / "copy"), references=2)
    assert [(p.distorted.name, p.opinion) for p in again.rated] == [(p.distorted.name, p.opinion) for p in two.rated]


def test_subsets_have_the_authors_types(tree: Path) -> None:
    counts = {name: len(TID2013(str(tree), subset=name, references=2).rated) for name in SUBSETS}
    assert counts == {
        "full": 240,
        "noise": 110,
        "actual": 110,
        "simple": 30,
        "exotic": 90,
        "new": 70,
        "color": 60,
    }
    actual = {int(p.type[:2]) for p in TID2013(str(tree), subset="actual", references=2).rated}
    assert {10, 11} <= actual  # another public script leaves them out
    color = {int(p.type[:2]) for p in TID2013(str(tree), subset="color", references=2).rated}
    assert 22 in color
    assert 24 not in color


# FSIMc by subset, SROCC and KROCC: Ponomarenko et al. 2015, tables 4 and 5
FSIMC = {
    "noise": (0.9022, 0.7231),
    "actual": (0.9149, 0.7427),
    "simple": (0.9472, 0.7929),
    "exotic": (0.8407, 0.6519),
    "new": (0.7878, 0.6120),
    "color": (0.7752, 0.5925),
    "full": (0.8510, 0.6669),
}


@pytest.mark.parametrize("subset", SUBSETS)
def test_subsets_give_the_correlations_that_the_authors_print(subset: Subset, shared_data: Path) -> None:
    """With another implementation's values of the same metric, to the third digit; other sets of types are far off."""
    types = SUBSETS[subset] or range(1, 25)
    with (shared_data / "zsiqa" / "tid2013.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if int(row["distorted"][4:6]) in types]
    metric, opinion = ([-float(row[column]) for row in rows] for column in ("fsim", "mos"))  # both: higher = worse
    assert (srocc(metric, opinion), krocc(metric, opinion)) == pytest.approx(FSIMC[subset], abs=7e-4)


def test_known_answers_of_the_whole_database(whole: TID2013, shared_data: Path) -> None:
    """Scores of real metrics and CLIPs, published per image, by our definitions."""
    assert len(whole.rated) == 3000
    with (shared_data / "zsiqa" / "tid2013.csv").open(newline="") as file:
        rows = {row["distorted"].lower(): row for row in csv.DictReader(file)}
    known = {
        "fsim": 0.8509, "lpips": 0.7687, "clip_vitb32_l2": 0.7933, "clip_vitb32_cos": 0.7579,
        "embed_clip_vitb32_cos": 0.6926, "embed_openclip_convnext_laion_tecoa4_cos": 0.2753,
    }  # fmt: skip
    for method, expected in known.items():
        values = np.array([float(rows[p.distorted.name.lower()][method]) for p in whole.rated])
        assert srocc(-values, [p.opinion for p in whole.rated]) == pytest.approx(expected, abs=5e-5), method
    psnr = -np.array([float(rows[p.distorted.name.lower()]["psnr"]) for p in whole.rated])
    estimates = judged(whole, psnr).estimates
    baselines = {score.name: score.baselines for score in whole.scores}
    for name in ("srocc", "krocc"):  # the published anchors, from the published PSNR of each image
        assert estimates[name].value == pytest.approx(baselines[name]["PSNR (RGB)"], abs=5e-5)
    assert estimates["plcc"].value == pytest.approx(0.6601, abs=5e-4)
    fsim = np.array([float(rows[p.distorted.name.lower()]["fsim"]) for p in whole.rated])
    assert judged(whole, fsim).estimates["plcc_fitted"].value == pytest.approx(0.877, abs=1e-3)


def test_level_alone_and_ceilings_are_the_measured_ones(whole: TID2013, scores: NDArray[Any]) -> None:
    headline = whole.scores[0]
    assert headline.baselines["level alone"] == pytest.approx(0.7063, abs=5e-5)
    assert headline.ceilings["content-blind"] < 0.9416
    noise = np.random.default_rng(0).normal(size=(20, 3000)) * scores[:, 4]
    disturbed = np.mean([srocc(scores[:, 3] + row, scores[:, 3]) for row in noise])
    assert headline.ceilings["rating noise"] == pytest.approx(disturbed, abs=1e-3)


def test_reference_values_are_those_of_the_whole_database_only(tree: Path, two: TID2013, whole: TID2013) -> None:
    assert set(whole.scores[0].baselines) == {"PSNR (RGB)", "type alone", "level alone"}
    assert whole.scores[0].context["CLIP ViT-B/32, projection"] == 0.735
    for part in (two, TID2013(str(tree), subset="noise", references=2)):
        assert set(part.scores[0].baselines) == {"type alone", "level alone"}
        assert not part.scores[0].context


def test_scores_have_the_right_units_and_roles(two: TID2013) -> None:
    scores = {score.name: score for score in two.scores}
    assert scores["srocc"].unit == "2 references (new images, these distortions), jackknife, t(1)"
    assert (scores["srocc"].role, scores["srocc"].has_verdict, scores["srocc"].by) == ("headline", True, "type")
    assert scores["within_level_srocc"].role == "companion"
    assert scores["within_reference_srocc"].by == "reference"
    assert [name for name, score in scores.items() if score.has_verdict] == ["srocc"]


def test_an_event_has_tables_by_type_and_by_reference(two: TID2013, tmp_path: Path) -> None:
    fields = evaluated([TID2013(str(two.folder), references=2)], evaluated_model(), tmp_path)
    assert isinstance(fields["human/tid2013/srocc_type_15_local_block_wise_distortions"], float)
    assert isinstance(fields["human/tid2013/within_reference_srocc_reference_i25"], float)
    assert fields["human/tid2013/identical_pairs"] == 0


def test_protocols_are_presets_that_other_arguments_replace(tree: Path) -> None:
    def options(**arguments: Any) -> tuple[Any, ...]:
        of = TID2013(str(tree), references=2, **arguments).options
        return tuple(of[name] for name in ("distance", "view", "layers", "tokens"))

    assert options() == ("normalised_euclidean", None, ["projection"], "all")
    assert options(protocol="vit_alignment") == ("cosine", "resize_crop", ["projection", "all"], "all")
    assert options(protocol="visturing") == ("euclidean", "squash", ["projection", "all"], "class")
    own = options(protocol="visturing", layers=[3], view="resize_crop", distance="cosine")
    assert own == ("cosine", "resize_crop", [3], "class")


def tower() -> EvaluatedModel:
    """A transformer of two blocks on 16 patches and a class token."""
    from open_clip.model import CLIP

    vision = {"image_size": 16, "patch_size": 4, "layers": 2, "width": 32, "head_width": 16}
    text = {"context_length": 4, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}
    torch.manual_seed(0)
    return EvaluatedModel(CLIP(12, vision, text), 16, (0.5,) * 3, (0.25,) * 3, Words())


def test_protocols_read_the_layers_that_they_stand_for(tree: Path, tmp_path: Path) -> None:
    model = tower()
    common: dict[str, Any] = {"subset": "simple", "references": 2}
    every = {"layers": ["projection", "all"]}
    same: dict[str, dict[str, Any]] = {
        "clip_alignment": {"distance": "normalised_euclidean"},
        "vit_alignment": {"distance": "cosine", "view": "resize_crop", **every},
        "visturing": {"distance": "euclidean", "view": "squash", "tokens": "class", **every},
    }
    values = {}
    for name, arguments in same.items():
        fields = evaluated([TID2013(str(tree), protocol=name, **common)], model, tmp_path / name)
        assert evaluated([TID2013(str(tree), **common, **arguments)], model, tmp_path / name) == fields
        suffixes = [""] if name == "clip_alignment" else ["", "@layer_0", "@layer_1", "@layer_2"]
        keys = [f"human/tid2013/srocc{suffix}" for suffix in suffixes]
        parts = [key.removeprefix("human/tid2013/") for key in fields]
        assert [part for part in parts if part.partition("@")[0] == "srocc" and "/" not in part] == [
            f"srocc{suffix}" for suffix in suffixes
        ]
        values[name] = [fields[key] for key in keys]
    assert all(isinstance(value, float) for value in [*values["clip_alignment"], *values["vit_alignment"]])
    # below the first block the class token has seen nothing of the image
    assert values["visturing"][1] is None
    assert isinstance(values["visturing"][3], float)
    assert values["visturing"][3] != values["vit_alignment"][3]


def test_a_protocol_without_what_the_model_lacks_is_null_with_a_reason(tree: Path, tmp_path: Path) -> None:
    callback = TID2013(str(tree), references=2, protocol="vit_alignment", subset="simple")
    fields = evaluated([callback], evaluated_model(StubModel()), tmp_path)
    assert fields["human/tid2013/srocc"] is None
    assert "layers" in fields["human/tid2013/srocc/reason"]


DAMAGES = {
    "missing": "{root}/distorted_images lacks i01_08_3.bmp of 240 images; unpack the database again",
    "twice": "{root}/distorted_images has I01_08_3.BMP and i01_08_3.bmp, which differ in case only; remove one",
    "short": "{root}/mos_with_names.txt lacks i25_24_5.bmp; valid: the 3,000 images of the database, each once",
    "comma": "{root}/mos_with_names.txt, line 1: '4,3' is no opinion; valid: a number from 0 to 9, written with a "
    "point",
    "range": "{root}/mos_with_names.txt, line 1: '12.5' is no opinion; valid: a number from 0 to 9, written with a "
    "point",
    "form": "{root}/mos_with_names.txt, line 1: '4.3 I01_1_1.bmp' is no opinion and name; valid: 5.51429 i01_01_1.bmp",
    "again": "{root}/mos_with_names.txt has twice i01_01_2.bmp; valid: the 3,000 images of the database, each once",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_data_are_refused_in_one_line(tree: Path, tmp_path: Path, damage: str) -> None:
    root = tmp_path / "copy"
    shutil.copytree(tree, root)
    listed = root / "mos_with_names.txt"
    lines = listed.read_bytes().decode().splitlines()
    if damage == "missing":
        (root / "distorted_images" / "i01_08_3.bmp").unlink()
    elif damage == "twice":
        shutil.copy(root / "distorted_images" / "i01_08_3.bmp", root / "distorted_images" / "I01_08_3.BMP")
    elif damage == "short":
        lines.remove(next(line for line in lines if line.endswith("i25_24_5.bmp")))
    elif damage == "again":
        lines.append(lines[1])
    else:
        name = "I01_1_1.bmp" if damage == "form" else "I01_01_1.bmp"
        lines[0] = f"{ {'comma': '4,3', 'range': '12.5'}.get(damage, '4.3') } {name}"
    listed.write_text("\r\n".join(lines), newline="")
    with pytest.raises(UserError) as refused:
        TID2013(str(root), references=2)
    assert str(refused.value) == f"human/tid2013: {DAMAGES[damage].format(root=root)}"


def test_no_database_is_refused_with_the_tree_and_the_source(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        TID2013(str(tmp_path / "tid2013"))
    assert str(refused.value) == (
        f"human/tid2013: no such folder: {tmp_path / 'tid2013'}; expected below it: reference_images/i01.bmp, "
        "reference_images/i25.bmp, distorted_images/i01_01_1.bmp, distorted_images/i25_01_1.bmp, mos_with_names.txt. "
        "TID2013 (908 MB) is at http://www.ponomarenko.info/tid2013.htm (tid2013.rar); unpack it there, or name its "
        "folder with callbacks.tid2013.root=…"
    )
