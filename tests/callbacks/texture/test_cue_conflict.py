# SPDX-License-Identifier: Apache-2.0
"""The original cue-conflict images: models whose scores can be counted, published decisions, options, refusals."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any

import cue_layout
import numpy as np
import pytest
import stubs

from clip_align.callbacks.base import Features, Items, ModelInfo
from clip_align.callbacks.common.sixteen_classes import SixteenClasses
from clip_align.callbacks.texture.cue_conflict import CueConflict
from clip_align.callbacks.texture.edges import Edges
from clip_align.callbacks.texture.silhouettes import Silhouettes
from clip_align.errors import UserError
from clip_align.metrics.estimate import Estimate
from clip_align.models.words import WordTokenizer
from clip_align.perception.cue_conflict import CueImage
from clip_align.perception.sixteen_classes import CATEGORIES, IMAGENET_INDICES
from clip_align.perception.trials import read_folder
from clip_align.settings.load_config import load

CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck".split()  # noqa: SIM905
NEUTRAL = "style-transfer-512-nomask-experiment"
Decide = Callable[[CueImage], str]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clone")
    cue_layout.write_clone(root)
    return root


def knows(*words: str) -> ModelInfo:
    return ModelInfo(32, ("projection",), WordTokenizer(words, 16))


def deciding(callback: SixteenClasses, decide: Decide) -> dict[str, Estimate]:
    """Scores of a model that decides so, through its embeddings and those of the prompts."""
    return {score.name: score.estimate(items_of(callback, decide)) for score in callback.scores}


def items_of(callback: SixteenClasses, decide: Decide) -> Items:
    """The embedding of a class is a unit vector; that of an unknown answer points to none of them alone."""
    names = list(callback.prompts())
    space = np.eye(len(names), dtype=np.float32)
    images = np.stack([space[names.index(decide(image))] for image in callback.images])[:, None]
    ids = [stimulus.id for stimulus in callback.stimuli()]
    return callback.items(Features(images, {name: row for row, name in enumerate(ids)}, space))


def of_trials(callback: SixteenClasses, folder: Path, observer: str) -> dict[str, Estimate]:
    """Scores of an observer's trials, in place of a model's decisions."""
    trials = next(one for one in read_folder(folder) if one.observer == observer)
    items = items_of(callback, lambda image: image.shape)
    answers = trials.of([image.stem for image in callback.images])
    given = Items({"choice": answers}, items.human, items.ids, items.clusters, items.conditions)
    return {score.name: score.estimate(given) for score in callback.scores}


# --- observers whose scores are known


def test_a_model_of_shapes_and_one_of_textures(clone: Path) -> None:
    callback = CueConflict(str(clone))
    for cue, bias in (("shape", 0.0), ("texture", 1.0)):
        found = deciding(callback, attrgetter(cue))
        assert found["texture_bias"].value == bias
        assert found["texture_bias_corrected"].value == bias
        assert found["texture_bias_class_mean"].value == bias
        assert found["shape_hits"].value == 1 - bias
        assert found["texture_hits"].value == bias
        assert found["accuracy_same"].value == 1
    assert len(callback.images) == 1280
    assert (callback.scores[0].chance, callback.scores[4].chance) == (0.5, 1 / 16)


def test_a_model_of_one_class_has_no_bias(clone: Path) -> None:
    """Its pooled bias would be exactly .5, and of a mean over classes 15/16."""
    found = deciding(CueConflict(str(clone)), lambda image: "bear")
    assert {name for name, e in found.items() if e.value is None} == {
        "texture_bias", "texture_bias_corrected", "texture_bias_class_mean", "texture_bias_over_images",
        "shape_hits", "texture_hits", "accuracy_same",
    }  # fmt: skip


def test_classes_count_alike_in_their_mean(clone: Path) -> None:
    """Texture is followed for bears and shape for all others: 75 of 1,200 pooled, one class of 16."""
    callback = CueConflict(str(clone))
    items = items_of(callback, lambda image: str(image.texture if image.shape == "bear" else image.shape))
    mean = next(score for score in callback.scores if score.name == "texture_bias_class_mean")
    assert mean.estimate(items).value == pytest.approx(1 / 16)
    of_bears = items.where(items.column("shape") == "bear")
    assert mean.estimate(of_bears).value == 1
    assert mean.estimate(items.where(items.column("shape") == "cat")).value == 0


def test_scores_by_class_are_recorded(clone: Path, tmp_path: Path) -> None:
    fields = stubs.evaluated([CueConflict(str(clone), templates="bare")], stubs.evaluated_model(), tmp_path)
    for score in ("shape_hits", "texture_hits", "texture_bias_class_mean"):
        for name in CATEGORIES:
            assert f"texture/cue_conflict/{score}_shape_{name}" in fields


# --- the authors' decisions


@pytest.fixture(scope="module")
def authors(shared_data: Path) -> Path:
    return shared_data / "cue_conflict"


@pytest.fixture(scope="module")
def original(authors: Path) -> CueConflict:
    return CueConflict(str(authors))


@pytest.mark.parametrize(
    ("observer", "trained", "s", "t", "class_mean", "kappa"),
    [
        ("resnet50", "-trained-CNNs", 162, 572, 0.1951, 0.0674),
        ("alexnet", "", 283, 376, 0.3710, 0.1132),
        ("alexnet", "-trained-CNNs", 182, 537, 0.2329, 0.0777),
        ("vgg16", "-trained-CNNs", 84, 828, 0.0871, 0.0405),
        ("resnet50_train_60_epochs", "-trained-CNNs", 586, 141, 0.7537, 0.1904),
    ],
)
def test_the_published_decisions_of_networks(
    original: CueConflict, authors: Path, observer: str, trained: str, s: int, t: int, class_mean: float, kappa: float
) -> None:
    found = of_trials(original, authors / "raw-data" / f"{NEUTRAL}{trained}", observer)
    assert found["texture_bias"].value == pytest.approx(t / (s + t), abs=1e-12)
    assert found["shape_hits"].value == s / 1200
    assert found["texture_hits"].value == t / 1200
    assert found["texture_bias_class_mean"].value == pytest.approx(1 - class_mean, abs=5e-5)
    assert found["error_consistency"].value == pytest.approx(kappa, abs=5e-5)


def test_intervals_over_exemplars_are_wider_than_those_over_images(original: CueConflict, authors: Path) -> None:
    """Over images .192 to .251 (bootstrap of the same images), over exemplars some three times as wide."""
    found = of_trials(original, authors / "raw-data" / f"{NEUTRAL}-trained-CNNs", "resnet50")
    wide, narrow = (e.high - e.low for e in (found["texture_bias"], found["texture_bias_over_images"]))  # type: ignore[operator]
    assert 0.04 < narrow < 0.06
    assert 2.5 < wide / narrow < 5
    assert original.scores[0].unit == "160 shape and 48 texture exemplars, two-way jackknife, t(47)"
    assert found["accuracy_same"].value == 0.775


def test_people_are_the_reference(original: CueConflict) -> None:
    by_name = {score.name: score for score in original.scores}
    assert by_name["texture_bias"].ceilings == {"10 people": 398 / 9634}
    assert by_name["accuracy_same"].ceilings == {"10 people": 691 / 800}
    assert by_name["error_consistency"].ceilings["between people"] == pytest.approx(0.3311, abs=5e-5)
    assert "ResNet-50" in by_name["texture_bias"].context


@pytest.mark.parametrize(
    ("kind", "experiment", "accuracy", "people", "kappa"),
    [
        (Edges, "edge-experiment", 0.1812, 1394, 0.0453),
        (Silhouettes, "silhouette-filled-experiment", 0.5438, 1205, 0.4462),
    ],
)
def test_edges_and_silhouettes(
    authors: Path, kind: type[SixteenClasses], experiment: str, accuracy: float, people: int, kappa: float
) -> None:
    callback = kind(str(authors))
    found = of_trials(callback, authors / "raw-data" / f"{experiment}-trained-CNNs", "resnet50")
    assert found["accuracy"].value == pytest.approx(accuracy, abs=5.1e-5)
    assert found["error_consistency"].value == pytest.approx(kappa, abs=5e-5)
    assert callback.scores[0].ceilings == {"10 people": people / 1600}
    assert callback.scores[0].chance == 1 / 16


# --- models that know some of the names


def test_cifar10_has_five_of_the_names(original: CueConflict) -> None:
    assert original.adapt(knows(*CIFAR10)) is None
    assert sorted({image.shape for image in original.images}) == ["airplane", "bird", "cat", "dog", "truck"]
    assert len(original.images) == 125
    assert next(s for s in original.scores if s.name == "shape_hits").chance == 1 / 5
    assert "5 of 16 classes" in original.scores[0].unit
    assert original.adapt(ModelInfo(32, ("projection",))) is None  # again all, for the tests that follow
    assert len(original.images) == 1280


def test_and_seven_with_words_of_its_own(authors: Path) -> None:
    """210 conflict images; people answered .9489 of theirs by shape, ResNet-50 30 and 101."""
    callback = CueConflict(str(authors), words={"car": "automobile", "boat": "ship"})
    assert callback.adapt(knows("a", "photo", "of", "the", *CIFAR10)) is None
    assert list(callback.prompts()) == ["airplane", "bird", "boat", "car", "cat", "dog", "truck"]
    assert "a photo of the automobile." in callback.prompts()["car"]
    assert sum(image.shape != image.texture for image in callback.images) == 210
    found = of_trials(callback, authors / "raw-data" / f"{NEUTRAL}-trained-CNNs", "resnet50")
    assert found["texture_bias"].value == pytest.approx(101 / 131)
    by_name = {score.name: score for score in callback.scores}
    assert by_name["texture_bias"].ceilings == {"10 people": 83 / 1624}
    assert by_name["texture_bias"].context == {}  # values of other images
    assert by_name["texture_hits"].chance == 1 / 7
    shape = deciding(callback, lambda image: image.shape)
    assert shape["texture_bias"].value == 0
    assert set(items_of(callback, lambda i: i.shape).model["choice"]) == {0, 3, 4, 6, 7, 10, 15}  # among all 16


def test_classes_are_chosen_by_name(clone: Path) -> None:
    callback = CueConflict(str(clone), classes=["dog", "bear", "cat"], templates="photo")
    assert list(callback.prompts().items()) == [(n, (f"a photo of a {n}.",)) for n in ("bear", "cat", "dog")]
    assert len(callback.images) == 45
    assert callback.adapt(knows("dog", "bear")) == (
        "of its 3 classes 2 have words that the tokenizer knows, at least 3 are needed; unknown: cat"
    )
    assert len(callback.images) == 45  # a null benchmark describes all


# --- 1,000 classes


def test_a_classifier_of_1000_classes_decides_by_mean_probability(clone: Path) -> None:
    callback = CueConflict(str(clone), decision="imagenet_logits")
    assert callback.prompts() == {}
    assert callback.adapt(ModelInfo(224, ("projection",))) is None
    logits = np.random.default_rng(0).normal(0, 0.1, (1280, 1000)).astype(np.float32)
    for row, image in enumerate(callback.images):
        logits[row, IMAGENET_INDICES[image.shape][-1]] += 20
    rows = {stimulus.id: row for row, stimulus in enumerate(callback.stimuli())}
    items = callback.items(Features(logits[:, None], rows, np.zeros((0, 0), np.float32)))
    assert np.array_equal(items.model["choice"], items.human)
    collapsed = callback.items(Features(np.repeat(logits[:1, None], 1280, axis=0), rows, np.zeros((0, 0), np.float32)))
    assert set(collapsed.model["choice"]) == {-1}
    other = callback.items(Features(np.ones((1280, 1, 12), np.float32), rows, np.zeros((0, 0), np.float32)))
    assert other.reason == "decision=imagenet_logits needs 1,000 logits from encode_image, not 12"


def test_clip_decides_through_the_names_of_imagenet(clone: Path) -> None:
    callback = CueConflict(str(clone), decision="imagenet_names", templates="bare", classes=["bird", "cat", "oven"])
    prompts = callback.prompts()
    assert len(prompts) == 1000  # although two names occur twice
    assert prompts["766 rotisserie"] == ["rotisserie"]
    assert str(callback.adapt(knows("cat"))).endswith("words of ImageNet's 1,000 classes: tench, …")
    assert callback.adapt(ModelInfo(224, ("projection",))) is None
    names = {"bird": "10 brambling", "cat": "281 tabby cat", "oven": "766 rotisserie"}
    assert set(names.values()) <= set(prompts)
    items = items_of(callback, lambda image: names[image.shape])
    assert np.array_equal(items.model["choice"], items.human)


# --- trials


def humans(folder: Path, answer: Callable[[int, str], str], stems: list[tuple[str, str]] | None = None) -> None:
    for number in (1, 2, 3):
        path = folder / f"{NEUTRAL}_subject-0{number}_session_1.csv"
        cue_layout.write_trials(
            path, stems or list(cue_layout.conflict_stems()), lambda stem, n=number: answer(n, stem)
        )
    cue_layout.write_trials(
        folder / f"{NEUTRAL}_vgg_session_1.csv", list(cue_layout.conflict_stems()), lambda stem: "oven", end="\r\n"
    )


def shape_of(stem: str) -> str:
    return stem.partition("-")[0].rstrip("0123456789")


def test_trials_of_people_are_found_in_a_clone_or_given(clone: Path, tmp_path: Path) -> None:
    humans(tmp_path, lambda number, stem: shape_of(stem) if hash_of(stem) % 5 != number else "na")
    assert "error_consistency" not in {score.name for score in CueConflict(str(clone)).scores}
    callback = CueConflict(str(clone), trials=str(tmp_path))
    score = next(score for score in callback.scores if score.name == "error_consistency")
    assert score.unit.startswith("3 people, ")
    wrong = dict.fromkeys(CATEGORIES, "oven") | {"oven": "cat"}
    like_the_first = items_of(callback, lambda i: i.shape if hash_of(i.stem) % 5 != 1 else wrong[i.shape])
    with_itself, with_others = 1.0, score.ceilings["between people"]  # all pairs are built alike
    assert score.estimate(like_the_first).value == pytest.approx((with_itself + 2 * with_others) / 3, abs=0.02)


def hash_of(stem: str) -> int:
    return sum(ord(c) * (i + 1) for i, c in enumerate(stem))


def test_trials_that_lack_an_image_or_people_are_refused(clone: Path, tmp_path: Path) -> None:
    humans(tmp_path, lambda number, stem: "na", list(cue_layout.conflict_stems())[1:])
    assert refusal(str(clone), trials=str(tmp_path)) == (
        "texture/cue_conflict: subject-01: no trial of airplane1-airplane1"
    )
    for path in tmp_path.glob("*subject*"):
        path.unlink()
    assert refusal(str(clone), trials=str(tmp_path)) == (
        f"texture/cue_conflict: no trials of people in {tmp_path}, such as <experiment>_subject-01_session_1.csv"
    )


# --- refusals


def refusal(root: str, kind: type[SixteenClasses] = CueConflict, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        kind(root, **options)
    assert len(caught.value.lines) == 1
    return str(caught.value)


def test_a_missing_folder_is_one_line_with_the_tree_and_the_source(tmp_path: Path) -> None:
    assert refusal(str(tmp_path / "none")) == (
        f"texture/cue_conflict: no such folder: {tmp_path / 'none'}; expected below it: {', '.join(CATEGORIES)}. "
        "Cue conflict (1,280 images of 224 px) is at https://github.com/rgeirhos/texture-vs-shape "
        "(stimuli/style-transfer-preprocessed-512); unpack it there, or name its folder with "
        "callbacks.cue_conflict.root=…"
    )
    assert "edges: no such folder" in refusal(str(tmp_path / "none"), Edges)


def test_damaged_images_are_one_line(tmp_path: Path) -> None:
    few = ("bear", "cat", "dog")
    cue_layout.write_clone(tmp_path, few)
    (tmp_path / cue_layout.CONFLICT / "cat" / "cat8-dog1.png").unlink()
    assert refusal(str(tmp_path), classes=few) == (
        f"texture/cue_conflict: {tmp_path / cue_layout.CONFLICT} has 4 images of shape cat and texture dog, not 5; "
        "44 of 45 images are there"
    )


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (
            {"classes": ["bear", "cat", "dgo"]},
            "dgo is none of the 16 classes; did you mean dog? valid: airplane, bear, ",
        ),
        ({"classes": ["bear", "cat"]}, "2 classes given, at least 3 are needed"),
        ({"words": {"automobile": "car"}}, "automobile is none of the 16 classes; valid: airplane, "),
        ({"words": {"car": "truck"}}, "two classes would be called truck in prompts"),
        ({"words": {"car": " "}}, "the word of car is empty; leave it out"),
        ({"words": {"car": "auto"}, "classes": ["bear", "cat", "dog"]}, "car is not among classes"),
        ({"decision": "sum"}, "'sum' is not one of names, imagenet_names, imagenet_logits"),
    ],
)
def test_options_that_cannot_be_are_refused(clone: Path, options: dict[str, Any], what: str) -> None:
    assert what in refusal(str(clone), **options)


def test_the_command_line_takes_words_and_one_folder_for_all_data() -> None:
    typed = ["callbacks=[cue_conflict,edges]", "paths.data=/sets", "checkpoint.best=null"]
    callbacks = load([*typed, "callbacks.cue_conflict.words={car: automobile, boat: ship}"]).callbacks
    assert callbacks["cue_conflict"].arguments["words"] == {"car": "automobile", "boat": "ship"}
    assert callbacks["cue_conflict"].arguments["root"] == "/sets/cue_conflict"
    assert callbacks["edges"].arguments["root"] == "/sets/cue_conflict"
