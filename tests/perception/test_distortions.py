# SPDX-License-Identifier: Apache-2.0
"""The 16 re-made distortion types: PSNRs on the table, facts of the real files, determinism."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage, special

from clip_align.perception import photographs
from clip_align.perception.baselines import table
from clip_align.perception.distortions import LEVELS, TYPES, distort, generator
from clip_align.perception.luminance import luminance
from clip_align.perception.psnr import psnr
from clip_align.perception.recipes.codecs import jpeg
from clip_align.perception.tid2013_remade import RECIPE, image, pair_id, pairs

# RGB PSNR in dB, mean over the 24 photographs, levels 1 to 5: an earlier, independent making of the same recipes.
MEANS_DB = {
    1: (33.00, 30.00, 27.00, 24.00, 20.99),
    2: (32.99, 30.00, 27.00, 24.00, 21.00),
    3: (33.00, 30.00, 27.00, 23.99, 21.01),
    5: (32.99, 30.00, 25.00, 20.00, 15.00),
    6: (33.00, 30.00, 27.00, 24.00, 21.00),
    7: (32.92, 30.06, 26.99, 23.97, 21.00),
    8: (36.95, 32.11, 28.17, 25.24, 22.83),
    10: (34.96, 32.33, 29.05, 25.51, 22.50),
    11: (33.01, 30.00, 27.01, 24.01, 21.05),
    16: (32.70, 28.15, 22.27, 18.75, 16.32),
    17: (34.07, 28.97, 26.12, 22.71, 20.10),
    18: (33.00, 30.00, 27.00, 24.00, 21.00),
    19: (33.00, 30.00, 27.01, 24.01, 21.00),
    21: (32.37, 29.76, 26.96, 23.99, 20.97),
    22: (32.63, 30.17, 26.97, 24.11, 20.80),
    23: (32.99, 28.00, 25.00, 23.00, 21.00),
}
SEARCHED = (1, 2, 3, 5, 6, 18, 19, 23)  # reach their PSNR on every image
PINNED = {  # first 12 hex digits of SHA-256: other pixels under the same RECIPE would be taken from old caches
    (1, 3): "21eff99f60d3",
    (6, 4): "18ed01eaaa90",
    (7, 2): "d36c45257a1e",
    (16, 4): "bba35ae1a387",
    (17, 5): "7b0f916c0fbb",
    (18, 3): "89e5c140b4fe",
    (19, 1): "47a938a3159b",
    (23, 5): "7bfc2de9869d",
}


def tolerance_db(type: int, level: int) -> float:
    return {21: 0.2, 22: 0.7}.get(type, 0.2 if (type, level) == (11, 5) else 0.1)


def remade(number: int, type: int, level: int) -> NDArray[np.uint8]:
    return image(number, type, level)


def test_mean_psnr_of_all_images_is_on_the_table() -> None:
    """On the embedded measures; test_baselines compares those with the images (one photograph; slow: all)."""
    of, measured = pairs(), table()["psnr_rgb"]
    off = []
    for type, expected in MEANS_DB.items():
        for level in LEVELS:
            found = measured[(of.type == type) & (of.level == level)].mean()
            if abs(found - expected[level - 1]) > tolerance_db(type, level):
                off.append((type, level, found, expected[level - 1]))
    assert not off


@pytest.mark.parametrize("type", SEARCHED)
def test_searched_types_reach_their_psnr_on_each_image(type: int) -> None:
    for number in (13, 20):  # the busiest, and one with a third of its samples clipped
        clean = photographs.reference(number)
        for level in LEVELS:
            assert psnr(remade(number, type, level), clean) == pytest.approx(
                TYPES[type].levels[level - 1][0], abs=0.015
            )


def test_jpeg2000_reaches_its_psnr_but_for_steps_of_the_coder() -> None:
    clean = photographs.reference(5)
    for level, target in zip(LEVELS, (33, 30, 27, 24, 21), strict=True):
        assert psnr(remade(5, 11, level), clean) == pytest.approx(target, abs=0.1)


def test_noisy_jpeg_adds_no_noise_where_the_coder_alone_is_below() -> None:
    busy, smooth = photographs.reference(13), photographs.reference(20)
    assert (remade(13, 21, 1) == jpeg(busy, 70)).all()
    assert psnr(remade(20, 21, 5), smooth) == pytest.approx(21, abs=0.05)


def test_palette_sizes_are_within_bounds_and_nearest_to_the_psnr() -> None:
    clean = photographs.reference(7)
    for level, target in zip(LEVELS, (33, 30, 27, 24, 21), strict=True):
        made = remade(7, 22, level)
        colours = len(np.unique(made.reshape(-1, 3), axis=0))
        assert 2 <= colours <= 256
        assert psnr(made, clean) == pytest.approx(target, abs=1) or colours in (2, 256)


# I04 and I06 are exact crops, and two real files of the database were measured: chroma of I06 level 3 is .435
# of the reference's, of I04 level 5 .087. The database keeps to its PSNR ladder within .1 dB.
@pytest.mark.parametrize(("number", "level", "factor"), [(6, 3, 0.435), (4, 5, 0.087)])
def test_saturation_is_that_of_the_real_files(number: int, level: int, factor: float) -> None:
    clean, made = photographs.reference(number), remade(number, 18, level)
    chroma, faded = (p - luminance(p)[:, :, None] for p in (clean, made))
    assert float((chroma * faded).sum() / np.square(chroma).sum()) == pytest.approx(
        factor, abs=(1 - factor) * (10**0.005 - 1)
    )
    assert np.abs(luminance(made) - luminance(clean)).mean() < 0.5  # Y is kept


def test_luminance_psnr_of_the_real_i01_with_noise_at_level_5() -> None:
    clean, made = photographs.reference(1), remade(1, 1, 5)
    error = np.square(luminance(made) - luminance(clean)).mean()
    assert 10 * np.log10(255**2 / error) == pytest.approx(24.49, abs=0.05)  # the database's file: RGB 21.02


@pytest.mark.parametrize(("type", "gain_db"), [(1, 3.5), (2, 9.3), (3, 3.5), (5, 3.5), (19, 3.2)])
def test_colour_balance_of_noise(type: int, gain_db: float) -> None:
    """Luminance PSNR minus RGB PSNR; the database's files have 3.4, 9.0, 3.4, 3.4, 3.2."""
    gains = []
    for number in (1, 5, 21):
        clean, made = photographs.reference(number), remade(number, type, 3)
        error = np.square(luminance(made) - luminance(clean)).mean()
        gains.append(10 * np.log10(255**2 / error) - psnr(made, clean))
    assert np.mean(gains) == pytest.approx(gain_db, abs=0.3)


def test_spectrum_of_correlated_and_high_frequency_noise() -> None:
    grey = np.full((256, 256, 3), 128, dtype=np.uint8)
    low, high = (distort(grey, type, 2, "x").astype(float) - 128 for type in (3, 5))
    for noise, neighbour in ((low, 6 / 9), (high, None)):
        along = np.mean(noise[:, 1:] * noise[:, :-1]) / np.mean(noise**2)
        if neighbour is not None:
            assert along == pytest.approx(neighbour, abs=0.02)  # two 3 x 3 windows one sample apart share 6 of 9
        else:
            assert along < -0.05
            assert np.abs(ndimage.uniform_filter(noise, (15, 15, 1))).mean() < 0.1 * np.abs(noise).mean()


def test_impulses_are_black_or_white_and_independent_in_the_channels() -> None:
    grey = np.full((200, 200, 3), 100, dtype=np.uint8)
    made = distort(grey, 6, 5, "x")
    hit = made != 100
    assert set(np.unique(made)) == {0, 100, 255}
    assert hit.mean() == pytest.approx(255**2 / 10**2.1 / np.mean([100**2, 155**2]), rel=0.05)
    assert (hit.all(axis=2)).sum() <= 5


def test_parameters_of_tone() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    assert (distort(ramp, 16, 3, "")[0, :, 0] == np.minimum(np.arange(256) + 20, 255)).all()
    assert (distort(ramp, 16, 4, "")[0, :, 0] == np.maximum(np.arange(256) - 30, 0)).all()
    assert (distort(ramp, 17, 5, "")[0, :, 0] == np.rint(127.5 + 0.5 * (np.arange(256) - 127.5))).all()
    steps = np.diff(np.unique(distort(ramp, 7, 4, "")))
    assert len(set(steps[:-1])) == 1


def test_blur_is_the_gaussian_of_the_parameter() -> None:
    edge = np.zeros((64, 64, 3), dtype=np.uint8)
    edge[:, 32:] = 255
    made = distort(edge, 8, 4, "")[10, :, 1].astype(float)
    expected = 255 * special.ndtr((np.arange(64) - 31.5) / 1.93)
    assert np.abs(made - expected).max() < 1.5


def test_aberration_moves_red_and_blue_apart_and_keeps_green() -> None:
    clean, made = photographs.reference(3), remade(3, 23, 5)
    assert (made[:, :, 1] == clean[:, :, 1]).all()

    def best_shift(channel: int) -> int:
        inside = made[50:-50, 50:-50, channel].astype(float)
        miss = [np.square(inside - clean[50 - d : -50 - d, 50 - d : -50 - d, channel]).mean() for d in range(-30, 31)]
        return int(np.argmin(miss)) - 30

    assert best_shift(0) == -best_shift(2)
    assert best_shift(0) > 3


@pytest.mark.parametrize("type", TYPES)
def test_twice_the_same_another_key_only_where_random(type: int) -> None:
    clean = photographs.reference(2)[:96, :128]
    first = distort(clean, type, 3, "a")
    assert first.dtype == np.uint8
    assert first.shape == clean.shape
    assert (first == distort(clean, type, 3, "a")).all()
    assert (first == distort(clean, type, 3, "b")).all() != TYPES[type].random


def test_same_in_another_process() -> None:
    code = (
        "import hashlib; from clip_align.perception.tid2013_remade import image;"
        "print(*[hashlib.sha256(image(9, t, 3).tobytes()).hexdigest() for t in (1, 6, 11, 22)])"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert there == [hashlib.sha256(remade(9, t, 3).tobytes()).hexdigest() for t in (1, 6, 11, 22)]


@pytest.mark.parametrize(("type", "level"), PINNED)
def test_pixels_are_those_of_this_recipe_version(type: int, level: int) -> None:
    found = hashlib.sha256(remade(1, type, level).tobytes()).hexdigest()[:12]
    assert (found, RECIPE) == (PINNED[type, level], 1), "pixels changed: raise RECIPE, then pin the new ones"


def test_other_forms_and_levels_are_refused() -> None:
    clean = photographs.reference(1)
    with pytest.raises(ValueError, match="uint8"):
        distort(clean.astype(np.float32), 1, 1, "")
    with pytest.raises(ValueError, match="levels 1 to 5"):
        distort(clean, 1, 6, "")
    with pytest.raises(KeyError):
        distort(clean, 14, 1, "")
    with pytest.raises(ValueError, match="0 everywhere"):
        distort(np.zeros((8, 8, 3), dtype=np.uint8), 19, 1, "")


def test_generators_of_different_keys_differ() -> None:
    draws = {tuple(generator(pair_id(n, t, 1)).integers(0, 2**32, 4)) for n in range(1, 25) for t in TYPES}
    assert len(draws) == 24 * len(TYPES)
