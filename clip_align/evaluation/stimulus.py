# SPDX-License-Identifier: Apache-2.0
"""A stimulus: one image of a benchmark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

View = Literal["resize_crop", "squash", "native", "tiles"]
ImageArray = NDArray[np.uint8] | NDArray[np.float32]


@dataclass(frozen=True)
class Stimulus:
    """One image: an id, how to make or read it, and the view under which the model sees it.

    id: benchmarks that use the same id must mean the same image, which is then encoded once.
    load: returns sRGB [H, W, 3], uint8 or float32 in [0, 1]. It must be picklable (a ``functools.partial`` of a
        module-level function), because images are rendered in worker processes; random numbers in it are seeded by the
        id.
    view: None: ``resize_crop`` for model inputs from 128 px; below, ``tiles`` where ``places`` is given, else
        ``squash``.
    places: seed of the tiles' positions. Stimuli with equal ``places`` are cut at the same positions: for a reference
        and its distorted versions, the reference's id. None: the stimulus's own id.
    part: name of the set of images it is cached with (``cifar100/test``), common to all benchmarks that use it; None:
        the benchmark's own set.

    A cached image is identified by the id, the function's name and its arguments, not by source code. When the same
    arguments yield another image, raise the benchmark's ``version``; for a common part, a number among the arguments
    (``recipe=2``).
    """

    id: str
    load: Callable[[], ImageArray]
    view: View | None = None
    places: str | None = None
    part: str | None = None


def valid_image(image: ImageArray) -> ImageArray:
    """The image that a stimulus's ``load`` returned; ValueError for floats outside [0, 1]."""
    if not isinstance(image, np.ndarray):
        raise ValueError(f"an image is an array [H, W, 3], not {type(image).__name__}")
    if image.dtype == np.float32 and image.size:
        low, high = float(image.min()), float(image.max())
        if not (low >= 0 and high <= 1):  # also where one of them is NaN
            raise ValueError(
                f"a float image is in [0, 1], this one in [{low:g}, {high:g}]; divide by 255, or give uint8"
            )
    return image
