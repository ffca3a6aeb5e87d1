# SPDX-License-Identifier: Apache-2.0
"""A single model as a subject: an encoder with random or given weights, a model that a program has in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.evaluation.weights import RAW, Swap
from clip_align.series.subject import Member, Place, Unreadable

UNKNOWN = Place(0)


class OneModel:
    """One model with one set of weights.

    Args:
        label: short name.
        make: returns the model; called once.
        about: facts for the provenance, plain python; what distinguishes it from other models among them.
        place: how far it has been trained, where that is known.
    """

    def __init__(
        self, label: str, make: Callable[[], EvaluatedModel], about: Mapping[str, Any], place: Place = UNKNOWN
    ) -> None:
        self.label, self.about = label, about
        self.identity = " ".join(f"{key}={value}" for key, value in about.items())
        self.weights: Mapping[str, Swap] = {RAW: nullcontext}
        self._make, self._place = make, place
        self._made: EvaluatedModel | None = None

    def members(self) -> tuple[list[Member], list[Unreadable]]:
        """The model."""
        return [Member(self._place, self.label)], []

    def load(self, member: Member) -> EvaluatedModel:
        """The model, made at the first call."""
        if self._made is None:
            self._made = self._make()
        return self._made

    def notes(self, member: Member) -> Mapping[str, float]:
        """None."""
        return {}
