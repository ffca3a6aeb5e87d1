# SPDX-License-Identifier: Apache-2.0
"""human/tid2013_remade without a model: observers whose scores are known, and features without a score."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from clip_align.callbacks.human.tid2013_remade import TID2013Remade
from clip_align.errors import UserError
from clip_align.evaluation.features import Features
from clip_align.evaluation.items import Items
from clip_align.evaluation.model_info import ModelInfo
from clip_align.evaluation.observers import observed
from clip_align.evaluation.stimulus import View
from clip_align.metrics.correlation import srocc
from clip_align.metrics.estimate import Estimate
from clip_align.perception import photographs
from clip_align.perception.baselines import table
from clip_align.perception.distances import PairDifferences, differences
from clip_align.perception.observers import LEVEL_ALONE, SSIM, Measured
from clip_align.perception.tid2013_remade import pairs

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def callback() -> TID2013Remade:
    return TID2013Remade()


def seen(angle: NDArray[np.float64], tiles: int = 2) -> Features:
    """Features on the unit circle, every distorted image turned away from its reference by an angle [1920]."""
    all_ = np.concatenate([np.zeros(24), angle])
    plane = np.stack([np.cos(all_), np.sin(all_)], axis=1).astype(np.float32)  # [1944, 2]
    return compared(np.repeat(plane[:, None], tiles, axis=1))


def compared(images: NDArray[np.float32]) -> Features:
    """Features as an evaluation gives them, of embeddings [1944, V, D] of photographs and distorted ones."""
    references = images[pairs().reference - 1]
    nothing = np.zeros((0, 0), np.float32)
    return Features(np.zeros((0, 1, 0), np.float32), {}, nothing, differences(references, images[24:]))


def scored(callback: TID2013Remade, items: Items) -> dict[str, Estimate]:
    return {score.name: score.compute(items) for score in callback.scores}


def test_stimuli_are_24_photographs_and_1920_images_each_once(callback: TID2013Remade) -> None:
    stimuli = list(callback.stimuli())
    ids = [s.id for s in stimuli]
    assert len(ids) == len(set(ids)) == 24 + 1920
    assert ids[0] == "tid2013_remade/I01"
    assert "tid2013_remade/I01_08_3" in ids
    by_id = {s.id: s for s in stimuli}
    assert by_id["tid2013_remade/I07_08_3"].places == by_id["tid2013_remade/I07"].places == "tid2013_remade/I07"
    assert all(s.view is None for s in stimuli)
    made = pickle.loads(pickle.dumps(by_id["tid2013_remade/I07_16_3"])).load()
    assert (made == np.minimum(photographs.reference(7).astype(int) + 20, 255)).all()


def test_small_models_compare_the_levels_of_a_type_with_five_cuts_of_the_photograph() -> None:
    callback = TID2013Remade()
    callback.adapt(ModelInfo(image_size=32, layers=("projection",)))
    stimuli = {s.id: s for s in callback.stimuli()}
    references, others = zip(*callback.pairs(), strict=True)
    assert len(stimuli) == 24 * 5 + 1920
    assert set(stimuli) == {*references, *others}
    assert all(stimuli[a].places == stimuli[b].places for a, b in callback.pairs())
    of = pairs()
    cut = np.array([name.partition("/")[2][3:] for name in references])  # "" or "/1" to "/4"
    by_type = {(r, t): set(cut[(of.reference == r) & (of.type == t)]) for r in (1, 24) for t in np.unique(of.type)}
    assert all(len(found) == 5 for found in by_type.values())
    for level in range(1, 6):
        counts = np.unique(cut[of.level == level], return_counts=True)[1]
        assert set(counts.tolist()) == {3 * 24, 4 * 24}  # 16 types over 5 cuts


ANCHORS = {  # srocc and within-level srocc, measured by another implementation
    "level": (LEVEL_ALONE, 0.744, None),
    "psnr": (Measured(table()["psnr_rgb"], similarity=True), 0.650, -0.196),
    "ssim": (Measured(table()["ssim"], similarity=True), 0.633, 0.276),
}


@pytest.mark.parametrize("size", [32, 224])
def test_observers_see_whole_images_whatever_the_cuts(size: int) -> None:
    callback = TID2013Remade()
    callback.adapt(ModelInfo(image_size=size, layers=("projection",)))
    for observer, pooled, within in ANCHORS.values():
        estimates = observed(callback, observer).estimates
        assert estimates["srocc"].value == pytest.approx(pooled, abs=0.01)
        assert estimates["within_level_srocc"].value == (None if within is None else pytest.approx(within, abs=0.01))
    stimuli = {stimulus.id: stimulus for stimulus in callback.stimuli()}
    for row in (0, 77, 1500):
        reference, other = (stimuli[name].load() for name in callback.pairs()[row])
        assert (reference == photographs.reference(int(pairs().reference[row]))).all()
        assert SSIM.measure(reference, other) == pytest.approx(table()["ssim"][row], abs=2e-3)


@pytest.mark.parametrize(("size", "view"), [(224, None), (32, "squash")])
def test_models_that_see_whole_images_have_each_photograph_once(size: int, view: View | None) -> None:
    callback = TID2013Remade(view=view)
    callback.adapt(ModelInfo(image_size=size, layers=("projection",)))
    assert len(list(callback.stimuli())) == 24 + 1920


def test_an_oracle_has_score_one_and_its_opposite_minus_one(callback: TID2013Remade) -> None:
    opinion = pairs().opinion
    for sign in (1, -1):
        estimates = scored(callback, callback.items(seen((4.5 - sign * (opinion - 3.7)) / 8)))
        for name in ("srocc", "within_level_srocc", "krocc", "srocc_euclidean", "srocc_cosine"):
            assert estimates[name].value == pytest.approx(sign, abs=1e-3), name  # float32 features tie a few pairs
        assert estimates["content_srocc"].value == pytest.approx(sign, abs=0.05)


def test_known_answers_of_ssim_and_intervals(callback: TID2013Remade) -> None:
    items = callback.items(seen(1 - table()["ssim"]))
    estimates = scored(callback, items)
    assert estimates["srocc"].value == pytest.approx(0.633, abs=0.005)
    assert estimates["within_level_srocc"].value == pytest.approx(0.276, abs=0.005)
    assert estimates["level_shuffled"].value == pytest.approx(0.46, abs=0.015)
    assert items.notes["srocc_without_one_type_low"] == pytest.approx(0.610, abs=0.01)
    assert items.notes["srocc_without_one_type_high"] == pytest.approx(0.744, abs=0.01)
    assert items.notes["within_level_srocc_without_one_type_low"] == pytest.approx(0.183, abs=0.01)
    assert items.notes["within_level_srocc_without_one_type_high"] == pytest.approx(0.358, abs=0.01)
    assert items.notes["srocc_types_permuted_sd"] == pytest.approx(0.09, abs=0.01)
    assert items.notes["within_level_srocc_types_permuted_sd"] == pytest.approx(0.16, abs=0.01)
    narrow, wide = estimates["srocc"], estimates["srocc_two_way"]
    assert narrow.value == wide.value
    assert None not in (narrow.low, narrow.high, wide.low, wide.high)
    assert narrow.high - narrow.low == pytest.approx(0.06, abs=0.03)  # type: ignore[operator]
    assert wide.high - wide.low > 5 * (narrow.high - narrow.low)  # type: ignore[operator]


def test_tables_by_type_and_reference_and_the_logistic_fit(callback: TID2013Remade) -> None:
    estimates = observed(callback, Measured(table()["ssim"], similarity=True)).estimates
    by_type = [name for name in estimates if name.startswith("srocc_type_")]
    by_reference = [name for name in estimates if name.startswith("within_reference_srocc_reference_")]
    assert by_type == [f"srocc_type_{type}" for type in sorted(set(pairs().type.tolist()), key=str)]
    assert by_reference == [f"within_reference_srocc_reference_i{n:02d}" for n in photographs.NUMBERS]
    blur = pairs().type == 8
    assert estimates["srocc_type_8"].value == srocc(table()["ssim"][blur], pairs().opinion[blur])
    plain, fitted = estimates["plcc"].value, estimates["plcc_fitted"].value
    assert plain is not None
    assert fitted is not None
    assert fitted > plain


def test_an_observer_of_the_level_alone(callback: TID2013Remade) -> None:
    estimates = scored(callback, callback.items(seen(pairs().level / 10)))
    assert estimates["srocc"].value == pytest.approx(0.744, abs=0.005)
    assert estimates["level_shuffled"].value == pytest.approx(0.744, abs=0.005)
    assert estimates["within_level_srocc"].value is None
    assert estimates["within_level_srocc"].reason


def test_features_without_a_score_are_undefined_with_a_reason(callback: TID2013Remade) -> None:
    constant = seen(np.zeros(1920))
    angle = pairs().level / 10
    angle[100] = np.nan
    broken = seen(angle)
    for features, word in ((constant, "equal"), (broken, "not finite")):
        for name, estimate in scored(callback, callback.items(features)).items():
            assert estimate.value is None, name
            assert word in str(estimate.reason), name


def test_items_carry_ids_clusters_levels_and_all_distances(callback: TID2013Remade) -> None:
    items = callback.items(seen(pairs().opinion / 10))
    assert list(items.model) == ["normalised_euclidean", "euclidean", "cosine"]
    assert items.ids[0] == "tid2013_remade/I01_01_1"
    assert list(items.clusters) == ["reference", "type"]
    assert len(set(items.clusters["reference"].tolist())) == 24
    assert set(items.conditions["level"].tolist()) == {1, 2, 3, 4, 5}
    assert (items.human == pairs().opinion).all()
    assert items.notes["dropped_features"] == 0


def test_another_headline_distance() -> None:
    callback = TID2013Remade(distance="cosine", tiles=2)
    items = callback.items(seen(pairs().opinion / 10))
    assert next(iter(items.model)) == "cosine"
    assert callback.tiles == 2
    assert {"srocc", "srocc_normalised_euclidean", "srocc_euclidean"} < {s.name for s in callback.scores}


def test_scores_describe_themselves(callback: TID2013Remade) -> None:
    scores = {s.name: s for s in callback.scores}
    headline, within = scores["srocc"], scores["within_level_srocc"]
    assert (headline.role, headline.has_verdict) == ("headline", True)
    assert (within.role, within.has_verdict) == ("companion", True)
    named = ("level alone", "type alone", "SSIM", "PSNR (luminance)", "PSNR (RGB)")
    pooled_of, within_of = (0.744, 0.443, 0.633, 0.563, 0.651), (0.665, 0.275, 0.029, -0.193)
    assert headline.baselines == pytest.approx(dict(zip(named, pooled_of, strict=True)), abs=6e-4)
    assert within.baselines == pytest.approx(dict(zip(named[1:], within_of, strict=True)), abs=6e-4)  # no level alone
    ceilings = ("rating noise", "replication (TID2008)", "content-blind")
    assert headline.ceilings == dict(zip(ceilings, (0.992, 0.978, 0.930), strict=True))
    assert within.ceilings == dict(zip(ceilings, (0.977, 0.953, 0.785), strict=True))
    assert all(s.role == "detail" and not s.has_verdict for n, s in scores.items() if s not in (headline, within))
    assert all(s.direction and s.unit and s.chance == 0 for s in callback.scores)


def test_baselines_can_be_added_once_a_model_is_chosen() -> None:
    callback = TID2013Remade()
    callback.add_baselines({"srocc": {"untrained nets": 0.53, "untrained nets sd": 0.01}})
    scores = {s.name: s for s in callback.scores}
    assert scores["srocc"].baselines["untrained nets"] == 0.53
    assert scores["srocc"].baselines["SSIM"] == pytest.approx(0.633, abs=0.005)
    assert "untrained nets" not in scores["within_level_srocc"].baselines


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            {"distance": "manhattan"},
            "TID2013Remade.distance: 'manhattan' is not one of normalised_euclidean, euclidean, cosine",
        ),
        ({"tiles": 0}, "TID2013Remade.tiles: 0 is out of range; it must be at least 1"),
        ({"tiles": 2.5}, "TID2013Remade.tiles: 2.5 is not a whole number"),
    ],
)
def test_wrong_arguments_are_one_line(arguments: dict[str, object], line: str) -> None:
    with pytest.raises(UserError) as error:
        TID2013Remade(**arguments)  # type: ignore[arg-type]
    assert str(error.value) == line


def test_yaml_gives_the_class_its_defaults() -> None:
    text = (ROOT / "conf/callbacks/tid2013_remade.yaml").read_text()
    (arguments,) = yaml.safe_load(text).values()
    assert arguments.pop("_target_") == f"{TID2013Remade.__module__}.{TID2013Remade.__name__}"
    assert arguments.pop("every_n_steps") == "${evaluation.every_n_steps}"
    assert arguments == {"distance": "normalised_euclidean", "tiles": 4}
    keys: Callable[[str], bool] = lambda line: line.startswith("  ") and "_target_" not in line  # noqa: E731
    assert all("#" in line for line in text.splitlines() if keys(line))


def test_the_divisor_is_taken_once_and_dead_features_are_counted(callback: TID2013Remade) -> None:
    angle = np.concatenate([np.zeros(24), pairs().opinion / 10]).astype(np.float32)
    features = compared(np.stack([angle, np.ones_like(angle)], axis=1)[:, None])
    assert callback.items(features).notes["dropped_features"] == 1
    assert isinstance(features.pairs, PairDifferences)
    assert features.pairs.divisor is features.pairs.divisor


def test_pairs_are_each_photograph_with_its_80_images(callback: TID2013Remade) -> None:
    declared = callback.pairs()
    assert len(declared) == len(set(declared)) == 1920
    assert declared[0] == ("tid2013_remade/I01", "tid2013_remade/I01_01_1")
    assert all(other.startswith(f"{reference}_") for reference, other in declared)
    assert [other for _, other in declared] == list(callback.items(seen(pairs().opinion / 10)).ids)
