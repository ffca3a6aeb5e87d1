# SPDX-License-Identifier: Apache-2.0
"""The description of a benchmark in the record."""

from __future__ import annotations

from typing import Any

from clip_align.evaluation.benchmark import Benchmark
from clip_align.evaluation.score import Score
from clip_align.evaluation.scoring import all_scores
from clip_align.evaluation.weights import RAW

ONLY_WHERE_GIVEN = ("by", "value", "clusters", "context", "context_source")  # fields of a score, omitted when empty
LEVELS = ("ceilings", "baselines", "context")  # numbers by name


def described(benchmark: Benchmark, n: int | None, weights: str = RAW) -> dict[str, Any]:
    """The fields of the benchmark's ``kind: benchmark`` line: everything a report needs to draw and explain it.

    Args:
        benchmark: adapted to its model, whose scores are described, with the details by value that are known so far.
        n: number of items; None while unknown.
        weights: name of the set of weights that keys without a suffix belong to.
    """
    return {
        "key": benchmark.key,
        "version": benchmark.version,
        "human_data": benchmark.human_data,
        "stand_in": benchmark.stand_in,
        "source": benchmark.source,
        "licence": benchmark.licence,
        "options": {**benchmark.options, "every_n_steps": benchmark.every_n_steps},  # needed by the verdict
        "n": n,
        "weights": weights,
        "panel": benchmark.shown_in,
        "scores": [_fields(score) for score in all_scores(benchmark)],
    }


def _fields(score: Score) -> dict[str, Any]:
    fields = {k: v for k, v in vars(score).items() if k != "compute" and (v or k not in ONLY_WHERE_GIVEN)}
    plain = {key: dict(fields[key]) for key in LEVELS if key in fields} | {"axis": list(score.axis)}
    return {**fields, **plain, **({"clusters": list(score.clusters)} if score.clusters else {})}
