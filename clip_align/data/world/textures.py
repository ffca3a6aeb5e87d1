# SPDX-License-Identifier: Apache-2.0
"""The sixteen textures, as periodic tables of the fraction of the first of two colours.

A table is a square of PERIODS x PERIODS periods that continues on all sides; a texture has no outline and no size of
its own, so that nothing of a shape can be read from it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float64]
PERIODS = 4
CELLS = 128  # along an axis: 32 a period

_axis = (np.arange(CELLS) + 0.5) / CELLS * PERIODS
_P, _Q = np.meshgrid(_axis, _axis)  # in periods, to the right and downwards


def _centred(x: Field) -> Field:
    """Distance to the middle of the period, -.5 … .5."""
    return x % 1.0 - 0.5


def _light(where: NDArray[np.bool_]) -> Field:
    return where.astype(np.float64)


def _noise(seed: int, blur_p: float, blur_q: float) -> Field:
    """Periodic smooth noise, mean 0, standard deviation 1; blur as a fraction of a period."""
    white = np.random.default_rng(seed).standard_normal((CELLS, CELLS))
    f = np.fft.fftfreq(CELLS, d=PERIODS / CELLS)
    # Gaussian blur as a product in the frequency domain: periodic, as the table has to be
    keep = np.exp(-2 * np.pi**2 * ((f[None, :] * blur_p) ** 2 + (f[:, None] * blur_q) ** 2))
    smooth = np.fft.ifft2(np.fft.fft2(white) * keep).real
    return np.asarray((smooth - smooth.mean()) / smooth.std(), dtype=np.float64)


def _cracked() -> Field:
    """Cells around seeded points, dark where two cells meet."""
    points = np.random.default_rng(5).random((20, 2)) * PERIODS
    # distances on the torus: the shorter way round, so that cells continue on all sides
    offset = np.abs(np.stack([_P, _Q], -1)[:, :, None] - points)  # [CELLS, CELLS, 20, 2]
    distance = np.sort(np.hypot(*np.moveaxis(np.minimum(offset, PERIODS - offset), -1, 0)), axis=-1)
    return _light(distance[..., 1] - distance[..., 0] > 0.16)  # nearest and second nearest point


def _scaly() -> Field:
    row = np.floor(_Q * 2)
    x = _centred(_P + 0.5 * (row % 2))
    return _light(np.abs(np.hypot(x, _Q * 2 % 1.0 / 1.6) - 0.48) > 0.1)


# A period is about five pixels of a 32 px image: features much finer than half of it would be lost.
_MAKERS: dict[str, Callable[[], Field]] = {
    "striped": lambda: _light(_Q % 1.0 < 0.5),
    "checked": lambda: _light((np.floor(_P) + np.floor(_Q)) % 2 == 0),
    "dotted": lambda: _light(np.hypot(_centred(_P), _centred(_Q)) > 0.33),
    "gridded": lambda: _light((_P % 1.0 > 0.28) & (_Q % 1.0 > 0.28)),
    "zigzag": lambda: _light((_Q + np.abs(_centred(_P / 2))) % 1.0 < 0.5),
    "ringed": lambda: _light(np.hypot(_centred(_P / 2), _centred(_Q / 2)) % 0.33 < 0.165),
    "brick": lambda: _light(((_P / 2 + 0.5 * (np.floor(_Q) % 2)) % 1.0 > 0.14) & (_Q % 1.0 > 0.3)),
    "woven": lambda: _light(np.where((np.floor(_P) + np.floor(_Q)) % 2 == 0, _Q, _P) * 2 % 1.0 < 0.55),
    "marbled": lambda: 0.5 + 0.5 * np.clip(1.5 * _noise(1, 0.35, 0.35), -1, 1),
    "speckled": lambda: _light(_noise(3, 0.07, 0.07) < 0),
    "scaly": _scaly,
    "plain": lambda: np.ones_like(_P),
    "cracked": _cracked,
    "barred": lambda: _light(_P % 1.0 < 0.5),
    "diamond": lambda: _light(np.abs(_centred(_P)) + np.abs(_centred(_Q)) < 0.42),
    "furry": lambda: 0.5 + 0.5 * np.clip(_noise(2, 0.08, 0.8), -1, 1),
}
TEXTURES: tuple[str, ...] = tuple(_MAKERS)


@cache
def texture_tables() -> NDArray[np.uint8]:
    """Fraction of the first colour [16, CELLS, CELLS], 0 … 255, in the order of `TEXTURES`."""
    return np.stack([np.round(255 * make()) for make in _MAKERS.values()]).astype(np.uint8)
