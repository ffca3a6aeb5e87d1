# SPDX-License-Identifier: Apache-2.0
"""human/contrast_sensitivity without a model: observers whose scores are known, sizes, undefined scores."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from clip_align.callbacks.human.contrast_sensitivity import ContrastSensitivity
from clip_align.errors import UserError
from clip_align.evaluation.features import Features
from clip_align.evaluation.model_info import ModelInfo
from clip_align.evaluation.observers import ObservedPairs, observed
from clip_align.evaluation.prepare import images_per_event
from clip_align.metrics.estimate import Estimate
from clip_align.perception.color_spaces import ColorDistance
from clip_align.perception.contrast_thresholds import COLORFEST, MODELFEST, colorfest, modelfest
from clip_align.perception.watson_ahumada import WatsonAhumada

THREE = ("plcc", "srocc", "krocc")


@lru_cache(maxsize=16)
def adapted(size: int, patch_size: int | None = None, **options: Any) -> ContrastSensitivity:
    callback = ContrastSensitivity(**options)
    assert callback.adapt(ModelInfo(size, ("projection",), patch_size=patch_size)) is None
    return callback


def baselines(callback: ContrastSensitivity, prefix: str = "", label: str = "pixel RMSE") -> list[float]:
    by_name = {score.name: {**score.baselines, **score.context} for score in callback.scores}
    return [by_name[prefix + name][label] for name in THREE]


def with_distances(callback: ContrastSensitivity, log_sensitivity: NDArray[np.float64]) -> Mapping[str, Estimate]:
    """The scores of a model with this sensitivity to each grating."""
    contrast = np.array([callback.contrasts[name] for name, rows in callback.rows.items() for _ in rows])
    distances = np.repeat(10.0**log_sensitivity * contrast, len(callback.phases_deg))
    nothing = np.zeros((0, 0), np.float32)
    items = callback.items(Features(nothing[None], {}, nothing, ObservedPairs(distances)))
    return {score.name: score.estimate(items) for score in callback.scores}


def human(callback: ContrastSensitivity) -> NDArray[np.float64]:
    sets = {MODELFEST: modelfest(), COLORFEST: colorfest()}
    return np.concatenate([sets[name].human[rows] for name, rows in callback.rows.items()])


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (256, (0.4980, 0.4873, 0.4328)),
        (224, (0.4980, 0.4873, 0.4328)),
        (128, (0.6817, 0.5906, 0.5241)),
        (64, (0.8411, 0.7531, 0.6694)),
    ],
)
def test_the_pixel_rmse_of_modelfest(size: int, expected: tuple[float, ...]) -> None:
    callback = adapted(size)
    assert baselines(callback) == pytest.approx(expected, abs=5e-5)
    unit = next(score.unit for score in callback.scores if score.name == "srocc")
    n = {256: 14, 224: 14, 128: 13, 64: 10}[size]
    assert unit == f"{n} of 14 gratings x 16 observers, jackknife of both, Fisher z, t"


def test_the_standard_model_reaches_the_observers() -> None:
    callback = adapted(256)
    pearson, spearman, kendall = baselines(callback, label="Watson & Ahumada 2005")
    assert pearson == pytest.approx(0.9985, abs=2e-4)
    assert (spearman, kendall) == pytest.approx((1, 1))
    found = observed(callback, WatsonAhumada(2.133)).estimates["plcc"]
    assert found.value == pytest.approx(pearson)
    assert found.low is not None
    assert found.low > 0.99


def test_pixel_measures_of_colorfest() -> None:
    callback = adapted(224)
    assert baselines(callback, "colorfest_") == pytest.approx((0.616, 0.315, 0.212), abs=5e-4)
    # of ties: values of gratings in one direction are equal but for what the pixels cut off
    expected = {"luminance": (0.256, 0.233, 0.149), "CIELAB": (0.536, 0.265, 0.157)}
    for space, values in expected.items():
        found = observed(callback, ColorDistance(space)).estimates
        assert [found[f"colorfest_{name}"].value for name in THREE] == pytest.approx(values, abs=0.01)
    estimates = observed(callback, ColorDistance()).estimates
    assert estimates["colorfest_achromatic_srocc"].reason == estimates["colorfest_shape_srocc"].reason
    assert estimates["colorfest_shape_srocc"].reason == (
        "no differential sensitivity: all gratings of a direction are alike, to 0.005 log10 units"
    )


def test_the_tie_rule_needs_no_digits_of_floats() -> None:
    """A rounding error of each distance moves no correlation."""
    callback = adapted(256)
    exact = np.round(np.log10(modelfest().sigma) / 0.005) * 0.005
    shaken = exact + np.random.default_rng(0).normal(0, 1e-4, 14)
    rest = colorfest().human
    for values in (exact, shaken):
        found = with_distances(callback, np.concatenate([values, rest]))
        # PLCC by the closed form, sigma alone; the images' RMSE gives .4980
        assert [found[name].value for name in THREE] == pytest.approx((0.4977, 0.4873, 0.4328), abs=5e-5)


@pytest.mark.parametrize("size", [32, 64, 224])
def test_an_oracle_has_score_one_and_its_opposite_minus_one(size: int) -> None:
    callback = adapted(size)
    for sign in (1, -1):
        for name, estimate in with_distances(callback, sign * human(callback)).items():
            if estimate.value is not None:
                ties = 0.03 if "krocc" in name else 5e-3  # of thresholds that the rounding makes equal
                assert estimate.value == pytest.approx(sign, abs=ties), name
        assert {32: 5, 64: 10, 224: 14}[size] == sum(
            estimate.value is not None for estimate in with_distances(callback, sign * human(callback)).values()
        )


def test_a_small_model_sees_colorfest_alone_and_says_why() -> None:
    callback = adapted(32)
    by_name = {score.name: score for score in callback.scores}
    assert by_name["srocc"].role == "detail"
    assert by_name["colorfest_srocc"].role == "headline"
    assert by_name["colorfest_srocc"].unit.startswith("23 of 40 gratings x 3 observers")
    assert images_per_event([callback], 32) == 24
    found = with_distances(callback, human(callback))
    assert found["srocc"].reason == "7 of 14 gratings are below the Nyquist frequency, 8 are needed"
    assert found["colorfest_shape_srocc"].reason == (
        "5 of 10 gratings of a direction are below the Nyquist frequency, 8 are needed"
    )
    tiny = ContrastSensitivity()
    assert tiny.adapt(ModelInfo(8, ("projection",))) == (
        "at 8 px over 2.133 degrees, fewer than 8 gratings of either set are below the Nyquist frequency of 1.88 "
        "cycles/degree; a smaller field_deg has more"
    )
    assert adapted(32, field_deg=1.0).rows.keys() == {MODELFEST, COLORFEST}


def test_models_with_patches_see_both_phases() -> None:
    assert images_per_event([adapted(64)], 64) == 2 + 10 + 33
    both = adapted(64, patch_size=16)
    assert images_per_event([both], 64) == 2 + 2 * (10 + 33)
    assert images_per_event([adapted(64, patch_size=16, phases="cosine")], 64) == 2 + 10 + 33
    assert images_per_event([adapted(64, phases="both")], 64) == 2 + 2 * (10 + 33)
    assert len(both.pairs()) == 2 * 43
    items = observed(both, ColorDistance()).items
    assert items is not None
    assert len(items) == 43


def test_stimuli_are_float_images_of_the_models_size_each_once() -> None:
    callback = adapted(64)
    stimuli = list(callback.stimuli())
    assert len({s.id for s in stimuli}) == len(stimuli)
    paired = {name for pair in callback.pairs() for name in pair}
    assert paired == {s.id for s in stimuli}
    for stimulus in (stimuli[0], stimuli[5], stimuli[-1]):
        image = pickle.loads(pickle.dumps(stimulus)).load()
        assert image.dtype == np.float32
        assert image.shape == (64, 64, 3)
        assert stimulus.view == "native"
    others = {s.id for s in adapted(64, contrast=0.2, cone_contrast=0.04).stimuli()}
    assert len(others & {s.id for s in stimuli}) == 2  # the fields


def test_models_without_sensitivity_are_undefined_with_a_reason() -> None:
    callback = adapted(224)
    n = 14 + 40
    constant = with_distances(callback, np.zeros(n))
    blind = with_distances(callback, np.where(np.arange(n) % 5, 1.0, -np.inf) * np.linspace(1, 2, n))
    broken = with_distances(callback, np.where(np.arange(n) % 5, 1.0, np.nan) * np.linspace(1, 2, n))
    for found, words in ((constant, "alike"), (blind, "do not differ from the uniform field"), (broken, "not finite")):
        for name, estimate in found.items():
            assert estimate.value is None, name
            assert words in str(estimate.reason), name


def test_a_contrast_beyond_srgb_is_refused() -> None:
    with pytest.raises(UserError) as error:
        ContrastSensitivity(cone_contrast=0.08)
    assert str(error.value) == ("human/contrast_sensitivity: cone_contrast is 0.08; sRGB shows at most 0.069")
