# SPDX-License-Identifier: Apache-2.0
"""The baseline of the nearest training image in pixels."""

from __future__ import annotations

import io
import json
import tarfile
from functools import reduce
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clip_align.data.world.held_out import held_out
from clip_align.data.world.nearest_neighbour import accuracy, nearer, nearest, nearest_neighbour_accuracy
from clip_align.data.world.recipe import Recipe
from clip_align.data.world.shapes import SHAPES
from clip_align.data.world.shards import RenderedWorld, ensure_held_out, ensure_world

SMALL = Recipe(images=70, size=16)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> RenderedWorld:
    return ensure_world(SMALL, tmp_path_factory.mktemp("cache"), lambda line: None)


def test_nearest_by_hand() -> None:
    test = np.array([[0.0, 0.0], [1.0, 1.0]], dtype=np.float32)
    pixels = np.array([[255, 0], [0, 51], [255, 204]], dtype=np.uint8)
    squares, shapes = nearest(test, pixels, np.array([7, 8, 9]))
    assert shapes.tolist() == [8, 9]
    assert squares + (test**2).sum(axis=1) == pytest.approx([0.04, 0.04], abs=1e-6)


def test_blocks_give_what_one_search_gives_and_the_first_wins_a_tie() -> None:
    generator = np.random.default_rng(0)
    test = generator.random((20, 12), dtype=np.float32)
    pixels = np.repeat(generator.integers(0, 256, (30, 12), dtype=np.uint8), 2, axis=0)  # each one twice
    labels = np.arange(60)
    whole = nearest(test, pixels, labels)[1]
    parts = [nearest(test, pixels[start : start + 7], labels[start : start + 7]) for start in range(0, 60, 7)]
    assert np.array_equal(reduce(nearer, parts)[1], whole)
    assert (whole % 2 == 0).all()
    assert accuracy(parts, (whole + (np.arange(20) < 5)).astype(np.int8)) == 0.75
    assert accuracy([], np.zeros(20, dtype=np.int8)) is None


def test_held_out_sets_alone_have_none(tmp_path: Path) -> None:
    assert nearest_neighbour_accuracy(ensure_held_out(tmp_path, SMALL)) is None
    assert nearest_neighbour_accuracy(tmp_path) is None


def test_nearest_neighbour_agrees_with_a_plain_search(world: RenderedWorld) -> None:
    images, labels = [], []
    with tarfile.open(world.shards[0]) as tar:
        for member in tar.getmembers():
            content = tar.extractfile(member).read()  # type: ignore[union-attr]
            if member.name.endswith(".png"):
                images.append(np.asarray(Image.open(io.BytesIO(content))).ravel().astype(float))
            elif member.name.endswith(".json"):
                labels.append(SHAPES.index(json.loads(content)["shape"]))
    test = held_out(world.held_out, "test")
    train = np.stack(images)
    right = [
        labels[int(((train - array.ravel()) ** 2).sum(axis=1).argmin())] == shape
        for array, shape in zip(test.images, test.shape, strict=True)
    ]
    assert nearest_neighbour_accuracy(world.folder) == np.mean(right)


@pytest.mark.slow
def test_default_world_is_not_trivial(tmp_path: Path) -> None:
    accuracy = nearest_neighbour_accuracy(ensure_world(Recipe(), tmp_path, lambda line: None).folder)
    assert accuracy is not None
    assert 1 / 16 < accuracy < 0.5
