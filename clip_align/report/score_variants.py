# SPDX-License-Identifier: Apache-2.0
"""Scores of other layers, or of other weights: ``…/srocc@layer_6``, ``…/srocc@ema``, beside the score they vary.

The record describes only the score itself; its variants take their description from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from clip_align.record.record import History
from clip_align.record.schema import BenchmarkLine, EvaluationLine, ScoreEntry

WORDS = {"ema": "averaged weights (EMA)", "raw": "raw weights"}


def with_variants(benchmark: BenchmarkLine, evaluations: Iterable[EvaluationLine | Mapping[str, Any]]) -> BenchmarkLine:
    """A benchmark line whose scores include the variants that the evaluations carry.

    A headline's variants are companions, all others details; baselines and ceilings stay with the score itself.
    """
    prefix = f"{benchmark['key']}/"
    found = {k.removeprefix(prefix) for line in evaluations for k in line if "@" in k and k.startswith(prefix)}
    described = {s["name"] for s in benchmark["scores"]}
    names = sorted((n for n in found - described if "/" not in n), key=_by_number)
    scores: list[ScoreEntry] = []
    for score in benchmark["scores"]:
        scores.append(score)
        scores += [_variant(score, name) for name in names if name.partition("@")[0] == score["name"]]
    return {**benchmark, "scores": scores}


def _variant(score: ScoreEntry, name: str) -> ScoreEntry:
    words = [WORDS.get(part, part.replace("_", " ")) for part in name.split("@")[1:]]
    return {
        **score,
        "name": name,
        "label": ", ".join([score["label"], *words]),
        "role": "companion" if score["role"] == "headline" else "detail",
        "baselines": {},
        "ceilings": {},
        "context": {},
        "has_verdict": False,
    }


def _by_number(name: str) -> list[tuple[int, str]]:
    """``layer_10`` after ``layer_2``."""
    return [(int(part) if part.isdigit() else -1, part) for part in re.split(r"(\d+)", name)]


def all_scores(history: History) -> History:
    """The history with every benchmark's variants described."""
    found = {key: with_variants(b, history.evaluations) for key, b in history.benchmarks.items()}
    return replace(history, benchmarks=found)
