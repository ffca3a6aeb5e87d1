# SPDX-License-Identifier: Apache-2.0
"""human/contrast_masking without a model: a metric without masking, an oracle, undefined scores."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from vfm_files import vfm_hvs

from clip_align.callbacks.human.contrast_masking import MULTIPLES, ContrastMasking
from clip_align.errors import UserError
from clip_align.evaluation.features import Features
from clip_align.evaluation.model_info import ModelInfo
from clip_align.evaluation.observers import ObservedPairs, observed
from clip_align.evaluation.prepare import images_per_event
from clip_align.metrics.estimate import Estimate
from clip_align.perception.color_spaces import ColorDistance

NAMES = ("coherent_srocc", "incoherent_srocc")


def scored(callback: ContrastMasking, distances: NDArray[np.float64]) -> dict[str, Estimate]:
    nothing = np.zeros((0, 0), np.float32)
    items = callback.items(Features(nothing[None], {}, nothing, ObservedPairs(distances)))
    return {score.name: score.estimate(items) for score in callback.scores}


def test_metrics_without_masking_have_their_known_scores(shared_data: Path, tmp_path: Path) -> None:
    with (shared_data / "psychophysics" / "contrast_masking.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    masking = {
        name: [
            (float(row["mask_contrast"]), float(row["threshold_contrast"]))
            for row in rows
            if row["condition"] == f"phase_{name}"
        ]
        for name in ("coherent", "incoherent")
    }
    callback = ContrastMasking(root=str(vfm_hvs(tmp_path, masking)))
    assert callback.adapt(ModelInfo(96, ("projection",))) is None
    baselines = {score.name: score.baselines["linear luminance RMSE"] for score in callback.scores}
    assert [baselines[name] for name in NAMES] == pytest.approx((0.5094, 0.6782), abs=2e-3)
    assert images_per_event([callback], 96) == (8 + 6) * 11
    # the closed form: distance in proportion to contrast
    contrast = [k * t for name in ("coherent", "incoherent") for t in callback.data[name].threshold for k in MULTIPLES]
    found = scored(callback, np.array(contrast))
    assert [found[name].value for name in NAMES] == pytest.approx((0.5094, 0.6782), abs=5e-5)
    assert found["coherent_srocc"].low is not None
    assert observed(callback, ColorDistance()).estimates["incoherent_srocc"].value == pytest.approx(0.678, abs=5e-3)


def test_an_oracle_is_one_its_opposite_minus_one_and_a_constant_null(tmp_path: Path) -> None:
    callback = ContrastMasking(root=str(vfm_hvs(tmp_path)))
    assert callback.adapt(ModelInfo(96, ("projection",))) is None
    multiple = np.tile(MULTIPLES, 10)
    for sign in (1, -1):
        for estimate in scored(callback, 3 + sign * multiple).values():
            assert estimate.value == pytest.approx(sign)
    for distances, reason in ((np.ones(100), "all 50 model values are equal"), (np.full(100, np.nan), "not finite")):
        for estimate in scored(callback, distances).values():
            assert estimate.value is None
            assert reason in str(estimate.reason)


def test_noise_needs_90_pixels_and_a_grating_16(tmp_path: Path) -> None:
    callback = ContrastMasking(root=str(vfm_hvs(tmp_path)))
    assert callback.adapt(ModelInfo(32, ("projection",))) is None
    assert images_per_event([callback], 32) == 5 * 11
    found = scored(callback, np.tile(MULTIPLES, 5))
    assert found["coherent_srocc"].value == pytest.approx(1)
    assert found["incoherent_srocc"].reason == "the model's input has too few pixels for 12 cycles/degree"
    assert callback.adapt(ModelInfo(14, ("projection",))) == (
        "at 14 px, a grating of 2 c/deg is not below the Nyquist frequency"
    )


def test_a_missing_repository_is_one_line_with_its_tree_and_source(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        ContrastMasking(root=str(tmp_path / "none"))
    assert str(error.value) == (
        f"human/contrast_masking: no such folder: {tmp_path / 'none'}; expected below it: "
        "gt_json/foley_contrast_masking_data_gabor.json, gt_json/contrast_masking_data_gabor_on_noise.json. "
        "Cai et al. 2025 (some 30 MB with the repository; the files a few kB) is at "
        "github.com/caiyancheng/VFM_HVS_CVPR2025; unpack it there, or name its folder with "
        "callbacks.contrast_masking.root=…"
    )
