# SPDX-License-Identifier: Apache-2.0
"""Images for tests; torch-free, so that rendering processes start fast."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray


def random_image(name: str, height: int = 24, width: int = 24) -> NDArray[np.uint8]:
    """A random image [height, width, 3], uint8.

    Args:
        name: seed.
        height, width: in px.
    """
    # crc32 and not hash(), which differs between processes
    return np.random.default_rng(zlib.crc32(name.encode())).integers(0, 256, (height, width, 3), dtype=np.uint8)
