# SPDX-License-Identifier: Apache-2.0
"""Gabors and their human thresholds: geometry, contrast, color, and the tables' own sums."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from clip_align.perception.color_spaces import decoded, xyz
from clip_align.perception.contrast_thresholds import colorfest, modelfest, sensitivities
from clip_align.perception.gabors import below_nyquist, color_gabor, gabor, largest_contrast, luminance_gabor
from clip_align.perception.photographs import DATA
from clip_align.perception.watson_ahumada import WatsonAhumada

DEGREES = 256 / 120


def test_tables_are_the_sources_and_the_means_of_their_observers(shared_data: Path) -> None:
    for name in ("modelfest_gabors", "modelfest_gabors_individual", "colorfest", "colorfest_individual"):
        assert (DATA / f"{name}.csv").read_bytes() == (shared_data / "psychophysics" / f"{name}.csv").read_bytes()
    for of, name, column, sign in (
        (modelfest(), "modelfest_gabors", "log10_sensitivity", 1),
        (colorfest(), "colorfest", "log10_cone_contrast", -1),
    ):
        with (DATA / f"{name}.csv").open(encoding="utf-8") as file:
            mean = [sign * float(row[column]) for row in csv.DictReader(file)]
        assert of.human == pytest.approx(mean, abs=1e-6)  # the tables have six decimals


def test_sets_have_their_numbers_of_gratings_and_observers() -> None:
    assert modelfest().observers.shape == (14, 16)
    assert np.isfinite(modelfest().observers).all()
    assert colorfest().observers.shape == (40, 3)
    assert np.isfinite(colorfest().observers).sum() == 114
    counts = dict(zip(*np.unique(colorfest().direction, return_counts=True), strict=True))
    assert (counts["achromatic"], counts["red_green"], counts["tritan"]) == (10, 10, 8)
    ids = colorfest().ids
    assert len(set(ids)) == 40
    assert np.array_equal(sensitivities(ids[3:5]), colorfest().observers[3:5], equal_nan=True)
    assert (sensitivities(["modelfest_14"]) == modelfest().observers[13:]).all()


def test_a_gabor_has_its_frequency_width_and_orientation() -> None:
    image = gabor(240, 2.0, frequency=5, sigma=0.2)
    spectrum = np.abs(np.fft.fft2(image))
    row, column = np.unravel_index(spectrum[:120].argmax(), spectrum[:120].shape)
    assert (row, column) == (10, 0)  # 5 cycles/degree over 2 degrees, along y: a horizontal grating
    across = image[120]  # a row near the center: the Gaussian alone
    place = (np.arange(240) - 119.5) / 120
    assert across / across.max() == pytest.approx(np.exp(-(place**2) / (2 * 0.2**2)), abs=1e-3)
    assert gabor(241, 2.0, 5, 0.2)[120, 120] == 1
    assert gabor(241, 2.0, 5, 0.2, phase_deg=90)[120, 120] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("size", [64, 128, 256])
def test_nyquist_leaves_out_a_frequency_of_half_the_pixels_a_degree(size: int) -> None:
    half = size / DEGREES / 2
    for degrees in (DEGREES, 2.133):  # 2.133 is a rounded 256/120
        assert below_nyquist(np.array([half * 0.99, half, half * 1.01]), size, degrees).tolist() == [True, False, False]


def test_luminance_gabors_have_their_contrast_in_either_rendering() -> None:
    for rendering in ("encoded", "linear"):
        image = luminance_gabor(255, DEGREES, 4, 0.5, 0.1, rendering)  # type: ignore[arg-type]
        value = image if rendering == "encoded" else decoded(image)
        assert image.dtype == np.float32
        assert value[127, 127] == pytest.approx(0.55, abs=1e-6)
        assert (image[..., 0] == image[..., 2]).all()
        field = luminance_gabor(255, DEGREES, 4, 0.5, 0.0, rendering)  # type: ignore[arg-type]
        assert len(np.unique(field)) == 1


def test_color_gabors_have_their_cone_contrast_on_a_field_of_half_luminance() -> None:
    of = colorfest()
    field = color_gabor(9, DEGREES, 1.2, 0.5, 0.0, of.background[0].tolist(), of.cones[0].tolist())
    assert decoded(field[0, 0]) == pytest.approx([0.383, 0.523, 0.615], abs=5e-4)
    assert np.rint(field[0, 0] * 255).tolist() == [166, 191, 206]
    assert xyz(decoded(field[0, 0]))[1] == pytest.approx(0.5, abs=1e-6)
    contrast = of.cones / of.background
    assert np.sqrt(np.mean(contrast**2, axis=1)) == pytest.approx(np.ones(40))
    assert contrast[0] == pytest.approx([0.648, 0.660, 1.464], abs=5e-4)  # the achromatic direction
    limits = {
        d: largest_contrast(tuple(b.tolist()), tuple(c.tolist()))
        for d, b, c in zip(of.direction, of.background, of.cones, strict=True)
    }
    assert min(limits, key=lambda name: limits[name]) == "red_green"
    assert limits["red_green"] == pytest.approx(0.069, abs=1e-3)
    row = of.direction.tolist().index("red_green")
    with pytest.raises(ValueError, match=r"an RMS cone contrast of 0\.12 is outside sRGB in this direction"):
        color_gabor(33, DEGREES, 1.2, 0.5, 0.12, of.background[row].tolist(), of.cones[row].tolist())


@pytest.mark.parametrize(("size", "n", "expected"), [(256, 14, 0.9985), (224, 14, 0.9986), (128, 13, 0.9982)])
def test_the_standard_model_predicts_modelfest(size: int, n: int, expected: float) -> None:
    of, observer = modelfest(), WatsonAhumada(DEGREES)
    shown = below_nyquist(of.frequency, size, DEGREES)
    assert shown.sum() == n
    field = luminance_gabor(size, DEGREES, 1, 1, 0.0)
    x = [
        np.log10(observer(field, luminance_gabor(size, DEGREES, f, s, 0.1)))
        for f, s in zip(of.frequency[shown], of.sigma[shown], strict=True)
    ]
    assert np.corrcoef(x, of.human[shown])[0, 1] == pytest.approx(expected, abs=5e-4)
    if size == 256:  # absolute sensitivities too: half a decibel off, as the parameters were fitted to 43 stimuli
        decibels = 20 * (np.array(x) - np.log10(0.1) - of.human)
        assert decibels.std(ddof=1) == pytest.approx(0.57, abs=0.02)
        assert decibels.mean() == pytest.approx(-0.5, abs=0.05)


def test_the_standard_models_visibility_is_proportional_to_contrast_and_free_of_the_image_size() -> None:
    observer = WatsonAhumada(DEGREES)

    def seen(size: int, contrast: float) -> float:
        images = [luminance_gabor(size, DEGREES, 4, 0.25, c) for c in (0.0, contrast)]
        return observer(*images)

    assert seen(256, 0.2) == pytest.approx(2 * seen(256, 0.1), rel=1e-5)
    assert seen(128, 0.1) == pytest.approx(seen(256, 0.1), rel=1e-3)
