# SPDX-License-Identifier: Apache-2.0
"""MacAdam's ellipses: the table, the fit of a metric, and the known answers of color spaces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from clip_align.metrics.correlation import srocc
from clip_align.perception import macadam
from clip_align.perception.color_spaces import SPACES, decoded, linear_rgb, xyz_from_chromaticity
from clip_align.perception.macadam import Ellipses
from clip_align.perception.photographs import DATA

STEPS = macadam.displacements(3.0, 16)


def compared(model: Ellipses, human: Ellipses) -> list[float]:
    """SROCC of areas, mean cosine and mean angle (degrees) between the axes, SROCC of elongations."""
    apart = model.angle - human.angle
    angle = np.abs((apart + np.pi / 2) % np.pi - np.pi / 2)
    area = srocc(np.round(np.log10(model.area), 9), human.area)
    cosine = float(np.cos(2 * apart).mean())
    return [area, cosine, float(np.degrees(angle.mean())), srocc(model.elongation, human.elongation)]


def in_space(name: str, rows: NDArray[np.intp], luminance: float) -> list[float]:
    around = macadam.centers()[:, None] + np.concatenate([np.zeros((25, 1, 2)), STEPS], axis=1)
    points = SPACES[name](linear_rgb(xyz_from_chromaticity(around[rows, :, 0], around[rows, :, 1], luminance)))
    distance = np.linalg.norm(points[:, 1:] - points[:, :1], axis=2)
    found = macadam.ellipses_of(macadam.metrics_of(distance, STEPS[rows]))
    return compared(found, macadam.observed()[rows])


def test_the_table_is_the_source(shared_data: Path) -> None:
    name = "macadam_1942_ellipses.csv"
    assert (DATA / name).read_bytes() == (shared_data / "psychophysics" / name).read_bytes()


def test_14_centers_are_inside_srgb_at_a_tenth_of_whites_luminance() -> None:
    inside = [2, 3, 9, 10, 12, 13, 14, 15, 16, 17, 20, 21, 23, 24]
    for radii in (0.1, 3.0, 5.0):
        assert (macadam.inside_srgb(0.1, macadam.displacements(radii, 16)) + 1).tolist() == inside
    none = np.zeros((25, 1, 2))
    counts = [len(macadam.inside_srgb(y, none)) for y in (0.16, 0.2, 0.25, 0.3, 0.4, 0.5)]
    assert counts == [14, 12, 12, 11, 8, 5]


def test_observed_and_calculated_ellipses_agree_as_published() -> None:
    area, cosine, angle, _ = compared(macadam.calculated(), macadam.observed())
    assert (area, cosine, angle) == pytest.approx((0.9935, 0.9957, 1.9), abs=1e-2)
    assert (area, cosine) == pytest.approx((0.9935, 0.9957), abs=5e-5)


@pytest.mark.parametrize(
    ("space", "at_14", "of_25"),
    [
        ("sRGB", (0.6909, 0.632, 21.3, 0.739), None),
        ("linear RGB", (0.9087, 0.690, 18.9, -0.480), (0.8726, 0.670, 19.8, -0.282)),
        ("XYZ", (0.9087, -0.539, 64.3, 0.717), (0.8726, -0.244, 53.7, 0.352)),
        ("CIELAB", (0.8515, 0.419, 31.4, 0.658), (0.8311, 0.435, 30.7, 0.344)),
        ("CIELUV", (0.8691, 0.705, 19.6, -0.504), (0.8511, 0.632, 22.4, -0.162)),
        ("Oklab", (0.9175, 0.763, 18.8, 0.326), (0.8680, 0.759, 18.6, 0.038)),
    ],
)
def test_known_answers_of_color_spaces(space: str, at_14: tuple[float, ...], of_25: tuple[float, ...] | None) -> None:
    for rows, luminance, expected in (
        (macadam.inside_srgb(0.1, STEPS), 0.1, at_14),
        (np.arange(25), 0.3, of_25),  # formulas, which need no display
    ):
        if expected is None:
            continue
        area, cosine, angle, elongation = in_space(space, rows, luminance)
        assert area == pytest.approx(expected[0], abs=5e-5)
        assert cosine == pytest.approx(expected[1], abs=2e-3)
        assert angle == pytest.approx(expected[2], abs=0.1)
        assert elongation == pytest.approx(expected[3], abs=1e-3)


def test_an_oracle_is_one_and_a_metric_of_x_and_y_has_one_area() -> None:
    human = macadam.observed()
    a, b = np.sqrt(human.area / np.pi * human.elongation), np.sqrt(human.area / np.pi / human.elongation)
    turned = STEPS @ np.stack(
        [
            np.stack([np.cos(human.angle), -np.sin(human.angle)], axis=1),
            np.stack([np.sin(human.angle), np.cos(human.angle)], axis=1),
        ],
        axis=1,
    )
    distance = np.sqrt((turned[..., 0] / a[:, None]) ** 2 + (turned[..., 1] / b[:, None]) ** 2)
    found = macadam.ellipses_of(macadam.metrics_of(distance, STEPS))
    assert found.area == pytest.approx(human.area, rel=1e-9)
    area, cosine, angle, elongation = compared(found, human)
    assert (area, cosine) == pytest.approx((1, 1), abs=1e-12)
    assert angle == pytest.approx(0, abs=1e-6)
    assert elongation > 0.99  # ties of the table's ratios
    plain = macadam.ellipses_of(macadam.metrics_of(np.linalg.norm(STEPS, axis=2), STEPS))
    assert plain.area == pytest.approx(np.full(25, np.pi), rel=1e-9)
    assert plain.elongation == pytest.approx(np.ones(25), abs=1e-6)


def test_forms_without_an_ellipse_are_nan() -> None:
    forms = np.array([np.eye(2), np.zeros((2, 2)), np.diag([1.0, -1.0]), np.full((2, 2), np.nan)])
    found = macadam.ellipses_of(forms)
    for values in (found.area, found.angle, found.elongation):
        assert np.isfinite(values).tolist() == [True, False, False, False]


def test_a_field_is_one_color_of_the_asked_chromaticity() -> None:
    made = macadam.field(0.31, 0.33, 0.1)
    assert made.shape == (1, 1, 3)
    assert made.dtype == np.float32
    linear = linear_rgb(xyz_from_chromaticity(0.31, 0.33, 0.1))
    assert decoded(made[0, 0]) == pytest.approx(linear, abs=1e-6)
    with pytest.raises(ValueError, match=r"x = 0\.16, y = 0\.057 at Y = 0\.1 is outside sRGB"):
        macadam.field(0.16, 0.057, 0.1)
