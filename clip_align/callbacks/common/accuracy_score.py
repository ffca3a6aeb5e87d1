# SPDX-License-Identifier: Apache-2.0
"""The score of right decisions about images, with its chance and Wilson's interval."""

from __future__ import annotations

from functools import partial
from typing import Any

from clip_align.callbacks.base import Items, Score
from clip_align.callbacks.common.known_classes import KnownClasses
from clip_align.metrics.accuracy import accuracy
from clip_align.metrics.estimate import Estimate

__all__ = ["accuracy_score"]


def accuracy_score(
    name: str,
    label: str,
    known: KnownClasses,
    images: int,
    column: str = "choice",
    direction: str = "higher = more images named rightly",
    what: str = "images",
    **more: Any,
) -> Score:
    """The fraction of items whose decision is the human column's.

    Args:
        name: of the score.
        label: its name in figures.
        known: the classes among which the model decides.
        images: number of images.
        column: of the decisions, among the model's values of the items.
        direction: meaning of a higher value.
        what: the images are called, in the plural.
        more: further fields of `Score`.
    """
    compute = partial(_accuracy, column=column)
    unit = known.unit(f"{images:,} {what}, Wilson")
    return Score(name, label, compute, direction=direction, chance=known.chance, unit=unit, **more)


def _accuracy(items: Items, column: str) -> Estimate:
    return accuracy(items.model[column], items.human)
