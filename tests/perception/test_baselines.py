# SPDX-License-Identifier: Apache-2.0
"""Pixel baselines against scikit-image, the embedded table against the images, ceilings against the databases."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from clip_align.metrics.correlation import krocc, srocc, within_level_srocc
from clip_align.perception import baselines, observers, photographs
from clip_align.perception.luminance import luminance
from clip_align.perception.pixel_measures import MEASURES
from clip_align.perception.tid2013_remade import Pairs, image, pairs

# srocc, within-level srocc over the 1,920 pairs: an earlier making of the same recipes and measures.
EXPECTED = {
    "level alone": (0.744, None),
    "type alone": (0.443, 0.665),
    "PSNR (RGB)": (0.650, -0.196),
    "PSNR (luminance)": (0.563, 0.03),
    "SSIM": (0.633, 0.276),
}
RECORDED = {
    "level alone": (0.7443591852291898, math.nan),
    "type alone": (0.443100027179658, 0.6652209810366313),
    "PSNR (RGB)": (0.6506364902754244, -0.1927404085912874),
    "PSNR (luminance)": (0.562784581589528, 0.028994861512943233),
    "SSIM": (0.6327350713194498, 0.27461415390329663),
}
# PSNR over RGB at the five levels, mean over TID2013's I22 to I24, from the database's own PSNRc.txt.
DATABASE_DB = {
    1: (33.1, 30.1, 27.1, 24.1, 21.1),
    2: (33.3, 30.3, 27.2, 24.3, 21.3),
    3: (33.1, 30.1, 27.1, 24.1, 21.1),
    5: (33.1, 30.1, 25.1, 20.1, 15.2),
    6: (32.8, 29.5, 26.5, 23.5, 20.5),
    7: (33.3, 30.2, 27.2, 24.6, 21.6),
    8: (37.3, 32.5, 28.4, 25.5, 23.2),
    10: (35.1, 32.8, 29.5, 25.7, 22.6),
    11: (33.0, 30.0, 27.1, 24.0, 21.1),
    16: (32.6, 28.2, 22.1, 18.7, 16.2),
    17: (34.1, 29.2, 26.2, 22.7, 20.2),
    18: (33.0, 30.0, 27.0, 24.0, 21.0),
    19: (33.0, 30.0, 27.0, 24.0, 21.0),
    21: (33.0, 30.0, 27.0, 24.0, 21.0),
    22: (33.0, 30.0, 27.0, 23.7, 20.9),
    23: (33.0, 27.9, 25.0, 23.0, 21.0),
}
FARTHEST_DB = {
    6: (0.2, 0.5),
    7: (-0.63, -0.17),
    8: (-0.39, -0.23),
    10: (-0.47, -0.10),
    21: (-0.62, 0),
    22: (-0.43, 0.28),
}
CONTRAST = 17
PUBLISHED = {  # column of ZS-IQA's table; a distance, or None: the level
    "CLIP ViT-B/32, all blocks": "clip_vitb32_l2",
    "CLIP ViT-B/32, projection": "embed_clip_vitb32_cos",
    "CLIP RN50, all blocks": "clip_rn50_cos",
    "CLIP RN50, projection": "embed_clip_rn50_cos",
    "level alone": None,
}
SHARED_WITH_TID2008 = (1, 2, 3, 5, 6, 7, 8, 10, 11, 16, 17)


@pytest.mark.parametrize(("type", "level"), [(1, 1), (8, 5), (10, 4), (16, 2), (18, 3), (23, 5)])
def test_ssim_is_that_of_scikit_image(type: int, level: int) -> None:
    clean, made = photographs.reference(3)[:200, :260], image(3, type, level)[:200, :260]
    expected = structural_similarity(
        luminance(clean).astype(np.float64),
        luminance(made).astype(np.float64),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
    )
    assert observers.ssim(clean, made) == pytest.approx(expected, abs=2e-5)


def test_ssim_and_psnr_of_equal_images() -> None:
    clean = photographs.reference(1)
    assert observers.ssim(clean, clean) == pytest.approx(1, abs=1e-5)
    assert observers.psnr_luminance(clean, clean) == math.inf


def test_luminance_psnr_is_that_of_scikit_image() -> None:
    clean, made = photographs.reference(5), image(5, 10, 2)
    both = (luminance(p).astype(np.float64) for p in (clean, made))
    expected = peak_signal_noise_ratio(*both, data_range=255)
    assert observers.psnr_luminance(clean, made) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", EXPECTED)
def test_baselines_are_the_known_ones(name: str) -> None:
    pooled, within = baselines.baselines()[name]
    assert pooled == pytest.approx(EXPECTED[name][0], abs=0.01)
    if EXPECTED[name][1] is None:
        assert math.isnan(within)
    else:
        assert within == pytest.approx(EXPECTED[name][1], abs=0.01)


def others_mean(of: Pairs, condition: NDArray[np.int64]) -> NDArray[np.float64]:
    return observers.others_mean(of.opinion, condition, of.reference)


@pytest.mark.parametrize("name", RECORDED)
def test_baselines_in_the_record_are_those_of_the_present_release(name: str) -> None:
    """To the last digits: others would be other baselines of the same benchmark and version."""
    assert baselines.baselines()[name] == pytest.approx(RECORDED[name], rel=0, abs=1e-15, nan_ok=True)


def over_images(values: NDArray[np.float64], type: int) -> NDArray[np.float64]:
    of = pairs()
    return np.array([values[(of.type == type) & (of.level == level)].mean() for level in range(1, 6)])


@pytest.mark.parametrize("type", DATABASE_DB)
def test_levels_reach_the_databases_psnr_as_documented(type: int) -> None:
    off = over_images(baselines.table()["psnr_rgb"], type) - DATABASE_DB[type]
    low, high = FARTHEST_DB.get(type, (-0.3, 0.3))
    assert off.min() >= low - 0.006
    assert off.max() <= high + 0.006
    if type in FARTHEST_DB:
        assert (off.min(), off.max()) == pytest.approx((low, high), abs=0.006)


@pytest.mark.parametrize("type", DATABASE_DB)
def test_opinions_fall_with_strength_but_for_contrast(type: int) -> None:
    opinions = over_images(pairs().opinion, type)
    if type == CONTRAST:
        assert opinions == pytest.approx([5.63, 6.47, 4.48, 6.29, 3.46], abs=0.005)
    else:
        assert (np.diff(opinions) < 0).all()


@pytest.mark.parametrize(("measure", "expected"), [("psnr_rgb", 0.4646), ("psnr_luminance", 0.4155), ("ssim", 0.4520)])
def test_kendalls_tau_is_that_of_the_earlier_making(measure: str, expected: float) -> None:
    assert krocc(baselines.table()[measure], pairs().opinion) == pytest.approx(expected, abs=1e-3)


def test_ssim_at_each_level() -> None:
    of, ssim = pairs(), baselines.table()["ssim"]
    found = [srocc(ssim[of.level == k], of.opinion[of.level == k]) for k in range(1, 6)]
    assert found == pytest.approx([0.11, 0.33, 0.22, 0.36, 0.35], abs=0.006)


def test_one_photograph_against_the_mean_of_the_other_23() -> None:
    of = pairs()
    others = others_mean(of, of.type * 10 + of.level)
    found = [srocc(of.opinion[of.reference == k], others[of.reference == k]) for k in photographs.NUMBERS]
    assert (np.mean(found), min(found), max(found)) == pytest.approx((0.935, 0.811, 0.983), abs=6e-4)


def test_type_and_level_without_their_interaction() -> None:
    of = pairs()
    added = others_mean(of, of.type) + others_mean(of, of.level)
    assert both(added, of.opinion, of.level) == pytest.approx((0.877, 0.664), abs=6e-4)


def test_ssim_of_other_photographs() -> None:
    """SSIM with the photographs permuted: little of it is about the image (.633 and .276 as they are)."""
    of, generator = pairs(), np.random.default_rng(0)
    ssim = baselines.table()["ssim"].reshape(24, 80)  # pairs are sorted by reference
    drawn = [both(ssim[generator.permutation(24)].ravel(), of.opinion, of.level) for _ in range(50)]
    assert np.mean(drawn, axis=0) == pytest.approx((0.617, 0.255), abs=0.004)


@pytest.mark.parametrize(
    ("type", "expected"), [(6, 3.5), (8, 0.0), (10, 1.5), (11, 0.7), (16, 0.0), (22, 1.7), (23, 7.7)]
)
def test_colour_balance(type: int, expected: float) -> None:
    """Luminance minus RGB PSNR in dB, as in an earlier making of the same recipes."""
    measured = baselines.table()
    off = over_images(measured["psnr_luminance"] - measured["psnr_rgb"], type)
    assert off.mean() == pytest.approx(expected, abs=0.1)


def check_table(numbers: tuple[int, ...]) -> None:
    of, embedded = pairs(), baselines.table()
    for row in np.flatnonzero(np.isin(of.reference, numbers)):
        measured = baselines.measure(int(of.reference[row]), int(of.type[row]), int(of.level[row]))
        found = [embedded[name][row] for name in MEASURES]
        assert found == pytest.approx(measured, abs=6e-4), (of.reference[row], of.type[row], of.level[row])


def test_embedded_table_is_that_of_the_images_of_one_photograph() -> None:
    check_table((17,))


@pytest.mark.exhaustive
@pytest.mark.timeout(1200)
def test_embedded_table_is_that_of_all_images() -> None:
    check_table(photographs.NUMBERS)


def test_a_table_of_other_pairs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shorter = tmp_path / "table.csv"
    shorter.write_text("".join(baselines.TABLE.read_text().splitlines(keepends=True)[:-1]))
    monkeypatch.setattr(baselines, "TABLE", shorter)
    with pytest.raises(ValueError, match="its rows are not the 1920 pairs"):
        baselines.table.__wrapped__()


def test_mean_of_the_others_by_hand() -> None:
    of = pairs()
    mean = others_mean(of, of.type * 10 + of.level)
    row = int(np.flatnonzero((of.reference == 7) & (of.type == 8) & (of.level == 2))[0])
    chosen = (of.reference != 7) & (of.type == 8) & (of.level == 2)
    assert chosen.sum() == 23
    assert mean[row] == pytest.approx(of.opinion[chosen].mean(), abs=1e-12)


def both(model: NDArray[np.float64], human: NDArray[np.float64], level: NDArray[np.int64]) -> tuple[float, float]:
    return srocc(model, human), within_level_srocc(model, human, level)


def test_content_blind_ceiling() -> None:
    of = pairs()
    blind = others_mean(of, of.type * 10 + of.level)
    assert both(blind, of.opinion, of.level) == pytest.approx(baselines.CEILINGS["content-blind"], abs=6e-4)


def test_rating_noise_ceiling() -> None:
    of, rng = pairs(), np.random.default_rng(0)
    draws = [
        both(of.opinion + of.standard_error * rng.standard_normal(len(of)), of.opinion, of.level) for _ in "x" * 30
    ]
    assert np.mean(draws, axis=0) == pytest.approx(baselines.CEILINGS["rating noise"], abs=1e-3)


def test_replication_ceiling(shared_data: Path) -> None:
    of = pairs()
    names = zip(of.reference.tolist(), of.type.tolist(), of.level.tolist(), strict=True)
    now = dict(zip(names, of.opinion.tolist(), strict=True))
    then, again, level = [], [], []
    with (shared_data / "opinion_scores" / "tid2008.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            key = int(row["ref"]), int(row["type"]), int(row["level"]) + 1  # TID2013 added the mildest level
            if key in now and key[1] in SHARED_WITH_TID2008:
                then.append(float(row["mos"]))
                again.append(now[key])
                level.append(key[2])
    assert len(then) == 24 * 11 * 4
    found = both(np.array(then), np.array(again), np.array(level))
    assert found == pytest.approx(baselines.CEILINGS["replication (TID2008)"], abs=1e-3)


def test_what_trained_clips_reach_is_computed_from_their_published_distances(shared_data: Path) -> None:
    with (shared_data / "zsiqa" / "tid2013.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [re.fullmatch(r"[iI](\d+)_(\d+)_(\d)\.bmp", row["distorted"], re.IGNORECASE) for row in rows]
    of = pairs()
    wanted = set(zip(of.reference.tolist(), of.type.tolist(), of.level.tolist(), strict=True))
    kept = [
        (row, key) for row, m in zip(rows, names, strict=True) if m and (key := tuple(map(int, m.groups()))) in wanted
    ]
    assert len(kept) == 1920
    opinion = np.array([-float(row["mos"]) for row, _ in kept])  # there higher = worse
    level = np.array([key[2] for _, key in kept])
    assert set(PUBLISHED) == set(baselines.TRAINED_CLIPS)
    for label, column in PUBLISHED.items():
        values = -np.array([float(row[column]) if column else key[2] for row, key in kept])
        pooled, within = baselines.TRAINED_CLIPS[label]
        assert srocc(values, opinion) == pytest.approx(pooled, abs=1e-3), label
        if within is not None:
            assert within_level_srocc(values, opinion, level) == pytest.approx(within, abs=1e-3), label
