# SPDX-License-Identifier: Apache-2.0
"""How a benchmark introduces itself in the record."""

from __future__ import annotations

from typing import Any

from clip_align.evaluation.benchmark import Benchmark
from clip_align.evaluation.score import Score
from clip_align.evaluation.scoring import all_scores
from clip_align.evaluation.weights import RAW

ONLY_WHERE_GIVEN = ("by", "value", "clusters")  # fields of a score that most do without


def described(benchmark: Benchmark, n: int | None, weights: str = RAW) -> dict[str, Any]:
    """The fields of its ``kind: benchmark`` line: all that a report needs to draw and to explain it.

    The scores are those of the model it has adapted to, with their details by value as far as these are known.

    Args:
        benchmark: adapted to its model.
        n: number of items, None where they could not be had yet.
        weights: the set of weights that plain keys are of.
    """
    return {
        "key": benchmark.key,
        "version": benchmark.version,
        "human_data": benchmark.human_data,
        "stand_in": benchmark.stand_in,
        "source": benchmark.source,
        "licence": benchmark.licence,
        "options": {**benchmark.options, "every_n_steps": benchmark.every_n_steps},  # a verdict asks for it
        "n": n,
        "weights": weights,
        "panel": benchmark.shown_in,
        "scores": [_fields(score) for score in all_scores(benchmark)],
    }


def _fields(score: Score) -> dict[str, Any]:
    fields = {k: v for k, v in vars(score).items() if k != "compute" and (v or k not in ONLY_WHERE_GIVEN)}
    plain = {"axis": list(score.axis), "ceilings": dict(score.ceilings), "baselines": dict(score.baselines)}
    return {**fields, **plain, **({"clusters": list(score.clusters)} if score.clusters else {})}
