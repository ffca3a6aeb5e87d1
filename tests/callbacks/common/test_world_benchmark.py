# SPDX-License-Identifier: Apache-2.0
"""The benchmarks of the embedded world with made-up models whose scores can be counted by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import shipped

from clip_align.callbacks.base import NAME, Items, PerceptualCallback
from clip_align.callbacks.common.world_benchmark import CLASSES
from clip_align.callbacks.noise.world_noise import WorldNoise, noisy_image
from clip_align.callbacks.texture.world_cue_conflict import WorldCueConflict
from clip_align.callbacks.zero_shot.world import World
from clip_align.data.world.held_out import image
from clip_align.data.world.scenes import HELD_OUT_SIZES
from clip_align.errors import UserError
from clip_align.evaluation.features import Features
from clip_align.metrics.estimate import Estimate
from clip_align.perception.corruptions import hundredths
from clip_align.settings.signatures import constructor
from clip_align.structure import Range

K = 16
Decide = Callable[[str, int], int]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "of"
    shipped.make_data(folder)
    return folder / "world"


def items_of(callback: PerceptualCallback, decide: Decide) -> Items:
    """Items of a model that answers ``decide(stimulus id, its row)``."""
    ids = [stimulus.id for stimulus in callback.stimuli()]
    answers = [decide(name, row) for row, name in enumerate(ids)]
    images = np.eye(K, dtype=np.float32)[answers][:, None]
    return callback.items(Features(images, {name: i for i, name in enumerate(ids)}, np.eye(K, dtype=np.float32)))


def scores_of(callback: PerceptualCallback, decide: Decide) -> dict[str, Estimate]:
    """Scores of the same model."""
    items = items_of(callback, decide)
    return {score.name: score.compute(items) for score in callback.scores}


def index(name: str) -> int:
    return int(name.rsplit("/", 1)[1])


def test_zero_shot_counts_right_answers_per_set(world: Path) -> None:
    callback = World(world=world)
    shape = {part: held_out.shape for part, held_out in callback.sets.items()}

    def decide(name: str, row: int) -> int:
        part = name.split("/")[1]
        right = int(shape[part][index(name)])
        return right if part == "test" and index(name) < 384 else (right + 1) % K

    found = scores_of(callback, decide)
    assert found["accuracy"].value == 384 / 512
    assert found["accuracy_random_texture"].value == 0
    assert found["accuracy_random_texture"].high == pytest.approx(0.0158, abs=1e-4)  # Wilson, 0 of 240
    assert [s.chance for s in callback.scores] == [1 / K] * 2


def test_prompts_are_the_sixteen_shapes_in_the_words_of_the_captions(world: Path) -> None:
    prompts = World(world=world).prompts()
    assert len(prompts) == K
    assert len({len(texts) for texts in prompts.values()}) == 1
    assert all(name in text for name, texts in prompts.items() for text in texts)
    assert WorldCueConflict(world=world).prompts() == WorldNoise(world=world).prompts() == prompts


@pytest.mark.parametrize("by_texture", [0.0, 0.25, 0.5, 1.0])
def test_texture_bias_is_the_share_of_texture_decisions(world: Path, by_texture: float) -> None:
    callback = WorldCueConflict(world=world)

    def decide(name: str, row: int) -> int:
        cues = callback.sets["cue_conflict"]
        cue = cues.texture if row % 240 < by_texture * 240 else cues.shape
        return int(cue[row])

    found = scores_of(callback, decide)
    assert found["texture_bias"].value == found["texture_bias_corrected"].value == by_texture
    assert found["texture_hits"].value == by_texture
    assert found["shape_hits"].value == 1 - by_texture


def test_texture_bias_is_null_for_guesses_and_for_a_model_with_one_answer(world: Path) -> None:
    callback = WorldCueConflict(world=world)
    guess = np.random.default_rng(0).integers(0, K, 480)
    guessing = scores_of(callback, lambda name, row: int(guess[row]))
    assert guessing["texture_bias"].value is None
    assert "of the decisions name the shape or the texture" in str(guessing["texture_bias"].reason)
    assert guessing["texture_hits"].value is not None
    stuck = scores_of(callback, lambda name, row: 3 + (row == 0))
    assert str(stuck["texture_bias"].reason) == "one class takes 100 % of the decisions"


def test_notes_say_what_errors_depend_on_and_how_much_it_can_matter(world: Path) -> None:
    """Shapes are followed in 3 of 4 images, else confused with the class after next: no guesses."""
    callback = WorldCueConflict(world=world)
    cues = callback.sets["cue_conflict"]

    def decide(name: str, row: int) -> int:
        confused = (int(cues.shape[row]) + 2) % K
        return int(cues.shape[row]) if row % 4 else confused

    notes = items_of(callback, decide).notes
    assert notes["errors_by_shape_z"] > 20
    by_texture = np.mean([decide("", row) == cues.texture[row] for row in range(480)])
    by_shape = np.mean([decide("", row) == cues.shape[row] for row in range(480)])
    assert notes["bias_if_errors_follow_shape"] == pytest.approx(by_texture)
    assert notes["bias_if_errors_follow_texture"] == pytest.approx(1 - by_shape)


def test_both_intervals_of_the_bias_are_recorded_and_named(world: Path) -> None:
    callback = WorldCueConflict(world=world)
    cues = callback.sets["cue_conflict"]
    by_class = np.random.default_rng(1).random((K, K))
    u = np.random.default_rng(2).random(960)
    follows_texture = u < by_class[cues.shape, cues.texture]
    found = scores_of(callback, lambda _, row: int((cues.texture if follows_texture[row] else cues.shape)[row]))
    narrow, wide = found["texture_bias"], found["texture_bias_two_way"]
    assert wide.value == narrow.value
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)
    units = {s.name: s.unit for s in callback.scores}
    assert units["texture_bias"].startswith("240 ordered class pairs, new images of each")
    assert units["texture_bias_two_way"].startswith("other classes too: 16 shapes x 16 textures")


def test_each_class_pair_is_shown_as_often_as_asked(world: Path) -> None:
    for images_per_pair in (2, 3, 4):
        callback = WorldCueConflict(world=world, images_per_pair=images_per_pair)
        found = items_of(callback, lambda name, row: 0)
        pairs, counts = np.unique(found.clusters["class_pair"], return_counts=True)
        assert len(pairs) == K * (K - 1)
        assert set(counts) == {images_per_pair}
        assert list(found.ids) == [f"world/cue_conflict/{n:04d}" for n in range(240 * images_per_pair)]
    assert WorldCueConflict(world=world).images_per_pair == 2


def test_bias_is_drawn_after_two_evaluations_running(world: Path) -> None:
    drawn_after = {s.name: s.drawn_after for s in WorldCueConflict(world=world).scores}
    hits = {"shape_hits": 1, "texture_hits": 1}
    corrected = ("texture_bias_corrected", "texture_bias_corrected_two_way", "texture_bias_two_way")
    assert drawn_after == {"texture_bias": 2, **dict.fromkeys(corrected, 2), **hits}
    waits_for = {s.name: s.drawn_after_of for s in WorldCueConflict(world=world).scores if s.drawn_after_of}
    assert waits_for == dict.fromkeys(corrected, "texture_bias")


def test_noise_drops_are_counted_on_the_same_images(world: Path) -> None:
    callback = WorldNoise(world=world, sigmas=[0.04, 0.1])

    def decide(name: str, row: int) -> int:
        right = int(callback.sets["test"].shape[index(name)])
        wrong = (right + 1) % K
        if name.startswith("world/"):
            return right if index(name) < 192 else wrong
        return right if index(name) < (192 if "/04/" in name else 96) else wrong

    found = scores_of(callback, decide)
    c, n = 192 / 256, 96 / 256
    assert found["accuracy_clean"].value == found["accuracy_04"].value == c
    assert found["accuracy_10"].value == n
    assert found["drop_04"].value == 0
    assert found["drop_10"].value == c - n
    assert found["relative_drop_10"].value == pytest.approx((c - n) / c)
    assert found["corrected_drop_10"].value == pytest.approx((c - n) / (c - 1 / K))
    headline = [s.name for s in callback.scores if s.role == "headline"]
    assert headline == ["corrected_drop_10"]


def test_the_relative_drop_comes_with_its_limit(world: Path) -> None:
    callback = WorldNoise(world=world)
    ids = [stimulus.id for stimulus in callback.stimuli()]
    answers = [int(callback.sets["test"].shape[index(name)]) if index(name) < 128 else 0 for name in ids]
    images = np.eye(K, dtype=np.float32)[answers][:, None]
    items = callback.items(Features(images, {n: i for i, n in enumerate(ids)}, np.eye(K, dtype=np.float32)))
    right = callback.sets["test"].shape[:256]
    clean = float(np.mean(np.asarray(answers)[[n.startswith("world/") for n in ids]] == right))
    assert items.notes == {"relative_drop_limit": pytest.approx(1 - 1 / (K * clean))}


def test_clean_images_are_those_of_the_zero_shot_benchmark(world: Path) -> None:
    zero_shot = {stimulus.id for stimulus in World(world=world).stimuli()}
    shared = [stimulus.id for stimulus in WorldNoise(world=world).stimuli() if stimulus.id in zero_shot]
    assert len(shared) == 256
    right = World(world=world).sets["test"].shape[:256]
    assert np.bincount(right).tolist() == [16] * K  # balanced


def test_noise_has_its_sigma_and_is_the_same_every_time(world: Path) -> None:
    for rounding, mean in (("truncate", -0.5), ("round", 0.0)):
        noisy = [_on_grey(world, i, 0.10, rounding) for i in range(4)]
        left = np.stack(noisy).astype(float) - 128
        assert left.std() / 255 == pytest.approx(0.10, rel=0.02)
        assert left.mean() == pytest.approx(mean, abs=0.5)
        assert not np.array_equal(noisy[0], noisy[1])
    assert np.array_equal(noisy_image(world, 3, 0.04, "round"), noisy_image(world, 3, 0.04, "round"))
    assert not np.array_equal(noisy_image(world, 3, 0.04, "round"), image(world, "test", 3))


def _on_grey(world: Path, number: int, sigma: float, rounding: str) -> np.ndarray:
    grey = np.full((64, 64, 3), 128, np.uint8)
    with patch("clip_align.callbacks.noise.world_noise.image", return_value=grey):
        return noisy_image(world, number, sigma, rounding)  # type: ignore[arg-type]


def test_truncation_is_the_published_scripts(world: Path) -> None:
    clean = image(world, "test", 0)
    truncated, rounded = (noisy_image(world, 0, 0.04, rule).astype(int) for rule in ("truncate", "round"))  # type: ignore[arg-type]
    assert set(np.unique(rounded - truncated)) == {0, 1}
    assert clean.shape == truncated.shape


def test_sigmas_are_named_in_hundredths() -> None:
    assert [hundredths(s) for s in (0.04, 0.1, 0.06, 0.2)] == ["04", "10", "06", "20"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"images": 250}, "images: 250 is out of range; it must be at least 16 and at most 512 and a multiple of 16"),
        ({"images": 1024}, "images: 1024 is out of range; it must be at least 16 and at most 512 and a multiple of 16"),
        ({"images": 16.5}, "images: 16.5 is not a whole number"),
        ({"sigmas": []}, "sigmas: [] is empty; give at least one value"),
        ({"sigmas": [0.1, 0.1]}, "sigmas: 0.1 is there twice; give each value once"),
        ({"sigmas": [0.105]}, "sigmas: 0.105 is out of range; it must be above 0 and below 1 and a multiple of 0.01"),
        ({"sigmas": (8,)}, "sigmas: 8.0 is out of range; it must be above 0 and below 1 and a multiple of 0.01"),
        ({"rounding": "up"}, "rounding: 'up' is not one of truncate, round"),
    ],
)
def test_wrong_arguments_are_one_line(world: Path, arguments: dict[str, object], line: str) -> None:
    with pytest.raises(UserError) as caught:
        WorldNoise(world=world, **arguments)  # type: ignore[arg-type]
    assert caught.value.lines == (f"WorldNoise.{line}",)


@pytest.mark.parametrize("kind", [World, WorldCueConflict, WorldNoise])
def test_a_folder_without_the_sets_is_one_line(kind: type[PerceptualCallback], tmp_path: Path) -> None:
    line = rf"{kind.__name__}\.world: no test\.npy in .*; give the folder that holds it, or null"
    with pytest.raises(UserError, match=line):
        kind(world=tmp_path)  # type: ignore[call-arg]


def test_limits_in_annotations_are_those_of_the_data_and_of_the_base_class() -> None:
    noise = constructor("clip_align.callbacks.noise.world_noise.WorldNoise")
    assert noise is not None
    assert noise["images"].markers == (Range(low=16, high=HELD_OUT_SIZES["test"], multiple=CLASSES),)
    assert [getattr(marker, "pattern", None) for marker in noise["name"].markers] == [NAME.pattern]
