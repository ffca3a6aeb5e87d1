# SPDX-License-Identifier: Apache-2.0
"""A stimulus: one image that a benchmark wants the model to see."""

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

    ``load`` returns sRGB [H, W, 3], uint8 or float32 in [0, 1]. It must be picklable (a
    ``functools.partial`` of a module-level function), because images are made in worker
    processes; anything random in it is seeded by the id. Two benchmarks that use the same id mean the
    same image, which is then encoded once.
    ``view=None`` chooses by the model's input size: ``resize_crop`` from 128 px, below it ``tiles`` where ``places``
    is given, else ``squash``.
    ``places``: stimuli of the same name are cut into tiles at the same places (a reference and its
    distorted versions: name the reference); None: places of its own, where the view ``tiles`` is asked for.
    ``part``: the images it is kept among (``cifar100/test``), once for all benchmarks that name them; None: the
    benchmark's own. What is kept is known by the ids, the functions' names and their arguments, not by their source:
    whenever the same arguments make other images, raise the benchmark's ``version``, or for a part that several share
    a number among the arguments (``recipe=2``).
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
