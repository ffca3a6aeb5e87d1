# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from clip_align.evaluation.views import chosen_view, cut, tile_corners


def image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_the_view_follows_the_input_size() -> None:
    assert chosen_view(None, 32, "I01") == chosen_view(None, 127, "I01") == "tiles"
    assert chosen_view(None, 32, None) == chosen_view(None, 127, None) == "squash"
    for places in ("I01", None):
        assert chosen_view(None, 128, places) == chosen_view(None, 224, places) == "resize_crop"
        assert chosen_view("native", 32, places) == "native"


@pytest.mark.parametrize("shape", [(96, 130), (131, 70), (64, 64)])
def test_resize_crop_is_clips_own(shape: tuple[int, int]) -> None:
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    reference = Compose([Resize(32, InterpolationMode.BICUBIC), CenterCrop(32)])
    whole = image(*shape)
    assert np.array_equal(cut(whole, "resize_crop", 32, 4, "x")[0], np.asarray(reference(Image.fromarray(whole))))


def test_tiles_are_parts_of_the_image_at_its_own_resolution() -> None:
    whole = image(70, 90)
    tiles = cut(whole, "tiles", 32, 4, "I01")
    assert tiles.shape == (4, 32, 32, 3)
    for tile, (y, x) in zip(tiles, tile_corners(70, 90, 32, 4, "I01"), strict=True):
        assert np.array_equal(tile, whole[y : y + 32, x : x + 32])


def test_places_depend_on_their_name_alone() -> None:
    a, b = (cut(image(70, 90, seed), "tiles", 16, 4, "I01") for seed in (0, 1))
    again = cut(image(70, 90), "tiles", 16, 4, "I02")
    assert not np.array_equal(a, b)  # other images
    assert not np.array_equal(a, again)  # other places
    assert np.array_equal(tile_corners(70, 90, 16, 4, "I01"), tile_corners(70, 90, 16, 4, "I01"))


def test_places_cover_all_that_fits() -> None:
    corners = tile_corners(40, 36, 32, 2000, "x")
    assert corners.min(axis=0).tolist() == [0, 0]
    assert corners.max(axis=0).tolist() == [8, 4]


def test_an_image_smaller_than_a_tile_is_enlarged() -> None:
    assert cut(image(20, 30), "tiles", 32, 4, "x").shape == (4, 32, 32, 3)


def test_native_leaves_a_fitting_image_alone_and_enlarges_others() -> None:
    whole = image(32, 32)
    assert np.array_equal(cut(whole, "native", 32, 4, "x")[0], whole)
    larger = np.asarray(Image.fromarray(whole).resize((224, 224), Image.Resampling.BICUBIC))
    assert np.array_equal(cut(whole, "native", 224, 4, "x")[0], larger)


def test_squash_ignores_the_aspect() -> None:
    assert cut(image(40, 90), "squash", 32, 4, "x").shape == (1, 32, 32, 3)


@pytest.mark.parametrize("view", ["resize_crop", "squash", "native", "tiles"])
def test_float_images_stay_float(view: str) -> None:
    whole = image(70, 90)
    bytes_ = cut(whole, view, 32, 2, "x").astype(np.float32) / 255  # type: ignore[arg-type]
    floats = cut((whole / 255).astype(np.float32), view, 32, 2, "x")  # type: ignore[arg-type]
    assert floats.dtype == np.float32
    assert floats.min() >= 0
    assert floats.max() <= 1
    assert np.abs(floats - bytes_).max() <= 1.5 / 255  # rounding of two passes


@pytest.mark.parametrize("wrong", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((8, 8, 4), np.uint8)])
def test_what_is_no_image_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="an image is uint8 or float32"):
        cut(wrong, "native", 8, 1, "x")
