# SPDX-License-Identifier: Apache-2.0
"""human/contrast_matching without a model: perfect constancy, people's own matches, undefined scores."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from vfm_files import vfm_hvs

from clip_align.callbacks.human.contrast_matching import LADDER, ContrastMatching, match
from clip_align.evaluation.features import Features
from clip_align.evaluation.items import Items
from clip_align.evaluation.model_info import ModelInfo
from clip_align.evaluation.observers import ObservedPairs
from clip_align.evaluation.prepare import images_per_event
from clip_align.metrics.estimate import Estimate
from clip_align.perception.displayed_gratings import FREQUENCIES


def judged(callback: ContrastMatching, distances: NDArray[np.float64]) -> tuple[Items, Estimate]:
    nothing = np.zeros((0, 0), np.float32)
    items = callback.items(Features(nothing[None], {}, nothing, ObservedPairs(distances)))
    return items, callback.scores[0].estimate(items)


def constant(callback: ContrastMatching) -> NDArray[np.float64]:
    """Distances in proportion to contrast at every frequency."""
    return np.concatenate([callback.data.reference, np.tile(LADDER, len(callback.shown))])


def test_perfect_constancy_has_its_known_distance_from_people(shared_data: Path, tmp_path: Path) -> None:
    with (shared_data / "psychophysics" / "contrast_matching.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    matching: dict[float, list[float]] = {}
    for row in rows:
        matching.setdefault(float(row["reference_contrast_5cpd"]), []).append(float(row["matched_contrast"]))
    callback = ContrastMatching(root=str(vfm_hvs(tmp_path, matching=matching)))
    items, estimate = judged(callback, constant(callback))
    assert len(items) == 72
    assert estimate.value == pytest.approx(0.3330, abs=5e-5)
    assert estimate.low is not None
    assert callback.adapt(ModelInfo(64, ("projection",))) is None  # five frequencies, up to 5 c/deg
    assert callback.shown.tolist() == [0, 1, 2, 3, 4]
    expected = judged(callback, constant(callback))[1].value
    assert callback.scores[0].baselines["linear luminance RMSE"] == pytest.approx(expected, abs=0.02)


def test_a_model_that_matches_like_people_is_zero(tmp_path: Path) -> None:
    gain = np.linspace(1, 2, len(FREQUENCIES))
    matching = {0.02 * 2**n: (0.02 * 2**n / gain).tolist() for n in range(5)}
    callback = ContrastMatching(root=str(vfm_hvs(tmp_path, matching=matching)))
    reference = callback.data.reference
    items, estimate = judged(callback, np.concatenate([reference, np.outer(gain, LADDER).ravel()]))
    assert estimate.value == pytest.approx(0, abs=1e-9)
    assert items.notes["out_of_range"] == 0


def test_matches_are_interpolated_and_end_with_the_ladder() -> None:
    for contrast in (0.0011, 0.02, 0.7):
        assert match(3 * contrast, 3 * LADDER) == pytest.approx(contrast)
        assert match(contrast**2, LADDER**2) == pytest.approx(contrast)
    assert match(1e-9, LADDER) == LADDER[0]
    assert match(2.0, LADDER) == LADDER[-1]
    step = np.where(np.arange(len(LADDER)) < 5, 0.0, 1.0)  # sees nothing below a contrast
    assert LADDER[4] < match(0.5, step) < LADDER[5]
    assert np.isnan(match(np.nan, LADDER))
    assert np.isnan(match(0.5, LADDER * np.nan))


def test_models_without_contrast_are_undefined(tmp_path: Path) -> None:
    callback = ContrastMatching(root=str(vfm_hvs(tmp_path)))
    n = len(callback.pairs())
    for value, reason in ((0.0, "all 45 model values are equal"), (np.nan, "45 of 45 model values are not finite")):
        estimate = judged(callback, np.full(n, value))[1]
        assert (estimate.value, estimate.reason) == (None, reason)


def test_each_image_is_named_once_and_small_models_are_null(tmp_path: Path) -> None:
    callback = ContrastMatching(root=str(vfm_hvs(tmp_path)))  # its reference of .01 is a contrast of the ladder
    stimuli = [s.id for s in callback.stimuli()]
    assert len(stimuli) == len(set(stimuli)) == images_per_event([callback], 224)
    assert len(callback.pairs()) == 5 + 9 * len(LADDER)
    assert {name for pair in callback.pairs() for name in pair} == set(stimuli)
    assert callback.adapt(ModelInfo(32, ("projection",))) == (
        "at 32 px, 4 of 9 frequencies are below the Nyquist frequency of 4.29 cycles/degree, 5 are needed; "
        "a smaller field_deg has more"
    )
