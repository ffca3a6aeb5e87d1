# SPDX-License-Identifier: Apache-2.0
"""A whole event of the psychophysics: a model whose embedding is its input has the scores of a pixel metric."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clip_align.callbacks.human.chromatic_discrimination import ChromaticDiscrimination
from clip_align.callbacks.human.contrast_detection import ContrastDetection
from clip_align.callbacks.human.contrast_sensitivity import ContrastSensitivity
from clip_align.callbacks.human.spectral_sensitivity import SpectralSensitivity
from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.testing.stubs import StubModel, evaluated


class Pixels(StubModel):
    """Its embedding is the normalized image."""

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """[N, 3 size^2]."""
        return images.flatten(1)


def test_pixels_as_embedding_have_the_scores_of_the_rmse(tmp_path: Path) -> None:
    size = 64
    # equal for the channels: another scale of each would be another metric
    model = EvaluatedModel(Pixels(size=size), size, (0.5,) * 3, (0.25,) * 3)
    callbacks = [
        ContrastSensitivity(name="contrast_sensitivity"),
        SpectralSensitivity(name="spectral_sensitivity"),
        ChromaticDiscrimination(name="chromatic_discrimination"),
        ContrastDetection(name="contrast_detection", conditions=["luminance"], distance="euclidean"),
    ]
    found = evaluated(callbacks, model, tmp_path)
    expected = {
        "human/contrast_sensitivity/plcc": 0.8411,
        "human/contrast_sensitivity/srocc": 0.7531,
        "human/contrast_sensitivity/krocc": 0.6694,
        "human/spectral_sensitivity/plcc": 0.6297,
        "human/spectral_sensitivity/srocc": 0.6930,
        "human/chromatic_discrimination/area_srocc": 0.6909,
        "human/chromatic_discrimination/orientation": 0.6310,
        "human/chromatic_discrimination/elongation_srocc": 0.7393,
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-3), name
        assert found[f"{name}/low"] < value < found[f"{name}/high"]
    # ColorFest's step of rounding is so fine that a few ties depend on the last bits of the normalized input
    for callback in callbacks[:3]:
        for score in callback.scores:
            for label in ("pixel RMSE", "pixels (sRGB)"):
                if label in score.baselines and not score.name.endswith(("cosine", "normalised_euclidean")):
                    assert found[f"{callback.key}/{score.name}"] == pytest.approx(score.baselines[label], abs=6e-3)
    assert found["human/contrast_sensitivity/modelfest_left_out"] == 4
    assert found["human/contrast_detection/luminance_srocc"] > 0
