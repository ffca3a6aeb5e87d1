# SPDX-License-Identifier: Apache-2.0
"""Held-out images with shuffled tiles: what is shown, and scores counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from held_out_files import held_out_files

from clip_align.callbacks.common.held_out_images import without_class_names
from clip_align.callbacks.texture.held_out_patch_shuffle import HeldOutPatchShuffle
from clip_align.callbacks.zero_shot.held_out import HeldOut
from clip_align.data.held_out import HeldOutSamples
from clip_align.errors import UserError
from clip_align.evaluation.features import Features
from clip_align.evaluation.model_info import ModelInfo
from clip_align.metrics.estimate import Estimate
from clip_align.testing.stubs import Words

N = 40


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> HeldOutSamples:
    return held_out_files(tmp_path_factory.mktemp("held"), [(f"caption {n}",) for n in range(N)], 50, 40)


def scores_of(callback: HeldOutPatchShuffle, whole: int, shuffled: int) -> dict[str, Estimate]:
    """Of a model that finds the captions of so many images, whole and shuffled; else a wrong one."""
    ids = [stimulus.id for stimulus in callback.stimuli()]
    eye = np.eye(N, dtype=np.float32)
    images = []
    for name in ids:
        number = int(name.split("/")[1].removeprefix("k"))
        right = number < (shuffled if "shuffled" in name else whole)
        images.append(eye[number] if right else -eye[number] + 1e-3 * eye[(number + 1) % N])
    found = Features(np.stack(images)[:, None], {name: row for row, name in enumerate(ids)}, eye)
    items = callback.items(found)
    return {score.name: score.compute(items) for score in callback.scores}


def test_tiles_are_shuffled_at_the_models_resolution(samples: HeldOutSamples) -> None:
    callback = HeldOutPatchShuffle(held_out_samples=samples, grids=[2, 4])
    assert callback.adapt(ModelInfo(32, ("projection",), Words())) is None
    stimuli = list(callback.stimuli())
    assert len(stimuli) == 3 * N
    assert stimuli[0].id == "held_out/k0"  # that of the other benchmarks on these samples: encoded once
    halves, quarters = stimuli[N].load(), stimuli[2 * N].load()
    assert halves.shape == quarters.shape == (32, 32, 3)
    assert stimuli[N].view == "native"
    assert sorted(halves.reshape(-1, 3).tolist()) == sorted(quarters.reshape(-1, 3).tolist())
    assert (halves != quarters).any()


def test_scores_are_counted_by_hand(samples: HeldOutSamples) -> None:
    callback = HeldOutPatchShuffle(held_out_samples=samples)
    assert callback.adapt(ModelInfo(32, ("projection",), Words())) is None
    assert [score.name for score in callback.scores if score.role == "headline"] == ["kept_4"]
    found = scores_of(callback, whole=30, shuffled=12)
    assert found["accuracy_whole"].value == 30 / N
    assert found["accuracy_4"].value == 12 / N
    assert found["kept_4"].value == pytest.approx((12 / N - 1 / N) / (30 / N - 1 / N))
    kept = found["kept_4"]
    assert kept.value is not None
    assert kept.low is not None
    assert kept.high is not None
    assert kept.low < kept.value < kept.high
    assert scores_of(callback, N, N)["kept_4"].value == 1
    assert scores_of(callback, N, 1)["kept_4"].value == pytest.approx(0)


def test_without_accuracy_nothing_is_kept_and_that_is_null(samples: HeldOutSamples) -> None:
    callback = HeldOutPatchShuffle(held_out_samples=samples)
    callback.adapt(ModelInfo(32, ("projection",), Words()))
    found = scores_of(callback, 1, 1)
    assert found["kept_4"].value is None
    assert found["accuracy_whole"].value == 1 / N  # drawn all the same


def test_what_does_not_fit_is_named(samples: HeldOutSamples) -> None:
    callback = HeldOutPatchShuffle(held_out_samples=samples, grids=[4, 7])
    assert callback.adapt(ModelInfo(32, ("projection",), Words())) == (
        "7 x 7 tiles do not fill the model's input of 32 px"
    )
    with pytest.raises(UserError, match=r"^texture/held_out_patch_shuffle: view: shuffled tiles are cut from the"):
        HeldOutPatchShuffle(held_out_samples=samples, view="tiles")


def test_who_has_no_class_names_is_told_where_to_give_them(samples: HeldOutSamples) -> None:
    retrieved = HeldOut(held_out_samples=samples)
    line = without_class_names([retrieved, HeldOutPatchShuffle(held_out_samples=samples)])
    assert line is not None
    assert "callbacks.folder.root=" in line
    assert "\n" not in line
    assert without_class_names([]) is None
