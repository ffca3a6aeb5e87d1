# SPDX-License-Identifier: Apache-2.0
"""castleCSF against thresholds that it was fitted to, and its achromatic and chromatic channels against each other."""

from __future__ import annotations

import numpy as np
import pytest

from clip_align.metrics.correlation import krocc, plcc, srocc
from clip_align.perception.castle_csf import D65, DIRECTIONS, achromatic_sensitivity, sensitivity, unit_contrast
from clip_align.perception.contrast_thresholds import colorfest
from clip_align.perception.detection_gratings import GRATINGS, NOISE, OVER_FREQUENCY, sensitivities


def test_it_predicts_the_thresholds_of_colorfest() -> None:
    of = colorfest()
    formula = np.log10(sensitivity(of.frequency, of.sigma, of.background, of.cones))
    found = [statistic(formula, of.human) for statistic in (plcc, srocc, krocc)]
    assert found == pytest.approx([0.9669, 0.9454, 0.8333], abs=1e-4)


def test_it_has_the_sensitivities_of_the_authors_files() -> None:
    at = np.geomspace(0.5, 32, 100)  # where they are given; here the first, the 51st and the last
    rows = np.stack([at, np.ones(100), np.full(100, 100.0)], axis=1)[[0, 50, 99]]
    assert sensitivities("red_green", rows) == pytest.approx([324.059582, 282.456820, 36.742381], abs=1e-5)
    assert sensitivities("yellow_violet", rows) == pytest.approx([43.932310, 30.019766, 3.664611], abs=1e-5)
    noise = sensitivities(NOISE, rows * (1, 2, 1))
    # theirs are of a change that is not quite that of white, of which the luminance contrast is a little different
    assert noise / [84.432334, 270.894550, 8.536997] == pytest.approx(np.full(3, 0.997558), abs=1e-5)


def test_a_change_of_luminance_is_seen_by_the_achromatic_channel_alone() -> None:
    f, s, y = 4.0, 0.5, 40.0
    grey = D65 * y
    # in the opponent channels white is not quite neutral
    assert sensitivity(f, s, grey, grey) == pytest.approx(achromatic_sensitivity(f, s, y), rel=2e-3)
    shorter = sensitivity(f, s, grey, grey * 1e-3)
    assert shorter == pytest.approx(sensitivity(f, s, grey, grey), rel=1e-12)  # a direction has no length
    assert sensitivity(f, s, grey, -grey) == pytest.approx(shorter, rel=1e-12)  # and no sign


def test_unit_contrast_is_a_root_mean_square_of_one() -> None:
    for direction in DIRECTIONS.values():
        ratio = unit_contrast(direction, D65 * 100) / (D65 * 100)
        assert np.sqrt(np.mean(ratio**2)) == pytest.approx(1)


def test_color_is_seen_at_low_frequencies_and_more_of_it_in_larger_gratings() -> None:
    for name in DIRECTIONS:
        over = sensitivities(name, OVER_FREQUENCY)
        assert (np.diff(over[OVER_FREQUENCY[:, 0] > 2]) < 0).all()
        large = OVER_FREQUENCY * (1, 2, 1)
        assert (sensitivities(name, large) > over).all()
    assert GRATINGS["yellow_violet"][:, 0].max() < 16
