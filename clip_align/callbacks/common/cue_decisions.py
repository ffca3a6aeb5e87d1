# SPDX-License-Identifier: Apache-2.0
"""Scores of decisions about images with two cues: what the world's and the original cue conflict have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from numpy.typing import ArrayLike

from clip_align.evaluation.items import Items
from clip_align.metrics import texture
from clip_align.metrics.estimate import Estimate

BIAS_DIRECTION = "higher = decided by texture, lower = by shape"
CORRECTED = "corrected, if errors are guesses"
SHAPE_DIRECTION, TEXTURE_DIRECTION = "higher = more decisions for the shape", "higher = more decisions for the texture"


def of_cues(
    items: Items,
    metric: Callable[..., Estimate],
    cues: Callable[[Items], tuple[ArrayLike, ArrayLike]],
    classes: int | None = None,
    clusters: Callable[[Items], Sequence[ArrayLike]] = lambda items: (),
) -> Estimate:
    """A metric of choice, shape and texture (`metrics.texture`).

    Args:
        items: whose decisions are named ``choice``.
        metric: takes choice, shape, texture, the number of classes if given, and ``clusters``.
        cues: class of the shape and of the texture of each item.
        classes: number of classes that the model chooses among; None: the metric does not take it.
        clusters: labels that the interval resamples; none: images within pairs of classes.
    """
    among = () if classes is None else (classes,)
    return metric(items.model["choice"], *cues(items), *among, clusters=clusters(items))


def error_notes(choice: ArrayLike, shape: ArrayLike, of_texture: ArrayLike) -> dict[str, float]:
    """What the corrected bias assumes of the errors: whether they depend on the image, and how much it can matter."""
    as_shape, as_texture = texture.bias_range(choice, shape, of_texture)
    notes = {"bias_if_errors_follow_shape": as_shape, "bias_if_errors_follow_texture": as_texture}
    depends = texture.error_dependence(choice, shape, of_texture)
    if depends is not None:
        notes.update(zip(("errors_by_shape_z", "errors_by_texture_z"), depends, strict=True))
    return {name: value for name, value in notes.items() if math.isfinite(value)}
