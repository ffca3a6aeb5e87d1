# SPDX-License-Identifier: Apache-2.0
"""What noise costs in the retrieval of held-out samples of the training data by their captions."""

from __future__ import annotations

from typing import Any, ClassVar

from clip_align.callbacks.common.held_out_images import RetrievedImages
from clip_align.callbacks.common.labelled_images import NoisyImages, Resolution


class HeldOut(RetrievedImages, NoisyImages):
    """The held-out images of ``zero_shot/held_out``, clean and under Gaussian noise at the published sigmas.

    Accuracy is the fraction of images that find their caption among ``candidates``; drops as in ``noise/cifar100``,
    with 1 / candidates for chance: the headline is the corrected drop at the largest sigma. No human data.

    Args:
        candidates, held_out_samples: see `RetrievedImages`.
        resolution: at which noise is added: ``model``, after the image was cut to it, or ``native``.
        base: further arguments of `NoisyImages`.
    """

    family: ClassVar[str] = "noise"
    version: ClassVar[int] = 1
    human_data: ClassVar[str] = "none"
    stand_in: ClassVar[str] = "captions instead of class names"
    source: ClassVar[str] = (
        "samples of the training data that are never trained on; sigmas: Hendrycks & Dietterich 2019, arXiv 1903.12261"
    )
    licence: ClassVar[str] = "that of the training data"

    def __init__(self, resolution: Resolution = "model", **base: Any) -> None:
        super().__init__(resolution=resolution, **base)
