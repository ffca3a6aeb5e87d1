# SPDX-License-Identifier: Apache-2.0
"""A run's stored configuration with something in it changed at random: read, or refused by name."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from clip_align.settings.load_config import load_with_problems

TEXTS = ("", "x", "a=b", "~world", "${seed}", "${nothing}", "???")
ODD = (None, True, -1, 1.5, float("nan"), *TEXTS, [], [1], {}, {"a": 1})
KEYS = ("a=b", "~a", "", "a.b", "kind", "target", 3, "x")
SEEDS = [*range(8), *(pytest.param(n, marks=pytest.mark.exhaustive) for n in range(8, 100))]


def changed(value: Any, draw: random.Random) -> Any:
    """A stored configuration with one thing in it changed: a value, a key, or a key taken away."""
    if not isinstance(value, dict) or not value or draw.random() < 0.1:
        return draw.choice(ODD)
    key = draw.choice(list(value))
    kind = draw.random()
    if kind < 0.15:
        return {k: v for k, v in value.items() if k != key}
    if kind < 0.35:
        return {**value, draw.choice(KEYS): draw.choice((*ODD, value[key]))}
    return {**value, key: changed(value[key], draw)}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stored_configuration_is_read_or_refused_by_name(runs: str, seed: int) -> None:
    path, draw = Path(runs.partition("=")[2]) / "a" / "config.yaml", random.Random(seed)
    path.write_text(yaml.safe_dump(changed(yaml.safe_load(path.read_text()), draw)))
    typed = draw.choice([[], ["callbacks.world.every_n_steps=5"], ["trainer.max_steps=60"], ["tracker.project=x"]])
    config, found = load_with_problems([runs, "resume=a", *typed])
    assert found or config is not None
    assert all("\n" not in str(problem) and problem.text for problem in found)
