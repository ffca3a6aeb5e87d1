# SPDX-License-Identifier: Apache-2.0
"""The 19 re-made types of KADID-10k: published parameters, known answers of each recipe, determinism."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.color import hsv2rgb, lab2rgb, rgb2hsv, rgb2lab
from skimage.filters import threshold_multiotsu

from clip_align.perception import photographs
from clip_align.perception.distortions import LEVELS, generator
from clip_align.perception.kadid10k_remade import RECIPE, image, pair_id
from clip_align.perception.kadid_distortions import TYPES, UNCHANGED, distort
from clip_align.perception.quality_databases import kadid10k
from clip_align.perception.recipes import kadid_filters, kadid_noise, kadid_tone
from clip_align.perception.recipes.unit_range import from_lab, rounded, stretched, to_lab

# of the authors' own generator, as far as these types go
PUBLISHED = {
    1: (0.1, 0.5, 1, 2, 5),
    2: (1, 2, 4, 6, 8),
    3: (1, 2, 4, 6, 10),
    4: (1, 3, 6, 8, 12),
    6: (64, 48, 32, 16, 8),
    7: (0.4, 0.2, 0.1, 0, -0.4),
    8: (1, 2, 3, 6, 9),
    9: (16, 32, 45, 120, 400),
    10: (43, 36, 24, 7, 4),
    11: (0.001, 0.002, 0.003, 0.005, 0.01),
    12: (0.0001, 0.0005, 0.001, 0.002, 0.003),
    13: (0.001, 0.005, 0.01, 0.02, 0.03),
    14: (0.001, 0.005, 0.01, 0.02, 0.05),
    16: (0.1, 0.2, 0.4, 0.7, 1.1),
    17: (0.05, 0.1, 0.2, 0.4, 0.8),
    18: (0.15, 0.08, 0, -0.08, -0.15),
    22: (20, 16, 13, 10, 7),
    24: (1, 2, 3, 6, 12),
    25: (0.3, 0.15, 0, -0.4, -0.6),
}
PINNED = {  # first 12 hex digits of SHA-256: other pixels under the same RECIPE would be taken from old caches
    (11, 2): "a9b2bb0aef7d",
    (13, 4): "27d0eb6e2838",
    (14, 5): "28f646fb19f6",
    (18, 1): "854cb63dda6e",
    (22, 3): "d1580c3286f1",
}


@pytest.fixture(scope="module")
def photo() -> NDArray[np.float64]:
    """A part of a photograph, on [0, 1]."""
    return photographs.reference(5)[100:196, 120:248] / 255


def grey(value: float = 0.5, size: int = 400) -> NDArray[np.float64]:
    return np.full((size, size, 3), value)


def test_parameters_are_the_published_ones() -> None:
    assert {type: tuple(level for (level,) in of.levels) for type, of in TYPES.items()} == PUBLISHED


def test_types_have_the_databases_numbers() -> None:
    assert {type: of.name for type, of in TYPES.items()} == {t: kadid10k.TYPES[t - 1] for t in TYPES}
    assert sorted(set(range(1, 26)) - set(TYPES)) == [5, 15, 19, 20, 21, 23]


@pytest.mark.parametrize(("type", "level"), UNCHANGED)
@pytest.mark.parametrize("number", [1, 8])  # the first photograph lacks white: it is mapped to the whole range
def test_four_types_and_levels_change_nothing(type: int, level: int, number: int) -> None:
    assert (image(number, type, level) == image(number)).all()


def test_all_others_change_something() -> None:
    clean = photographs.reference(20)[:64, :64]
    same = [
        (t, level)
        for t in TYPES
        for level in LEVELS
        if (distort(clean, t, level, f"{t} {level}") == rounded(stretched(clean))).all()
    ]
    assert same == list(UNCHANGED)


def test_the_whole_range_is_used_before_and_after() -> None:
    narrow = (photographs.reference(5)[:128, :128] // 2 + 30).astype(np.uint8)
    assert (distort(narrow, 18, 3, "x").min(), distort(narrow, 18, 3, "x").max()) == (0, 255)
    for type in (1, 2, 18):
        made = distort(photographs.reference(5), type, 5, "x")
        assert (made.min(), made.max()) == (0, 255)
    flat = np.full((32, 32, 3), 90, np.uint8)
    assert (distort(flat, 1, 5, "x") == 90).all()


def test_lab_is_that_of_scikit_image(photo: NDArray[np.float64]) -> None:
    assert to_lab(photo) == pytest.approx(rgb2lab(photo), abs=0.02)
    assert from_lab(to_lab(photo)) == pytest.approx(photo, abs=1e-12)


def test_saturation_is_that_of_scikit_image(photo: NDArray[np.float64]) -> None:
    hsv, lab = rgb2hsv(photo), rgb2lab(photo)
    hsv[..., 1] *= 0.4
    lab[..., 1:] *= 0.5
    assert kadid_tone.saturation_hsv(photo, 0.4) == pytest.approx(hsv2rgb(hsv), abs=1e-9)
    assert kadid_tone.saturation_lab(photo, 0.5) == pytest.approx(lab2rgb(lab), abs=2e-3)
    grey_levels = kadid_tone.saturation_hsv(photo, 0)
    assert (grey_levels == photo.max(axis=2, keepdims=True)).all()
    red = np.array([[[1.0, 0.5, 0.5]]])
    assert kadid_tone.saturation_hsv(red * 0.5, -1)[0, 0].tolist() == pytest.approx([0.5, 0.75, 0.75])


def test_disk_is_the_circles_area() -> None:
    one = kadid_filters.disk(1) * np.pi  # areas in pixels
    inside = 2 * (np.sqrt(3) / 4 * 0.5 + np.pi / 12)  # of x from -1/2 to 1/2 above y = 0
    assert one[1, 1] == pytest.approx(1, abs=1e-4)
    assert (one[0, 1], one[1, 0]) == pytest.approx((inside - 0.5, inside - 0.5), abs=1e-4)
    assert one[0, 0] == pytest.approx((np.pi - 1 - 4 * (inside - 0.5)) / 4, abs=1e-3)
    for radius in (2, 4, 8):
        disk = kadid_filters.disk(radius)
        assert disk.shape == (2 * radius + 1,) * 2
        assert disk.sum() == pytest.approx(1)
        assert disk[radius, radius] == pytest.approx(1 / (np.pi * radius**2), rel=1e-3)
        assert disk == pytest.approx(disk.T, abs=1e-4)
        assert disk == pytest.approx(disk[::-1], abs=1e-12)


def test_lines_have_their_length_and_direction() -> None:
    assert kadid_filters.line(1, 37).tolist() == [[1.0]]
    assert kadid_filters.line(3, 0) == pytest.approx(np.array([[0, 0, 0], [1, 1, 1], [0, 0, 0]]) / 3, abs=1e-12)
    assert kadid_filters.line(2, 90)[:, 1] == pytest.approx([0.25, 0.5, 0.25])  # a pixel and half its neighbours
    rising = kadid_filters.line(9, 45)  # counter-clockwise: up to the right
    assert rising[0, -1] + rising[1, -2] > 10 * (rising[0, 0] + rising[1, 1])
    for degrees in (0, 30, 90, 135):
        line = kadid_filters.line(10, degrees)
        assert line.sum() == pytest.approx(1)
        assert line == pytest.approx(line[::-1, ::-1], abs=1e-12)


def test_blur_and_sharpening_of_an_edge() -> None:
    edge = np.repeat(np.repeat((np.arange(41) >= 20)[None, :, None], 41, axis=0), 3, axis=2) * 0.4 + 0.3
    blurred = kadid_filters.gaussian_blur(edge, 2)[20, :, 0]
    assert blurred[20] - blurred[19] == pytest.approx(0.4 * 0.2, rel=0.1)  # the Gaussian's peak: .1995, cut off
    assert blurred[:15] == pytest.approx(0.3)  # no farther than twice sigma
    sharper = kadid_filters.sharpening(edge, 1)[20, :, 0]
    assert sharper[20] > 0.75
    assert sharper[19] < 0.25
    assert sharper[:10] == pytest.approx(0.3, abs=1e-9)


def test_color_diffusion_leaves_lightness_and_blurs_colors(photo: NDArray[np.float64]) -> None:
    before, after = to_lab(photo), to_lab(kadid_filters.color_diffusion(photo, 1))
    assert np.abs(after[..., 0] - before[..., 0]).mean() < 0.5
    assert after[..., 1].std() < before[..., 1].std()


@pytest.mark.parametrize("type", [11, 14])
@pytest.mark.parametrize("level", [1, 5])
def test_noise_has_the_published_variance(type: int, level: int) -> None:
    make = {11: kadid_noise.gaussian, 14: kadid_noise.multiplicative}[type]
    variance = PUBLISHED[type][level - 1]
    found = make(grey(), variance, generator("x")) - 0.5
    assert found.var() == pytest.approx(variance * (1 if type == 11 else 0.25), rel=0.02)
    assert np.abs(np.corrcoef(found.reshape(-1, 3).T) - np.eye(3)).max() < 0.02  # independent in the channels


def test_multiplicative_noise_is_uniform() -> None:
    noise = kadid_noise.multiplicative(grey(), 0.05, generator("x")) / 0.5 - 1
    assert np.abs(noise).max() == pytest.approx(np.sqrt(0.15), rel=1e-3)


def test_noise_in_components() -> None:
    made = kadid_noise.gaussian_in_components(grey(), 0.001, generator("x")) - 0.5
    assert (made @ kadid_noise.TO_COMPONENTS.T).reshape(-1, 3).var(axis=0) == pytest.approx([0.001] * 3, rel=0.02)
    white = np.ones((1, 1, 3)) @ kadid_noise.TO_COMPONENTS.T + kadid_noise.OFFSET
    assert (white[0, 0] * 255).tolist() == pytest.approx([235, 128, 128], abs=1e-9)


def test_impulse_noise_has_the_published_density() -> None:
    made = kadid_noise.impulse(grey(), 0.03, generator("x"))
    assert (made == 0).mean() == pytest.approx(0.015, rel=0.05)
    assert (made == 1).mean() == pytest.approx(0.015, rel=0.05)


def test_curves_pass_through_their_points() -> None:
    ends = np.array([[[0.0, 0.5, 1.0]]])
    assert kadid_tone.darkening(ends, 0.2)[0, 0].tolist() == pytest.approx([0, 0.4, 1])
    middle = np.full((1, 1, 3), 0.5)
    assert (kadid_tone.brightening(middle, 0.2) > 0.6 - 1e-9).all()  # .6 on R, G, B; L* is above
    nodes = np.array([[[0.3, 0.5, 0.7]]])
    assert kadid_tone.contrast(nodes, 0.3)[0, 0].tolist() == pytest.approx([0.175, 0.5, 0.825])
    assert kadid_tone.contrast(nodes, 0)[0, 0].tolist() == pytest.approx([0.25, 0.5, 0.75])  # not without effect
    assert kadid_tone.darkening(np.array([[[0.1, 0.2, 1.0]]]), 0.8)[0, 0].tolist() == [0, 0, 1]  # clipped


@pytest.mark.parametrize("count", [1, 2, 3])
def test_thresholds_are_those_of_otsus_criterion(count: int) -> None:
    values = photographs.reference(9)[..., 0]
    expected = threshold_multiotsu(values, classes=count + 1, nbins=256)
    assert kadid_tone.thresholds(np.bincount(values.ravel(), minlength=256), count) == expected.tolist()


def test_quantization_has_one_value_for_each_class() -> None:
    made = kadid_tone.quantization(stretched(photographs.reference(9)), 7)
    assert len(np.unique(made)) == 8
    assert (made.min(), made.max()) == (0, 1)


@pytest.mark.parametrize("level", LEVELS)
def test_palettes_have_the_published_size(level: int) -> None:
    made = distort(photographs.reference(7), 6, level, "x")
    assert len(np.unique(made.reshape(-1, 3), axis=0)) <= PUBLISHED[6][level - 1]


def test_wrong_images_and_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        distort(np.zeros((4, 4, 3)), 1, 1, "x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="levels 1 to 5, got 6"):
        distort(np.zeros((4, 4, 3), np.uint8), 1, 6, "x")
    with pytest.raises(KeyError):
        distort(np.zeros((4, 4, 3), np.uint8), 15, 1, "x")
    with pytest.raises(ValueError, match="recipe version 99"):
        image(1, 1, 1, recipe=99)


def digest(number: int, type: int, level: int) -> str:
    return hashlib.sha256(image(number, type, level).tobytes()).hexdigest()[:12]


@pytest.mark.parametrize(("type", "level"), PINNED)
def test_pixels_are_those_of_this_recipe_version(type: int, level: int) -> None:
    assert RECIPE == 1
    assert digest(3, type, level) == PINNED[type, level]


def test_images_are_the_same_in_another_process() -> None:
    code = f"import sys; sys.path.insert(0, {str(photographs.DATA.parents[2])!r}); import hashlib; "
    code += "from clip_align.perception.kadid10k_remade import image; "
    code += "print(hashlib.sha256(image(4, 3, 4).tobytes()).hexdigest()[:12])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600)
    assert found.stdout.strip() == digest(4, 3, 4)
    assert pair_id(4, 3, 4) == "kadid10k_remade/I04_03_4"
