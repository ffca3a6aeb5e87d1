# SPDX-License-Identifier: Apache-2.0
"""human/chromatic_discrimination without a model: color spaces, an oracle, undefined scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clip_align.callbacks.human.chromatic_discrimination import ChromaticDiscrimination
from clip_align.errors import UserError
from clip_align.evaluation.enlarge import enlarged
from clip_align.evaluation.features import Features
from clip_align.evaluation.model_info import ModelInfo
from clip_align.evaluation.observers import ObservedPairs
from clip_align.evaluation.prepare import images_per_event
from clip_align.metrics.estimate import Estimate
from clip_align.perception import macadam

NAMES = ("area_srocc", "orientation", "elongation_srocc", "angle_deg")


@pytest.fixture(scope="module")
def callback() -> ChromaticDiscrimination:
    made = ChromaticDiscrimination()
    made.adapt(ModelInfo(32, ("projection",)))
    return made


def scored(callback: ChromaticDiscrimination, distances: NDArray[np.float64]) -> dict[str, Estimate]:
    nothing = np.zeros((0, 0), np.float32)
    items = callback.items(Features(nothing[None], {}, nothing, ObservedPairs(distances.ravel())))
    return {score.name: score.estimate(items) for score in callback.scores}


def oracle(callback: ChromaticDiscrimination, turned: float = 0.0, power: float = 1.0) -> NDArray[np.float64]:
    """Distances [14, 16] whose ellipses are MacAdam's, turned by an angle; their areas and elongations to a power."""
    human, steps = macadam.observed()[callback.centers], callback.steps[callback.centers]
    area, elongation, angle = human.area**power, human.elongation**power, human.angle + turned
    a, b = np.sqrt(area / np.pi * elongation), np.sqrt(area / np.pi / elongation)
    along = steps[..., 0] * np.cos(angle)[:, None] + steps[..., 1] * np.sin(angle)[:, None]
    across = steps[..., 1] * np.cos(angle)[:, None] - steps[..., 0] * np.sin(angle)[:, None]
    return np.sqrt((along / a[:, None]) ** 2 + (across / b[:, None]) ** 2)


def test_color_spaces_have_their_known_scores(callback: ChromaticDiscrimination) -> None:
    found = {score.name: {**score.baselines, **score.context} for score in callback.scores}
    expected = {
        "pixels (sRGB)": (0.6909, 0.632, 0.739, 21.3),
        "linear RGB": (0.9087, 0.690, -0.480, 18.9),
        "XYZ": (0.9087, -0.539, 0.717, 64.3),
        "CIELAB": (0.8515, 0.419, 0.658, 31.4),
        "CIELUV": (0.8691, 0.705, -0.504, 19.6),
        "Oklab": (0.9175, 0.763, 0.326, 18.8),
    }
    for space, values in expected.items():
        for name, value, tolerance in zip(NAMES, values, (5e-5, 2e-3, 1e-3, 0.1), strict=True):
            assert found[name][space] == pytest.approx(value, abs=tolerance), (space, name)


def test_an_oracle_is_one_and_its_opposite_minus_one(callback: ChromaticDiscrimination) -> None:
    found = scored(callback, oracle(callback))
    assert found["area_srocc"].value == pytest.approx(1, abs=1e-12)
    assert found["orientation"].value == pytest.approx(1, abs=1e-9)
    assert found["elongation_srocc"].value == pytest.approx(1, abs=1e-2)  # ties of the table
    assert found["angle_deg"].value == pytest.approx(0, abs=1e-4)
    found = scored(callback, oracle(callback, turned=np.pi / 2))
    assert found["orientation"].value == pytest.approx(-1, abs=1e-9)
    assert found["angle_deg"].value == pytest.approx(90, abs=1e-4)
    assert scored(callback, oracle(callback, power=-1.0))["area_srocc"].value == pytest.approx(-1, abs=1e-12)


def test_a_metric_of_chromaticity_itself_is_undefined(callback: ChromaticDiscrimination) -> None:
    plain = np.linalg.norm(callback.steps[callback.centers], axis=2)
    reason = "the model's ellipses have the same area around all 14 centers"
    assert {estimate.reason for estimate in scored(callback, plain).values()} == {reason}
    circles = plain * np.linspace(1, 2, 14)[:, None]  # of several areas: only an orientation is missing
    found = scored(callback, circles)
    assert found["area_srocc"].value is not None
    for name in ("orientation", "angle_deg"):
        assert found[name].reason == (
            "the model's ellipses are circles around 14 of 14 centers; 8 with an orientation are needed"
        )


def test_models_without_an_ellipse_are_undefined(callback: ChromaticDiscrimination) -> None:
    broken = oracle(callback)
    broken[3] = np.nan
    for distances, count in ((np.zeros((14, 16)), 14), (broken, 1)):
        for name, estimate in scored(callback, distances).items():
            assert estimate.reason == f"the model's distances make no ellipse around {count} of 14 centers", name


def test_238_fields_of_a_pixel_each_once(callback: ChromaticDiscrimination) -> None:
    stimuli = list(callback.stimuli())
    assert images_per_event([callback], 32) == len({s.id for s in stimuli}) == 14 * 17
    assert {name for pair in callback.pairs() for name in pair} == {s.id for s in stimuli}
    pixel = stimuli[100].load()
    large = enlarged(torch.from_numpy(pixel[None].copy()), "native", 224)
    assert large.shape == (1, 224, 224, 3)
    assert (large == torch.from_numpy(pixel.copy())).all()  # to the bit


def test_too_bright_fields_are_refused() -> None:
    with pytest.raises(UserError) as error:
        ChromaticDiscrimination(luminance=0.5)
    assert str(error.value) == (
        "human/chromatic_discrimination: 5 of 25 centers are inside sRGB at luminance=0.5, step=3; "
        "8 are needed: lower one of them"
    )
