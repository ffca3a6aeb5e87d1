# SPDX-License-Identifier: Apache-2.0
"""human/contrast_detection without a model: a metric of luminance, an oracle, undefined scores."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from clip_align.callbacks.human.contrast_detection import ContrastDetection
from clip_align.evaluation.features import Features
from clip_align.evaluation.model_info import ModelInfo
from clip_align.evaluation.observers import ObservedPairs, observed
from clip_align.evaluation.prepare import images_per_event
from clip_align.metrics.correlation import srocc
from clip_align.metrics.estimate import Estimate
from clip_align.perception.castle_csf import achromatic_sensitivity
from clip_align.perception.color_spaces import ColorDistance, decoded
from clip_align.perception.detection_gratings import GRATINGS, MULTIPLES, OVER_FREQUENCY, sensitivities
from clip_align.perception.displayed_gratings import detection_gabor


def scored(callback: ContrastDetection, distances: NDArray[np.float64]) -> dict[str, Estimate]:
    nothing = np.zeros((0, 0), np.float32)
    items = callback.items(Features(nothing[None], {}, nothing, ObservedPairs(distances)))
    return {score.name: score.estimate(items) for score in callback.scores}


@pytest.mark.parametrize(
    ("condition", "expected"), [("frequency", 0.4790), ("red_green", 0.5302), ("yellow_violet", 0.4855)]
)
def test_a_metric_without_a_spatial_filter_has_its_known_scores(condition: str, expected: float) -> None:
    # all 20 frequencies: its distance is in proportion to contrast
    threshold = 1 / sensitivities(condition, OVER_FREQUENCY)
    closed_form = srocc(np.outer(threshold, MULTIPLES).ravel(), np.tile(MULTIPLES, 20))
    assert closed_form == pytest.approx(expected, abs=5e-5)


def test_the_metric_has_its_scores_on_the_images_too() -> None:
    callback = ContrastDetection(conditions=["area", "red_green", "yellow_violet", "noise"])
    assert callback.adapt(ModelInfo(112, ("projection",))) is None
    found = {score.name: score.baselines["linear RGB RMSE"] for score in callback.scores}
    assert found["area_srocc"] == pytest.approx(0.9253, abs=2e-3)
    for condition in ("red_green", "yellow_violet", "noise"):  # of the gratings that 112 pixels can carry
        threshold = 1 / sensitivities(condition, callback.shown[condition])
        closed_form = srocc(np.outer(threshold, MULTIPLES).ravel(), np.tile(MULTIPLES, len(threshold)))
        assert found[f"{condition}_srocc"] == pytest.approx(closed_form, abs=2e-3)
    assert [score.role for score in callback.scores] == ["headline", "companion", "companion", "companion"]


def test_sensitivity_peaks_where_it_does_for_people_and_grows_with_area_and_light() -> None:
    frequency = GRATINGS["frequency"][:, 0]
    over_frequency = achromatic_sensitivity(*GRATINGS["frequency"].T)
    assert 2 < frequency[over_frequency.argmax()] < 6
    assert over_frequency.max() == pytest.approx(207, abs=2)
    for name in ("area", "luminance"):
        assert (np.diff(achromatic_sensitivity(*GRATINGS[name].T)) > 0).all()


def test_a_grating_has_its_luminance_and_contrast() -> None:
    made = decoded(detection_gabor(224, 3.7333, 4.0, 1.0, 100.0, 0.2)[..., 0]) * 400
    assert made.mean() == pytest.approx(100, rel=1e-3)
    assert (made.max() - made.min()) / 200 == pytest.approx(0.2, abs=5e-3)


def test_an_oracle_is_one_its_opposite_minus_one_and_a_constant_null() -> None:
    callback = ContrastDetection()
    n = len(callback.pairs())
    assert n == (5 * 20 + 16 - 3) * 10  # 32 c/deg are not below 30, at 60 px a degree
    for sign in (1, -1):
        for estimate in scored(callback, 3 + sign * np.tile(MULTIPLES, n // 10)).values():
            assert estimate.value == pytest.approx(sign)
    for distances, reason in ((np.ones(n), "model values are equal"), (np.full(n, np.nan), "not finite")):
        for estimate in scored(callback, distances).values():
            assert estimate.value is None
            assert reason in str(estimate.reason)


def test_a_small_model_sees_the_gratings_that_it_can() -> None:
    callback = ContrastDetection()
    assert callback.adapt(ModelInfo(32, ("projection",))) is None  # 4.3 c/deg
    found = observed(callback, ColorDistance()).estimates
    assert found["frequency_srocc"].value is not None
    for condition in ("luminance", "red_green", "yellow_violet", "noise"):
        assert found[f"{condition}_srocc"].value is not None
    assert found["area_srocc"].reason == "fewer than 8 of its 20 gratings are below the Nyquist frequency"
    coarse = ContrastDetection(conditions=["noise"], field_deg=0.5)  # of which 2 c/deg is the lowest frequency
    assert coarse.adapt(ModelInfo(32, ("projection",))) is None
    assert coarse.shown["noise"][:, 0].min() > 1.4
    stimuli = [stimulus.id for stimulus in callback.stimuli()]
    assert len(stimuli) == len(set(stimuli)) == images_per_event([callback], 32)
    assert {name for pair in callback.pairs() for name in pair} == set(stimuli)
    assert callback.adapt(ModelInfo(8, ("projection",))) == (
        "at 8 px, fewer than 8 gratings of each condition are below the Nyquist frequency of 1.07 cycles/degree"
    )
