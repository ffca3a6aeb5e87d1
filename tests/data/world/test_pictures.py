# SPDX-License-Identifier: Apache-2.0
"""Scenes, images and captions."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace

import numpy as np
import pytest
import yaml

from clip_align.config import conf_dir
from clip_align.data.sources.world import WorldData
from clip_align.data.world.captions import PROMPTS, captions, class_prompts, with_article
from clip_align.data.world.colours import COLOURS
from clip_align.data.world.grid import GAP_PX, ORDINARY_ROWS, grid
from clip_align.data.world.recipe import VERSION, Recipe
from clip_align.data.world.render import block_size, render
from clip_align.data.world.scenes import CLASSES, HELD_OUT_SIZES, draw_scenes
from clip_align.data.world.shapes import SHAPES
from clip_align.data.world.textures import TEXTURES

RECIPE = Recipe(size=16)
WORLD_1 = [  # mean level of each image: training, test
    [126.0, 117.8, 130.5, 141.5, 129.4, 106.9, 103.4, 176.9],
    [131.1, 111.4, 170.8, 150.9, 151.2, 118.3, 144.9, 114.8],
]
CAPTIONS_1 = "436e4e0b3b0b7e6c"


def test_reliability_is_the_share_of_typical_textures() -> None:
    for reliability in (0.0, 0.8, 1.0):
        scenes = draw_scenes(replace(RECIPE, texture_reliability=reliability), "train", range(4000))
        assert (scenes.shape == scenes.texture).mean() == pytest.approx(reliability, abs=0.02)  # 3 standard errors


def test_other_textures_are_equally_frequent() -> None:
    scenes = draw_scenes(replace(RECIPE, texture_reliability=0.0), "train", range(6000))
    distance = (scenes.texture - scenes.shape) % CLASSES
    assert np.bincount(distance, minlength=CLASSES)[1:] == pytest.approx(400, abs=80)


def test_held_out_classes_are_exactly_balanced_and_prefixes_too() -> None:
    for part in ("test", "random_texture"):
        scenes = draw_scenes(RECIPE, part, range(HELD_OUT_SIZES[part]))
        assert np.unique(np.bincount(scenes.shape)).size == 1
        assert np.unique(np.bincount(scenes.shape[:160])).tolist() == [10]
    random = draw_scenes(RECIPE, "random_texture", range(240))
    assert (random.shape == random.texture).mean() < 0.15


def test_cue_conflict_has_every_ordered_pair_four_times_and_nothing_in_front() -> None:
    scenes = draw_scenes(replace(RECIPE, occlusion=1.0), "cue_conflict", range(960))
    pairs, counts = np.unique(np.stack([scenes.shape, scenes.texture]), axis=1, return_counts=True)
    assert pairs.shape[1] == 240
    assert set(counts.tolist()) == {4}
    assert not (scenes.shape == scenes.texture).any()
    assert not scenes.occluded.any()
    assert draw_scenes(replace(RECIPE, occlusion=1.0), "test", range(16)).occluded.all()


def test_an_image_does_not_depend_on_its_neighbours() -> None:
    together = render(RECIPE, draw_scenes(RECIPE, "train", range(40)), held_out=False)
    alone = render(RECIPE, draw_scenes(RECIPE, "train", [37]), held_out=False)
    assert np.array_equal(together[37], alone[0])
    again = render(RECIPE, draw_scenes(RECIPE, "train", range(40)), held_out=False)
    assert np.array_equal(together, again)


def test_seed_and_set_change_every_image() -> None:
    images = [
        render(recipe, draw_scenes(recipe, part, range(8)), held_out=part != "train")
        for recipe, part in ((RECIPE, "train"), (replace(RECIPE, image_seed=1), "train"), (RECIPE, "test"))
    ]
    for a, b in ((0, 1), (0, 2)):
        assert all((x != y).mean() > 0.5 for x, y in zip(images[a], images[b], strict=True))


def test_a_plain_disc_has_its_colour_in_the_middle() -> None:
    recipe = replace(RECIPE, size=32, sensor_noise=0.0, occlusion=0.0, scale=(0.9, 0.9))
    scenes = draw_scenes(recipe, "train", range(64))
    red = np.full(64, COLOURS.index("red"))
    disc, plain = np.full(64, SHAPES.index("disc")), np.full(64, TEXTURES.index("plain"))
    images = render(recipe, replace(scenes, shape=disc, texture=plain, first=red), held_out=False)
    middle = images[:, 15:17, 15:17].mean(axis=(0, 1, 2)) / 255
    # mean contrast .825 about one half, mean brightness 0, mean light and jitter 1 and 0
    assert middle == pytest.approx(0.5 + 0.825 * (np.array([0.84, 0.16, 0.15]) - 0.5), abs=0.04)


def test_noise_is_that_of_the_recipe() -> None:
    quiet, loud = (replace(RECIPE, size=32, sensor_noise=s) for s in (0.0, 0.04))
    scenes = [draw_scenes(recipe, "train", range(96)) for recipe in (quiet, loud)]
    a, b = (
        render(recipe, s, held_out=False).astype(float) / 255 for recipe, s in zip((quiet, loud), scenes, strict=True)
    )
    sigma = 0.04 * scenes[1].draws["noise"]
    measured = (b - a).std(axis=(1, 2, 3))
    assert measured == pytest.approx(np.hypot(sigma, 1 / 255 / 6**0.5), rel=0.1, abs=0.002)  # and rounding of both


def test_larger_images_show_the_same_scene() -> None:
    """Backgrounds are other pieces of the canvas; so the middle is compared, where the objects are."""
    clear = replace(RECIPE, sensor_noise=0.0, occlusion=0.0)
    small, large = replace(clear, size=16), replace(clear, size=64)
    assert block_size(large) < block_size(small)
    one, other = (render(r, draw_scenes(r, "train", range(40)), held_out=False).astype(float) for r in (small, large))
    shrunk = other.reshape(40, 16, 4, 16, 4, 3).mean(axis=(2, 4))
    middles = [images[:, 5:11, 5:11].reshape(40, -1) for images in (one, shrunk)]
    apart = np.abs(middles[0][:, None] - middles[1][None]).mean(axis=2)  # [small, large]
    assert (apart.argmin(axis=1) == np.arange(40)).mean() > 0.75  # by chance 1 of 40
    assert apart.diagonal().mean() < np.median(apart) / 2


def test_captions_name_the_object_always_and_the_rest_as_configured() -> None:
    scenes = draw_scenes(RECIPE, "train", range(200))
    every = captions(replace(RECIPE, colour_words=1.0, texture_words=1.0, background_words=1.0), scenes)
    bare = captions(replace(RECIPE, colour_words=0.0, texture_words=0.0, background_words=0.0), scenes)
    for row, (long, short) in enumerate(zip(every, bare, strict=True)):
        names = scenes.names(row)
        assert f"{names['colour']} {names['texture']} {names['shape']}" in long
        assert short.endswith(f" {names['shape']}")
        assert not set(short.split()) & {*TEXTURES, *COLOURS}
        assert len(long.split()) <= 12  # fits the tiny model's 14 ids
    often = captions(replace(RECIPE, colour_words=0.5), scenes)
    assert 70 < sum(any(c in text.split() for c in COLOURS) for text in often) < 130


def test_prompts_are_captions_without_attributes() -> None:
    scenes = draw_scenes(RECIPE, "train", range(500))
    bare = captions(replace(RECIPE, colour_words=0.0, texture_words=0.0, background_words=0.0), scenes)
    prompts = class_prompts()
    assert list(prompts) == list(SHAPES)
    assert {text for texts in prompts.values() for text in texts} >= set(bare)
    assert len(prompts["arrow"]) == len(PROMPTS)
    assert with_article("arrow") == "an arrow"
    assert with_article("red arrow") == "a red arrow"


def test_defaults_are_those_that_users_type() -> None:
    assert Recipe() == Recipe.of(WorldData())
    typed = yaml.safe_load((conf_dir() / "data" / "world.yaml").read_text())
    assert {key: typed[key] for key in asdict(Recipe())} == {**asdict(Recipe()), "scale": list(Recipe().scale)}


def test_the_grid_shows_every_shape_in_every_texture() -> None:
    image = grid(RECIPE)
    assert image.shape == ((ORDINARY_ROWS + 16) * 16 + GAP_PX, 16 * 16, 3)


def test_the_version_stands_for_these_images_and_captions() -> None:
    """What changes them has to raise `recipe.VERSION`: caches know a world by it. Rounding may differ by a level."""
    scenes = draw_scenes(RECIPE, "train", range(8))
    images = render(RECIPE, scenes, held_out=False)
    held_out = render(RECIPE, draw_scenes(RECIPE, "test", range(8)), held_out=True)
    text = "\n".join(captions(RECIPE, scenes))
    found = [part.reshape(8, -1).mean(axis=1).round(1).tolist() for part in (images, held_out)]
    assert VERSION == 1
    assert np.allclose(found, WORLD_1, atol=0.3)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == CAPTIONS_1
