# SPDX-License-Identifier: Apache-2.0
"""Courses of a score with a known truth, from which error rates of the rule are measured.

A simulated run is a true course, jitter of the weights that all references have in common, and the references' own
slow drift. Curves are made per reference (the score is their mean) or from items whose ranks are correlated, as those
of a benchmark are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clip_align.analysis.pseudo_values import ScoreCurve, rank_curve

__all__ = ["KINDS", "SimulatedCourse", "courses", "log_scale", "per_reference", "ranked", "true_fall"]

Floats = NDArray[np.float64]

REFERENCES = 24
PER_REFERENCE = 80  # items; as human/tid2013_remade has
START, TOP = 0.58, 0.66
DRIFT = 0.9  # correlation of a reference's drift from one evaluation to the next
PERSISTENT_SD = 0.12  # of references among each other, the same at all evaluations
ITEMS_ERROR = 0.0065  # standard error of a difference of two far evaluations, from 24 references
DRIFTING = 0.09  # of the variance of items that is not agreement: gives ranked items about ITEMS_ERROR


@dataclass(frozen=True)
class SimulatedCourse:
    """A true course [T], and how its runs differ from the usual: correlated, annealed or uneven noise."""

    name: str
    truth: Floats
    memory: float = 0.0
    annealed: bool = False
    wild: int = 0


def courses(evaluations: int) -> list[SimulatedCourse]:
    """Every kind of course, at so many evaluations."""
    t, place = np.linspace(0, 1, evaluations), np.arange(evaluations)
    plateau = START + (TOP - START) * np.clip(4 * t, 0, 1)
    middle = (place == evaluations // 2) | (place == evaluations // 2 + 1)

    def falling(by: float, since: float = 0.6) -> Floats:
        return np.asarray(plateau - by * np.clip((t - since) / (1 - since), 0, 1))

    def at_end(last: int) -> Floats:
        return np.asarray(plateau - 0.05 * (place >= evaluations - last))

    return [
        SimulatedCourse("flat", np.full(evaluations, 0.62)),
        SimulatedCourse("rise, then plateau", plateau),
        SimulatedCourse("plateau from the 2nd evaluation on", np.where(place == 0, START, TOP)),
        SimulatedCourse("rise to the end", START + (TOP - START) * t),
        SimulatedCourse("plateau, AR .5 jitter", plateau, memory=0.5),
        SimulatedCourse("plateau, AR .7 jitter", plateau, memory=0.7),
        SimulatedCourse("plateau, AR .9 jitter", plateau, memory=0.9),
        SimulatedCourse("late fall .02 (last two fifths)", falling(0.02)),
        SimulatedCourse("late fall .03", falling(0.03)),
        SimulatedCourse("late fall .05", falling(0.05)),
        SimulatedCourse("late fall .10", falling(0.10)),
        SimulatedCourse(".05 over the last fifth", falling(0.05, since=0.8)),
        SimulatedCourse("dip of .06 and back", TOP - 0.06 * np.sin(np.pi * t)),
        SimulatedCourse(
            "two peaks, then -.05", np.interp(t, [0, 0.2, 0.4, 0.6, 1], [START, TOP, TOP - 0.06, TOP, TOP - 0.05])
        ),
        SimulatedCourse("last evaluation -.05", at_end(1)),
        SimulatedCourse("last two -.05", at_end(2)),
        SimulatedCourse(
            "peak at evaluations 1 and 2, then -.05", np.interp(place, [0, 1, 2, 6], [START, TOP, TOP, TOP - 0.05])
        ),
        SimulatedCourse(
            "peak at evaluation 1 only", np.where(place == 0, START, np.where(place == 1, TOP, TOP - 0.05))
        ),
        SimulatedCourse("peak of two evaluations in the middle", plateau + 0.05 * middle),
        SimulatedCourse("plateau, jitter annealed to 0", plateau, annealed=True),
        SimulatedCourse("plateau, three wild references", plateau, wild=3),
        SimulatedCourse("one outlier evaluation +.08", plateau + 0.08 * (place == evaluations // 2)),
    ]


KINDS = tuple(course.name for course in courses(22))


def log_scale() -> tuple[list[int], list[SimulatedCourse]]:
    """Steps of evaluations on a log scale up to the regular ones, and courses over them that move early."""
    early = {round(2 ** (octave / 2)) for octave in range(11)}
    steps = [0, *sorted(step for step in early if step < 40), *range(40, 1301, 40)]
    x = np.array(steps, dtype=np.float64)
    rising = START + (TOP - START) * (1 - np.exp(-x / 60))
    late = np.clip((x - 780) / 520, 0, 1)
    return steps, [
        SimulatedCourse("rise, then plateau, log scale", rising),
        SimulatedCourse("late fall .03, log scale", rising - 0.03 * late),
        SimulatedCourse("late fall .05, log scale", rising - 0.05 * late),
        SimulatedCourse(
            "peak in the first twentieth, then -.05, log scale",
            np.interp(x, [0, 16, 40, 120, 1300], [START, TOP, TOP, TOP - 0.05, TOP - 0.05]),
        ),
    ]


def true_fall(truth: Floats) -> float:
    """From the highest two evaluations, or step 0, to the last two: what an upper bound of the rule has to cover."""
    pairs = (truth[1:] + truth[:-1]) / 2
    return float(max(pairs[1:].max(), truth[0]) - pairs[-1])


def per_reference(course: SimulatedCourse, jitter: float, generator: np.random.Generator) -> ScoreCurve:
    """A run of 24 references' curves, whose mean is the score; ``jitter``: its standard deviation at one evaluation."""
    evaluations = len(course.truth)
    drift = ITEMS_ERROR * np.sqrt(REFERENCES / 2) * _wander(generator, (evaluations, REFERENCES), DRIFT)
    drift[:, : course.wild] *= 4
    persistent = PERSISTENT_SD * generator.normal(size=(1, REFERENCES))
    curves = (course.truth + _jitter(course, jitter, generator))[:, None] + drift + persistent
    return ScoreCurve(curves.mean(axis=1), (curves,))


def ranked(course: SimulatedCourse, jitter: float, generator: np.random.Generator) -> ScoreCurve:
    """A run of 1,920 items, ranked: normal model values whose rank correlation with the opinions is the course."""
    evaluations = len(course.truth)
    opinion = generator.normal(size=(REFERENCES, PER_REFERENCE))
    drift = _wander(generator, (evaluations, REFERENCES, PER_REFERENCE), DRIFT)
    drift[:, : course.wild] *= 4
    own = np.sqrt(1 - DRIFTING) * generator.normal(size=opinion.shape) + np.sqrt(DRIFTING) * drift
    # the linear correlation of normal values with this rank correlation
    agreement = 2 * np.sin(np.pi / 6 * (course.truth + _jitter(course, jitter, generator)))[:, None, None]
    model = agreement * opinion + np.sqrt(1 - agreement**2) * own
    reference = np.repeat(np.arange(REFERENCES), PER_REFERENCE)
    return rank_curve(model.reshape(evaluations, -1), opinion.ravel(), (reference,))


def _jitter(course: SimulatedCourse, size: float, generator: np.random.Generator) -> Floats:
    evaluations = len(course.truth)
    noise = size * _wander(generator, (evaluations,), course.memory)
    noise[0] = 0.0  # untrained weights have none
    if course.annealed:
        noise *= np.clip(2 - 2 * np.linspace(0, 1, evaluations), 0, 1)
    return noise


def _wander(generator: np.random.Generator, shape: Sequence[int], memory: float) -> Floats:
    """Unit variance; each evaluation is ``memory`` times the one before plus news."""
    out = generator.normal(size=tuple(shape))
    for t in range(1, len(out)):
        out[t] = memory * out[t - 1] + np.sqrt(1 - memory**2) * out[t]
    return out
