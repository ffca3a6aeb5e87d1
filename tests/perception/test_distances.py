# SPDX-License-Identifier: Apache-2.0
"""Distances between embeddings: hand-made answers, invariances, degenerate features."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from clip_align.perception.distances import (
    DISTANCES,
    Distance,
    cosine,
    differences,
    divisor,
    euclidean,
    normalised_euclidean,
)


def pairs(seed: int = 0, p: int = 40, v: int = 3, d: int = 16) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    ref = rng.standard_normal((p, v, d), dtype=np.float32)
    return ref, ref + rng.standard_normal((p, v, d), dtype=np.float32) * rng.uniform(0.1, 2, (p, 1, d)).astype("f4")


def test_hand_made_pair_of_two_tiles() -> None:
    ref = np.array([[[0, 0], [1, 0]]], dtype=np.float32)  # one pair, two tiles, two features
    dist = np.array([[[3, 4], [0, 1]]], dtype=np.float32)
    # tiles: sqrt((9 + 16) / 2), sqrt((1 + 1) / 2)
    assert euclidean(ref, dist) == pytest.approx([(np.sqrt(12.5) + 1) / 2], abs=1e-12)
    # divisors: (9 + 1) / 2 = 5 and (16 + 1) / 2 = 8.5
    expected = (np.sqrt((9 / 5 + 16 / 8.5) / 2) + np.sqrt((1 / 5 + 1 / 8.5) / 2)) / 2
    assert normalised_euclidean(ref, dist) == pytest.approx([expected], abs=1e-12)
    assert cosine(ref + 1, dist + 1) == pytest.approx([np.mean([1 - 9 / np.sqrt(82), 1 - 4 / 5])], abs=1e-12)


def test_normalised_distance_follows_the_published_recipe() -> None:
    ref, dist = pairs(v=1)
    square = (ref.astype(np.float64) - dist)[:, 0] ** 2
    assert normalised_euclidean(ref, dist) == pytest.approx(np.sqrt((square / square.mean(0)).mean(1)), rel=1e-12)


def test_mean_squared_normalised_tile_distance_is_one() -> None:
    ref, dist = pairs(v=1)
    assert np.square(normalised_euclidean(ref, dist)).mean() == pytest.approx(1, abs=1e-12)


def test_normalised_distance_does_not_depend_on_the_scale_of_features() -> None:
    ref, dist = pairs()
    scale = np.float32(2.0) ** np.arange(-8, 8, dtype=np.float32)  # powers of two: exact
    assert normalised_euclidean(ref * scale, dist * scale) == pytest.approx(normalised_euclidean(ref, dist), rel=1e-12)


@pytest.mark.parametrize("distance", DISTANCES.values(), ids=DISTANCES.keys())
def test_order_of_pairs_and_of_their_two_images_does_not_matter(distance: Distance) -> None:
    ref, dist = pairs()
    order = np.random.default_rng(1).permutation(len(ref))
    assert distance(ref[order], dist[order]) == pytest.approx(distance(ref, dist)[order], rel=1e-12)
    assert distance(dist, ref) == pytest.approx(distance(ref, dist), rel=1e-12)


@pytest.mark.parametrize("distance", DISTANCES.values(), ids=DISTANCES.keys())
def test_float64_and_one_number_a_pair(distance: Distance) -> None:
    values = distance(*pairs())
    assert values.shape == (40,)
    assert values.dtype == np.float64
    assert (values > 0).all()


@pytest.mark.parametrize("distance", DISTANCES.values(), ids=DISTANCES.keys())
def test_constant_model_gives_zero_for_every_pair(distance: Distance) -> None:
    same = np.full((7, 4, 5), 0.3, dtype=np.float32)
    assert (distance(same, same.copy()) == 0).all()


@pytest.mark.parametrize("distance", DISTANCES.values(), ids=DISTANCES.keys())
def test_non_finite_features_give_nan(distance: Distance) -> None:
    for bad in (np.nan, np.inf):
        ref, dist = pairs()
        ref[3, 1, 2] = dist[3, 1, 2] = bad
        assert np.isnan(distance(ref, dist)[3])


def test_zero_vector_has_no_angle() -> None:
    ref, dist = pairs()
    dist[5] = 0
    assert np.isnan(cosine(ref, dist)[5])
    assert np.isfinite(np.delete(cosine(ref, dist), 5)).all()


def test_features_that_never_change_are_dropped_and_counted() -> None:
    ref, dist = pairs(d=64)
    kept = divisor(ref, dist)
    assert kept.dropped == 0
    noise = np.random.default_rng(2).standard_normal((40, 3, 20), dtype=np.float32) * np.float32(1e-5)
    dead = np.ones((40, 3, 20), dtype=np.float32)
    wide_ref, wide_dist = np.concatenate([ref, dead], axis=2), np.concatenate([dist, dead + noise], axis=2)
    assert divisor(wide_ref, wide_dist).dropped == 20
    assert normalised_euclidean(wide_ref, wide_dist) == pytest.approx(normalised_euclidean(ref, dist), rel=1e-12)


def test_rounding_noise_of_a_collapsed_model_is_not_blown_up() -> None:
    rng = np.random.default_rng(3)
    ref = np.full((30, 2, 8), 1.7, dtype=np.float32)
    dist = ref + rng.integers(-1, 2, ref.shape).astype(np.float32) * np.float32(1.2e-7)
    assert divisor(ref, dist).dropped == 8
    assert (normalised_euclidean(ref, dist) == 0).all()


def test_other_shapes_are_refused() -> None:
    ref, dist = pairs()
    for distance in DISTANCES.values():
        with pytest.raises(ValueError, match="pairs, tiles, features"):
            distance(ref[:, 0], dist[:, 0])
        with pytest.raises(ValueError, match="pairs, tiles, features"):
            distance(ref, dist[:-1])


def test_a_name_that_is_no_distances_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^no distance 'eucledian'; valid: normalised_euclidean, euclidean, cosine$"):
        differences(*pairs()).distance("eucledian")  # type: ignore[arg-type]
