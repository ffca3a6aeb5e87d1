# SPDX-License-Identifier: Apache-2.0
"""The common part of the saliency benchmarks: perfect and constant maps, views, layers, models of each kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import miniature_saliency
import numpy as np
import pytest
import stubs
import torch
from open_clip.model import CLIP

from clip_align.callbacks.base import Features, Items
from clip_align.callbacks.common.fixation_maps import FixationMaps
from clip_align.callbacks.saliency.fixations_csv import FixationsCsv
from clip_align.errors import UserError
from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.evaluation.model_info import model_info
from clip_align.metrics import saliency
from clip_align.metrics.estimate import Estimate
from clip_align.models.tiny import build_tiny

TEXT = {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return miniature_saliency.fixations_csv(tmp_path_factory.mktemp("saliency") / "csv")


def made(folder: Path, **options: Any) -> FixationsCsv:
    return FixationsCsv(csv=str(folder / "fixations.csv"), sigma_px=4, **options)


def under_test(kind: str = "tiny", size: int = 32) -> EvaluatedModel:
    torch.manual_seed(0)
    model: Any
    if kind == "tiny":
        model = build_tiny(16, size, 64, 8)
    elif kind == "transformer":
        vision: dict[str, Any] = {"layers": 2, "width": 32, "head_width": 16, "image_size": size, "patch_size": 8}
        model = CLIP(embed_dim=16, vision_cfg=vision, text_cfg=TEXT)
    else:
        vision = {"layers": (1, 1, 1, 1), "width": 8, "head_width": 8, "image_size": size, "patch_size": None}
        model = CLIP(embed_dim=16, vision_cfg=vision, text_cfg=TEXT)
    return EvaluatedModel(model.eval(), size, (0.5,) * 3, (0.25,) * 3)


def seen(callback: FixationMaps, maps: Any) -> Items:
    """Items of the maps [N, h, w]."""
    stack = np.asarray(maps, dtype=np.float32)
    rows = {stimulus.id: number for number, stimulus in enumerate(callback.stimuli())}
    nothing = np.zeros((0, 0), np.float32)
    return callback.items(Features(stack.reshape(len(stack), 1, -1), rows, nothing, shape=stack.shape[1:]))


def scored(callback: FixationMaps, items: Items) -> dict[str, Estimate]:
    return {score.name: score.compute(items) for score in callback.scores}


def densities(callback: FixationMaps) -> list[Any]:
    return [saliency.fixation_density(looked.counts(), looked.sigma, callback.outside) for looked in callback.looked]


def test_the_density_itself_is_perfect_and_its_negation_the_opposite(folder: Path) -> None:
    callback = made(folder)
    perfect = scored(callback, seen(callback, densities(callback)))
    values = {name: estimate.value for name, estimate in perfect.items()}
    assert values["cc"] == pytest.approx(1, abs=1e-6)
    assert values["sim"] == pytest.approx(1, abs=1e-6)
    assert values["kl"] == pytest.approx(0, abs=1e-6)
    opposite = scored(callback, seen(callback, [-density for density in densities(callback)]))
    assert opposite["cc"].value == pytest.approx(-1, abs=1e-6)
    assert opposite["nss"].value == pytest.approx(-(values["nss"] or 0), abs=1e-6)
    assert opposite["auc_judd"].value == pytest.approx(1 - (values["auc_judd"] or 0), abs=1e-6)
    assert all(e.low is not None and e.high is not None for e in {**perfect, **opposite}.values())


@pytest.mark.parametrize("level", [0.0, 0.3, np.nan])
def test_a_map_that_is_constant_on_one_image_makes_every_score_null(folder: Path, level: float) -> None:
    callback = made(folder)
    maps = densities(callback)
    maps[2] = np.full_like(maps[2], level)
    for estimate in scored(callback, seen(callback, maps)).values() if level == level else ():
        assert estimate.value is None
    items = seen(callback, maps)
    assert items.reason == "the maps of 1 of 6 images are constant or not finite"
    assert np.isnan(items.model["cc"][2])


def test_items_are_images_with_the_first_viewers_agreement_as_human_value(folder: Path) -> None:
    callback = made(folder)
    items = seen(callback, densities(callback))
    assert items.ids == tuple(f"{i}.png" for i in range(6))
    assert ((items.human > 0.2) & (items.human < 1)).all()
    assert set(items.conditions["fixations"]) == {20}
    unknown = made(folder, viewer=None)
    assert np.isnan(seen(unknown, densities(unknown)).human).all()


def test_a_smaller_map_is_enlarged_smoothly_to_the_whole_image(folder: Path) -> None:
    """A map of 2 x 2 with the right side larger: the score is that of a ramp over the whole width."""
    callback = made(folder)
    right = scored(callback, seen(callback, [[[0, 1], [0, 1]]] * 6))
    left = scored(callback, seen(callback, [[[1, 0], [1, 0]]] * 6))
    assert right["cc"].value == pytest.approx(-(left["cc"].value or 0), abs=1e-6)
    assert right["nss"].value != 0


def test_with_resize_crop_fixations_outside_the_middle_are_left_out_and_counted(folder: Path) -> None:
    callback, whole = made(folder, view="resize_crop"), made(folder)
    for each in (callback, whole):
        assert each.adapt(model_info(under_test())) is None
    assert {looked.shape for looked in whole.looked} == {(60, 80)}
    # 80 x 60 px: resized to 42 x 32, of which the middle 32 are kept; in pixels of the image 10 to 70
    assert {looked.box for looked in callback.looked} == {(0, 10, 60, 70)}
    for part, all_ in zip(callback.looked, whole.looked, strict=True):
        inside = (all_.x >= 10) & (all_.x < 70)
        assert np.array_equal(part.x, all_.x[inside] - 10)
    kept, every = (sum(len(looked.x) for looked in each.looked) for each in (callback, whole))
    assert 0 < kept < every
    assert seen(callback, densities(callback)).notes["fixations_unseen"] == every - kept


def test_images_of_which_no_fixation_is_in_the_middle_are_left_out_and_their_fixations_counted(folder: Path) -> None:
    text = "image,viewer,x,y\n0.png,a,40,30\n0.png,b,41,30\n1.png,a,2,30\n1.png,b,3,30\n1.png,b,78,30\n"
    (folder / "edge.csv").write_text(text, encoding="utf-8")
    callback = FixationsCsv(csv=str(folder / "edge.csv"), sigma_px=4, view="resize_crop")
    assert callback.adapt(model_info(under_test())) is None
    assert [callback.images[looked.index].path.name for looked in callback.looked] == ["0.png"]
    assert seen(callback, densities(callback)).notes["fixations_unseen"] == 3
    (folder / "edge.csv").write_text("image,viewer,x,y\n1.png,a,2,30\n", encoding="utf-8")
    callback = FixationsCsv(csv=str(folder / "edge.csv"), sigma_px=4, view="resize_crop")
    assert callback.adapt(model_info(under_test())) == (
        "no fixation is in the middle of an image, which is all that view=resize_crop shows; squash shows all"
    )


def test_baselines_are_those_of_the_images(folder: Path) -> None:
    callback = made(folder)
    assert callback.adapt(model_info(under_test())) is None
    of = {score.name: score.baselines for score in callback.scores}
    centre = scored(callback, seen(callback, [saliency.centre_gaussian(60, 80)] * 6))
    for name, estimate in centre.items():
        # a model's maps are float32, in which some pixels are equal that are not in float64
        assert of[name]["centre bias"] == pytest.approx(estimate.value, abs=1e-4)
    assert of["auc_judd"]["uniform"] == 0.5
    assert "uniform" not in of["cc"]
    assert of["information_gain"]["centre bias"] == 0
    assert set(of["cc"]) == {"centre bias", "one viewer"}
    assert set(of["kl"]) == {"centre bias", "uniform"}
    alone = made(folder, viewer=None)
    alone.adapt(model_info(under_test()))
    assert set(alone.scores[0].baselines) == {"centre bias"}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("tiny", {"layers": ["projection", 1]}),
        ("resnet", {}),
        ("transformer", {"layers": "all", "auc": "mit"}),
        ("transformer", {"maps": "attention_rollout", "layers": "all"}),
        ("transformer", {"maps": "attention_rollout_mean", "layers": ["projection", 2]}),
    ],
)
def test_models_of_each_kind(folder: Path, tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    # a stage of the ResNet of 32 px has a single place
    fields = stubs.evaluated([made(folder, **options)], under_test(kind, 64 if kind == "resnet" else 32), tmp_path)
    values = {name.removeprefix("saliency/fixations_csv/"): value for name, value in fields.items()}
    suffixes = {
        "all": ["@layer_1", "@layer_2"] + (["@layer_0"] if "maps" not in options else []),
        "('projection', 1)": ["", "@layer_1"],
        "('projection', 2)": ["", "@layer_2"],
        "None": [""],
    }
    layers = options.get("layers")
    expected = suffixes["all" if layers == "all" else str(tuple(layers) if layers else None)]
    for suffix in expected:
        for name in ("cc", "nss", "auc_judd", "sim", "kl", "information_gain"):
            assert isinstance(values[f"{name}{suffix}"], float), (name, suffix)
    assert {name.partition("@")[1] + name.partition("@")[2] for name in values if "/" not in name} - {""} == {
        suffix for suffix in expected if suffix
    }
    if layers == ["projection", 2]:  # two blocks: the last layer by its number
        assert values["cc"] == values["cc@layer_2"]


def test_why_a_model_has_no_maps(folder: Path) -> None:
    hidden = stubs.evaluated_model()
    other = "callbacks.fixations_csv.maps=input_gradient works with any model"
    assert made(folder).adapt(model_info(hidden)) == (
        f"token_similarity maps need the layers of the image tower, which this model hides; {other}"
    )
    assert made(folder, maps="attention_rollout").adapt(model_info(under_test())) == (
        f"attention_rollout maps need the attention weights of a transformer's blocks; {other}"
    )
    assert made(folder, maps="input_gradient").adapt(model_info(hidden)) is None


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"view": "tiles"}, "view: a map of tiles is no map of the image; valid are squash and resize_crop"),
        (
            {"maps": "input_gradient", "layers": 3},
            "layers: the gradient of the input belongs to no layer; leave layers out, or choose other maps",
        ),
    ],
)
def test_options_without_a_meaning_are_refused(folder: Path, options: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as caught:
        made(folder, **options)
    assert str(caught.value) == f"saliency/fixations_csv: {line}"


def test_rollout_has_no_layer_0(folder: Path) -> None:
    callback = made(folder, maps="attention_rollout", layers=[0, 1])
    with pytest.raises(UserError, match="layers: attention begins with layer 1; leave 0 out"):
        callback.adapt(model_info(under_test("transformer")))


def test_equal_maps_of_the_same_images_are_read_once(folder: Path) -> None:
    one, other = made(folder), made(folder, name="other")
    for callback in (one, other):
        callback.adapt(model_info(under_test()))
    assert one.readers["projection"] is other.readers["projection"]
    assert one.readers["1"] is not one.readers["2"]
