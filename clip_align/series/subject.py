# SPDX-License-Identifier: Apache-2.0
"""What is evaluated: one or several sets of weights of a model, each at a place on the axis of training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from clip_align.errors import UserError
from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.evaluation.weights import Swap
from clip_align.perception.observers import Observer


@dataclass(frozen=True, order=True)
class Place:
    """How far a model has been trained: optimizer steps, samples over all ranks, epochs; all 0 where not known."""

    step: int
    samples: int = 0
    epoch: int = 0


@dataclass(frozen=True)
class Member:
    """One set of weights of a series.

    file: where the weights are; None: none are read. label: its name in messages.
    """

    place: Place
    label: str
    file: Path | None = None


@dataclass(frozen=True)
class Unreadable:
    """A file that was named and cannot be evaluated, with the reason in one line."""

    file: Path
    reason: str


class Subject(Protocol):
    """A model with one or several sets of weights, on one axis.

    label: short name, from which the record's folder gets its own.
    identity: what makes two commands speak of the same series; a record holds one series.
    about: facts for the provenance, plain python.
    weights: sets of weights that each member is evaluated with, by name; entered after `load`.
    """

    label: str
    identity: str
    weights: Mapping[str, Swap]

    @property
    def about(self) -> Mapping[str, Any]:
        """See above."""

    def members(self) -> tuple[list[Member], list[Unreadable]]:
        """What is there now, in the order of the axis, and the files that cannot be read."""

    def load(self, member: Member) -> EvaluatedModel | Observer:
        """The model with the weights of ``member``, or a judge; the same object where only the weights differ.

        UserError for a file that is damaged or does not fit the model.
        """

    def notes(self, member: Member) -> Mapping[str, float]:
        """Further numbers for the line of the evaluation, by key."""


def in_order(members: Iterable[Member]) -> list[Member]:
    """Members by their steps; of several names of one step in one folder the first counts.

    UserError where files of two folders have the same step: a record holds one curve.
    """
    found: dict[int, Member] = {}
    for member in members:
        other = found.setdefault(member.place.step, member)
        if other is not member and _folder(other) != _folder(member):
            raise UserError(
                f"{member.label}: step {member.place.step} as {other.label}; a record holds one series: "
                "evaluate each by a command of its own, with another name=…"
            )
    return [found[step] for step in sorted(found)]


def _folder(member: Member) -> Path | None:
    return member.file.parent if member.file is not None else None
