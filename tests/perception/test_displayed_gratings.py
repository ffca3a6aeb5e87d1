# SPDX-License-Identifier: Apache-2.0
"""Masked and matched gratings, and the files with people's settings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vfm_files import vfm_hvs, write

from clip_align.errors import UserError
from clip_align.perception.castle_csf import DIRECTIONS
from clip_align.perception.color_spaces import WHITE, decoded, xyz
from clip_align.perception.displayed_gratings import (
    CONDITIONS,
    CONSTANCY,
    band_noise,
    color_detection_gabor,
    detection_gabor,
    has_band,
    masked_gabor,
    matched_grating,
    read_masking,
    read_matching,
)
from clip_align.perception.gabors import LMS_TO_XYZ

KEY = "human/contrast_masking"
FIELD_DEG = 224 / 60  # of the authors' images


def luminance(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return decoded(image[..., 1]) * 400


def test_a_mask_has_its_luminance_contrast_and_band() -> None:
    grating = luminance(masked_gabor(224, FIELD_DEG, "coherent", 0.2, 0.0))
    assert grating.mean() == pytest.approx(32, abs=0.5)
    assert (grating.max() - grating.min()) / 64 == pytest.approx(0.2, abs=1e-3)
    noise = luminance(masked_gabor(224, FIELD_DEG, "incoherent", 0.1, 0.0)) / 37 - 1
    assert noise.std() == pytest.approx(0.1, abs=1e-4)
    spectrum = np.abs(np.fft.fft2(noise))
    along = np.fft.fftfreq(224, FIELD_DEG / 224)
    far = np.hypot(along[:, None], along) > 12
    assert spectrum[far].max() < 1e-3 * spectrum[~far].max()
    assert np.array_equal(noise, luminance(masked_gabor(224, FIELD_DEG, "incoherent", 0.1, 0.0)) / 37 - 1)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_grating_in_color_has_its_cone_contrast_and_nearly_no_luminance(direction: str) -> None:
    made = decoded(color_detection_gabor(225, FIELD_DEG, 2.0, 1.0, 100.0, 0.03, direction)) * 4
    field = color_detection_gabor(225, FIELD_DEG, 2.0, 1.0, 100.0, 0.0, direction)
    assert np.ptp(field) == 0  # the uniform field is grey
    assert np.array_equal(field, detection_gabor(225, FIELD_DEG, 2.0, 1.0, 100.0, 0.0))
    change = xyz(made - 1) @ np.linalg.inv(LMS_TO_XYZ).T  # of L, M, S, for a field with Y = 1
    contrasts = change / (np.linalg.inv(LMS_TO_XYZ) @ WHITE)
    assert np.sqrt((contrasts**2).mean(axis=-1)).max() == pytest.approx(0.03, rel=0.05)
    assert np.abs(change[..., 0] + change[..., 1]).max() < 1e-4


def test_a_color_that_the_display_cannot_show_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^an RMS cone contrast of 0\.9 is outside sRGB in the direction red_green$"):
        color_detection_gabor(64, FIELD_DEG, 2.0, 1.0, 100.0, 0.9, "red_green")


def test_noise_has_its_luminance_contrast_and_octave() -> None:
    noise = luminance(band_noise(224, FIELD_DEG, 4.0, 100.0, 0.05)) / 100 - 1
    assert noise.std() == pytest.approx(0.05, abs=1e-4)
    assert noise.mean() == pytest.approx(0, abs=1e-4)
    spectrum = np.abs(np.fft.fft2(noise))
    along = np.fft.fftfreq(224, FIELD_DEG / 224)
    octaves = np.log2(np.maximum(np.hypot(along[:, None], along), 1e-9) / 4)
    inside = np.abs(octaves) <= 0.5
    assert spectrum[~inside].max() < 1e-3 * spectrum[inside].max()
    assert np.array_equal(band_noise(64, FIELD_DEG, 4.0, 100.0, 0.1), band_noise(64, FIELD_DEG, 4.0, 100.0, 0.1))
    assert has_band(224, FIELD_DEG, 0.5)
    assert not has_band(224, 1.0, 0.5)  # one cycle fits into the field, no half


@pytest.mark.parametrize("condition", CONDITIONS)
def test_the_test_grating_is_added_in_luminance(condition: str) -> None:
    of = CONDITIONS[condition]
    with_, without = (luminance(masked_gabor(224, FIELD_DEG, condition, 0.1, test)) for test in (0.05, 0.0))
    added = (with_ - without) / of.luminance
    assert np.abs(added).max() == pytest.approx(0.05, rel=0.05)
    middle = np.abs(np.fft.rfft(added[112]))
    assert middle.argmax() / FIELD_DEG == pytest.approx(of.frequency, abs=1 / FIELD_DEG)


def test_a_grating_to_match_fills_its_field() -> None:
    made = luminance(matched_grating(224, FIELD_DEG, 5.0, 0.5))
    assert made.max() == pytest.approx(15, rel=1e-2)
    assert made.min() == pytest.approx(5, rel=1e-2)
    assert (made == made[0]).all()
    assert len(np.unique(matched_grating(224, FIELD_DEG, 5.0, 0.0))) == 1


def test_masks_outside_the_authors_range_are_left_out(tmp_path: Path) -> None:
    found = read_masking(vfm_hvs(tmp_path), "coherent", KEY)
    assert found.mask == pytest.approx([0.004 * 2**n for n in range(1, 6)])
    assert found.threshold == pytest.approx([0.01 * 1.4**n for n in range(1, 6)])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{", "is not JSON"),
        ([], "holds no JSON object; download it again"),
        ({"mask_contrast_list": [0.1]}, "has no list test_contrast_list; download it again"),
        (
            {"mask_contrast_list": [0.1, 0.2], "test_contrast_list": [0.1]},
            ": 2 masks and 1 thresholds; one each is needed",
        ),
        (
            {"mask_contrast_list": [0.1, 0.2], "test_contrast_list": [0.1, -0.2]},
            r": test_contrast_list\[1\] is -0.2; a contrast is above 0, at most 1",
        ),
        (
            {"mask_contrast_list": [0.1, True], "test_contrast_list": [0.1, 0.2]},
            r": mask_contrast_list\[1\] is True; a contrast is above 0, at most 1",
        ),
        (
            {"mask_contrast_list": [0.1, 0.3], "test_contrast_list": [0.1, 0.2]},
            ": fewer than two masks have a contrast between 0.005 and 0.25",
        ),
    ],
)
def test_damaged_thresholds_are_named(tmp_path: Path, data: object, message: str) -> None:
    path = vfm_hvs(tmp_path) / CONDITIONS["coherent"].file
    if isinstance(data, str):
        path.write_text(data)
    else:
        write(path, data)
    with pytest.raises(UserError, match=re.escape(f"{KEY}: {path}") + " ?" + message):
        read_masking(tmp_path, "coherent", KEY)


def test_damaged_matches_are_named(tmp_path: Path) -> None:
    path = vfm_hvs(tmp_path) / CONSTANCY
    row = {"y_test_contrast_average": [0.1] * 8}
    for data, message in (
        ({"average_reference_contrast": [0.1, 0.2], "ref_contrast_index_0": {}}, "has no list y_test_contrast_average"),
        ({"average_reference_contrast": [0.1]}, "has no object ref_contrast_index_0"),
        (
            {"average_reference_contrast": [0.1], "ref_contrast_index_0": row},
            "ref_contrast_index_0 has 8 contrasts; 9 are needed",
        ),
    ):
        write(path, data)
        with pytest.raises(UserError, match=message):
            read_matching(tmp_path, KEY)
