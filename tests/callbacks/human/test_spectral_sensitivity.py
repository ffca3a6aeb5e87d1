# SPDX-License-Identifier: Apache-2.0
"""human/spectral_sensitivity without a model: the known answers of pixel measures."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from clip_align.callbacks.human.spectral_sensitivity import SpectralSensitivity
from clip_align.evaluation.features import Features
from clip_align.evaluation.model_info import ModelInfo
from clip_align.evaluation.observers import ObservedPairs, observed
from clip_align.evaluation.prepare import images_per_event
from clip_align.metrics.correlation import krocc, plcc, srocc
from clip_align.metrics.estimate import Estimate
from clip_align.perception.color_spaces import ColorDistance
from clip_align.perception.observers import PSNR
from clip_align.perception.spectral_patches import BACKGROUND, patches


@pytest.fixture(scope="module")
def callback() -> SpectralSensitivity:
    made = SpectralSensitivity()
    made.adapt(ModelInfo(32, ("projection",)))
    return made


def scored(callback: SpectralSensitivity, distances: NDArray[np.float64]) -> dict[str, Estimate]:
    nothing = np.zeros((0, 0), np.float32)
    items = callback.items(Features(nothing[None], {}, nothing, ObservedPairs(distances)))
    return {score.name: score.estimate(items) for score in callback.scores}


def test_pixel_measures_have_the_published_values(callback: SpectralSensitivity) -> None:
    rmse, psnr = (observed(callback, measure).estimates for measure in (ColorDistance(), PSNR))
    assert rmse["plcc"].value == pytest.approx(0.6297, abs=5e-5)
    assert psnr["plcc"].value == pytest.approx(0.5335, abs=5e-5)
    for found in (rmse, psnr):  # the same ranks
        assert (found["srocc"].value, found["krocc"].value) == pytest.approx((0.6930, 0.4851), abs=5e-5)
    headline = next(score for score in callback.scores if score.role == "headline")
    assert headline.baselines == {
        "pixel RMSE": pytest.approx(0.6297, abs=5e-5),
        "PSNR": pytest.approx(0.5335, abs=5e-5),
    }
    assert headline.context["luminance difference"] == pytest.approx(0.9972, abs=5e-5)


def test_the_closed_form_of_the_rmse_and_the_other_tables_of_v() -> None:
    of = patches()
    rmse = np.sqrt(((of.color.astype(float) - BACKGROUND) ** 2).sum(axis=1) / 4 / 3)
    expected = {plcc: (0.6297, 0.6262), srocc: (0.6930, 0.6685), krocc: (0.4851, 0.4621)}
    for statistic, (judd_vos, cie_1924) in expected.items():
        assert statistic(rmse, of.judd_vos) == pytest.approx(judd_vos, abs=5e-5)
        assert statistic(rmse, of.cie_1924) == pytest.approx(cie_1924, abs=5e-5)
    psnr = 20 * np.log10(255 / rmse)
    assert (psnr.min(), psnr.max()) == pytest.approx((18.97, 51.93), abs=5e-3)


def test_an_oracle_is_one_its_opposite_minus_one_and_a_constant_null(callback: SpectralSensitivity) -> None:
    for sign in (1, -1):
        for name, estimate in scored(callback, 2 + sign * patches().judd_vos).items():
            assert estimate.value == pytest.approx(sign), name
    for name, estimate in scored(callback, np.ones(30)).items():
        assert estimate.value is None, name
        assert estimate.reason == "all 30 model values are equal"


@pytest.mark.parametrize("size", [16, 32, 224])
def test_31_images_at_any_size(size: int) -> None:
    callback = SpectralSensitivity()
    assert callback.adapt(ModelInfo(size, ("projection",))) is None
    stimuli = list(callback.stimuli())
    assert images_per_event([callback], size) == len({s.id for s in stimuli}) == 31
    assert all(s.load().shape == (size, size, 3) for s in stimuli[:3])
    assert {name for pair in callback.pairs() for name in pair} == {s.id for s in stimuli}
