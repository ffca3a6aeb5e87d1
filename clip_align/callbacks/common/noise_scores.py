# SPDX-License-Identifier: Apache-2.0
"""Scores of every benchmark about accuracy lost to noise: accuracies clean and at each level, then the drops."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from clip_align.callbacks.base import Items, Score
from clip_align.callbacks.common.accuracy_score import accuracy_score
from clip_align.callbacks.common.known_classes import KnownClasses
from clip_align.evaluation.score import Role
from clip_align.metrics import noise
from clip_align.metrics.accuracy import accuracy
from clip_align.metrics.estimate import Estimate

__all__ = ["CLEAN", "limit_note", "noise_scores"]

CLEAN = "choice_clean"  # column of the decisions about clean images; those of a level are choice_<level>


def noise_scores(
    levels: Mapping[str, str],
    strongest: str,
    known: KnownClasses,
    images: int,
    what: str = "images",
    context: tuple[Mapping[str, float], str] = ({}, ""),
    word: str = "noisy",
) -> Iterator[Score]:
    """The scores over items with the decisions ``choice_clean`` and ``choice_<level>`` of the model.

    Args:
        levels: label of a level (``sigma .10``) by its name in keys (``10``).
        strongest: name of the level whose drops are drawn.
        known: the classes among which the model decides.
        images: number of images.
        what: they are called, in the plural.
        context: accuracies on clean images that others report, by name, and where they are from.
        word: what labels call the changed images.
    """
    for name in ("clean", *levels):
        published, source = context if name == "clean" else ({}, "")
        yield accuracy_score(
            f"accuracy_{name}",
            "clean" if name == "clean" else f"{word}, {levels[name]}",
            known,
            images,
            column=f"choice_{name}",
            what=what,
            higher_is_better=True,
            role="companion" if name in ("clean", strongest) else "detail",
            context=published,
            context_source=source,
        )
    drops: Mapping[str, tuple[str, Callable[..., Estimate], Role]] = {
        "corrected_drop": ("corrected", partial(noise.corrected_drop, classes=len(known)), "headline"),
        "relative_drop": ("relative (the paper's)", partial(noise.relative_drop, classes=len(known)), "companion"),
        "drop": ("plain", noise.drop, "detail"),
    }
    cause = "noise" if word == "noisy" else "the change of the images"
    for name, level in levels.items():
        for kind, (label, metric, role) in drops.items():
            yield Score(
                f"{kind}_{name}",
                f"{label}, {level}" if word == "noisy" else f"{label}, {word}, {level}",
                partial(_drop, metric, f"choice_{name}"),
                direction=f"higher = more accuracy lost to {cause}",
                unit=known.unit(f"{images:,} {what}, paired jackknife, t"),
                axis=(-0.5, 1.0),  # noise may help a little by chance
                higher_is_better=False,
                role=role if name == strongest else "detail",
            )


def limit_note(items: Items, classes: int) -> Mapping[str, float]:
    """The note ``relative_drop_limit`` of an evaluation: 1 - 1/(Kc); empty where no image was decided.

    Args:
        items: with the decisions about clean images.
        classes: K, among which the model decides.
    """
    before = accuracy(items.model[CLEAN], items.human).value
    return {} if before is None else {"relative_drop_limit": noise.relative_drop_limit(before, classes)}


def _drop(metric: Callable[..., Estimate], column: str, items: Items) -> Estimate:
    return metric(items.model[CLEAN], items.model[column], items.human)
