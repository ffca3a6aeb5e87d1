# SPDX-License-Identifier: Apache-2.0
"""Scores of other layers, or of averaged weights: ``…/srocc@layer_6``, recorded beside the score they vary.

The record describes only the score itself; its variants take their description from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from clip_align.record.record import History


def with_variants(benchmark: Mapping[str, Any], evaluations: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """A benchmark line whose scores include the variants that the evaluations carry.

    A headline's variants are companions, all others details; baselines and ceilings stay with the score itself.
    """
    prefix = f"{benchmark['key']}/"
    found = {k.removeprefix(prefix) for line in evaluations for k in line if "@" in k and k.startswith(prefix)}
    names = sorted(n for n in found if "/" not in n)
    scores: list[dict[str, Any]] = []
    for score in benchmark.get("scores", ()):
        scores.append(dict(score))
        for name in names:
            base, _, variant = name.partition("@")
            if base != score["name"] or any(s["name"] == name for s in benchmark["scores"]):
                continue
            label = f"{score.get('label') or base}, {variant.replace('_', ' ')}"
            role = "companion" if score.get("role") == "headline" else "detail"
            bare: dict[str, Any] = {"baselines": {}, "ceilings": {}, "flat_margin": None}
            scores.append({**score, **bare, "name": name, "label": label, "role": role})
    return {**benchmark, "scores": scores}


def all_scores(history: History) -> History:
    """The history with every benchmark's variants described."""
    found = {key: with_variants(b, history.evaluations) for key, b in history.benchmarks.items()}
    return replace(history, benchmarks=found)
