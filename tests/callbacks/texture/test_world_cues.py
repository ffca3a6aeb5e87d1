# SPDX-License-Identifier: Apache-2.0
"""Shuffled tiles and frequency conflict on the embedded world, with models whose decisions are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import shipped

from clip_align.callbacks.base import Features, Items
from clip_align.callbacks.common.world_benchmark import WorldBenchmark
from clip_align.callbacks.texture.world_frequency_conflict import WorldFrequencyConflict
from clip_align.callbacks.texture.world_patch_shuffle import WorldPatchShuffle
from clip_align.errors import UserError
from clip_align.metrics.estimate import Estimate

K = 16


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "of"
    shipped.make_data(folder)
    return folder / "world"


def scores_of(callback: WorldBenchmark, decide: Callable[[str], int]) -> tuple[dict[str, Estimate], Items]:
    """Scores of a model that decides so about each stimulus."""
    ids = [stimulus.id for stimulus in callback.stimuli()]
    images = np.eye(K, dtype=np.float32)[[decide(name) for name in ids]][:, None]
    items = callback.items(Features(images, {name: i for i, name in enumerate(ids)}, np.eye(K, dtype=np.float32)))
    return {score.name: score.compute(items) for score in callback.scores}, items


def test_accuracy_is_counted_for_each_grid(world: Path) -> None:
    """Whole images and 2 x 2 tiles are named rightly, 4 x 4 as the next class, 8 x 8 always alike: no decisions."""
    callback = WorldPatchShuffle(world=world, images=64)
    shape = callback.sets["test"].shape

    def decide(name: str) -> int:
        right = int(shape[int(name.split("/")[2])])
        if name.endswith("shuffled_4"):
            return (right + 1) % K
        return 5 if name.endswith("shuffled_8") else right

    found, items = scores_of(callback, decide)
    assert {name: e.value for name, e in found.items()} == {
        "accuracy_1": 1.0, "accuracy_2": 1.0, "accuracy_4": 0.0, "accuracy_8": None,
    }  # fmt: skip
    assert len(items) == 64
    assert [score.role for score in callback.scores] == ["companion", "companion", "companion", "headline"]


def test_whole_images_are_those_of_the_other_benchmarks(world: Path) -> None:
    stimuli = list(WorldPatchShuffle(world=world, images=16).stimuli())
    assert len(stimuli) == 4 * 16
    assert (stimuli[0].id, stimuli[0].part) == ("world/test/0000", "world/test")
    whole, halves = stimuli[0].load(), stimuli[1].load()
    assert sorted(whole.reshape(-1, 3).tolist()) == sorted(halves.reshape(-1, 3).tolist())


def test_a_grid_that_does_not_divide_is_refused(world: Path) -> None:
    with pytest.raises(UserError) as caught:
        WorldPatchShuffle(world=world, grids=(2, 5))
    assert str(caught.value) == "texture/world_patch_shuffle: 5 does not divide the world's 32 px"


@pytest.mark.parametrize(("band", "bias"), [(0, 0.0), (1, 1.0)])
def test_a_model_of_one_band(world: Path, band: int, bias: float) -> None:
    callback = WorldFrequencyConflict(world=world)
    shape = callback.sets["test"].shape
    found, items = scores_of(callback, lambda name: int(shape[int(name.split("/")[2].split("_")[band])]))
    assert found["high_frequency_bias"].value == bias
    assert found["high_frequency_bias_corrected"].value == bias
    assert (found["low_hits"].value, found["high_hits"].value) == (1 - bias, bias)
    assert len(items) == 480
    pairs = set(zip(items.human.tolist(), items.conditions["high"].tolist(), strict=True))
    assert len(pairs) == K * (K - 1)


def test_a_model_of_one_class_has_no_bias(world: Path) -> None:
    found, _ = scores_of(WorldFrequencyConflict(world=world), lambda name: 3)
    assert all(estimate.value is None for estimate in found.values())


def test_hybrids_of_other_cutoffs_are_other_images(world: Path) -> None:
    one, two = (next(iter(WorldFrequencyConflict(world=world, cutoff=c).stimuli())) for c in (2.0, 6.0))
    assert one.id != two.id
    assert not np.array_equal(one.load(), two.load())
