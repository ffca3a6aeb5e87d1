# SPDX-License-Identifier: Apache-2.0
"""Shapes, textures, colours, backgrounds: what every image is put together from."""

from __future__ import annotations

import numpy as np
import pytest

from clip_align.data.world.backgrounds import canvases
from clip_align.data.world.colours import CONTRAST, LEAST_CONTRAST, RGB, partner, set_apart
from clip_align.data.world.recipe import Recipe
from clip_align.data.world.shapes import CELLS, EXTENT, SHAPES, shape_tables
from clip_align.data.world.textures import TEXTURES, texture_tables

SMALL = Recipe(size=16)


def distance(name: str, x: float, y: float) -> float:
    column, row = (int((value + EXTENT) / (2 * EXTENT) * CELLS) for value in (x, y))
    return float(shape_tables()[SHAPES.index(name), row, column])


def test_there_are_sixteen_of_each() -> None:
    assert len(set(SHAPES)) == shape_tables().shape[0] == 16
    assert len(set(TEXTURES)) == texture_tables().shape[0] == 16


@pytest.mark.parametrize(
    ("name", "x", "y", "expected"),
    [
        ("disc", 0, 0, -0.85),
        ("disc", 1.2, 0, 0.35),
        ("square", 1.2, 0, 0.43),
        ("square", 1.07, 1.07, 0.4243),  # at a corner: .3 along both axes
        ("ring", 0, 0, 0.41),
        ("triangle", 0, 1.0, 0.25),
        ("cross", 0.95, 0.95, 0.65),
    ],
)
def test_distances_by_hand(name: str, x: float, y: float, expected: float) -> None:
    assert distance(name, x, y) == pytest.approx(expected, abs=2 * EXTENT / CELLS)


def test_distances_change_no_faster_than_one_a_unit() -> None:
    cell = 2 * EXTENT / CELLS
    for axis in (1, 2):
        assert np.abs(np.diff(shape_tables(), axis=axis)).max() <= cell * 1.001


def test_shapes_fill_their_box_and_stay_inside() -> None:
    axis = (np.arange(CELLS) + 0.5) / CELLS * 2 * EXTENT - EXTENT
    reach = np.maximum(np.abs(axis)[:, None], np.abs(axis)[None, :])
    for name, table in zip(SHAPES, shape_tables(), strict=True):
        assert 0.75 < reach[table < 0].max() < 1.03, name
        assert 0.05 < (table < 0).mean() * EXTENT**2 < 0.75, name  # fraction of the box


def test_shapes_differ() -> None:
    inside = shape_tables() < 0
    for a in range(16):
        for b in range(a):
            shared = (inside[a] & inside[b]).sum() / (inside[a] | inside[b]).sum()
            assert shared < 0.85, (SHAPES[a], SHAPES[b])


def test_textures_continue_on_all_sides_and_differ() -> None:
    tables = texture_tables().astype(float)
    assert (tables[TEXTURES.index("plain")] == 255).all()
    for name, table in zip(TEXTURES, tables, strict=True):
        seam = np.abs(table[:, 0] - table[:, -1]).mean()
        assert seam <= max(np.abs(np.diff(table, axis=1)).mean(axis=0).max(), 1.0), name
    for a in range(16):
        for b in range(a):
            assert np.abs(tables[a] - tables[b]).mean() > 20, (TEXTURES[a], TEXTURES[b])


def test_checks_and_stripes_are_half_and_half() -> None:
    for name in ("striped", "checked", "zigzag", "barred"):
        assert texture_tables()[TEXTURES.index(name)].mean() == pytest.approx(127.5, rel=0.02)


def test_second_colour_stands_out() -> None:
    luma = RGB @ np.array([0.299, 0.587, 0.114])
    first = np.repeat(np.arange(12), 50)
    second = partner(first, np.tile(np.linspace(0, 0.999, 50), 12))
    assert (np.abs(luma[first] - luma[second]) >= LEAST_CONTRAST - 1e-6).all()


def test_colours_are_set_apart_in_lightness_alone() -> None:
    first, second = RGB[[0, 0, 9]], RGB[[9, 11, 8]]  # red with black and white, black with brown
    moved = set_apart(first, second)
    weights = np.array([0.299, 0.587, 0.114])
    assert moved[0] == pytest.approx(0)  # black can get no blacker
    assert moved[1] == pytest.approx(second[1])  # far enough already
    assert (moved[2] - first[2]) @ weights == pytest.approx(CONTRAST)
    assert moved[2] - second[2] == pytest.approx(moved[2][0] - second[2][0])


def test_held_out_canvases_are_others() -> None:
    train, held_out = canvases(SMALL, "train"), canvases(SMALL, "held_out")
    assert train.shape[0] == held_out.shape[0] == 2
    assert not any((a == b).all() for k in range(2) for a in train[k] for b in held_out[k])


def test_clouds_have_the_spectrum_of_natural_scenes() -> None:
    light = canvases(Recipe(), "train")[0].astype(float).mean(axis=-1)  # [n, side, side]
    power = (np.abs(np.fft.fft2(light - light.mean(axis=(1, 2), keepdims=True))) ** 2).mean(axis=0)
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(light.shape[1]), np.fft.fftfreq(light.shape[1])))
    band = (f > 0.02) & (f < 0.2)
    slope = np.polyfit(np.log(f[band]), np.log(power[band]), 1)[0]
    assert -2.4 < slope < -1.6  # power of natural scenes: about f^-2
