# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from clip_align.record.lines import as_read
from clip_align.record.record import History, deliver
from clip_align.record.tidy import Tidy, of_history


def record(*scores: dict[str, Any]) -> Tidy:
    history = History()
    place = {"samples_seen": 7680, "epoch": 1, "wall_seconds": 9.0}
    benchmark = {"key": "human/pairs", "scores": [{"name": "srocc"}], "weights": "ema"}
    lines = [{"kind": "benchmark", "global_step": 0, **benchmark}]
    lines += [{"kind": "evaluation", "global_step": 60 * n, **values} for n, values in enumerate(scores)]
    for line in lines:
        read = as_read({**line, **place})
        assert read is not None
        deliver(read, history)
    return of_history(history)


def test_layers_and_sets_of_weights_are_columns() -> None:
    found = record(
        {
            "human/pairs/srocc": 0.6,
            "human/pairs/srocc/low": 0.5,
            "human/pairs/srocc/high": 0.7,
            "human/pairs/srocc@layer_6@raw": 0.3,
            "human/pairs/plcc@raw": None,
            "human/pairs/plcc@raw/reason": "all values are equal",
            "time/evaluation_seconds": 1.0,
            "weights/ema/span_steps": 20.0,
        }
    ).scores
    columns = ("score", "layer", "weights", "value", "low", "high", "reason")
    assert [tuple(row[c] for c in columns) for row in found] == [
        ("srocc", "projection", "ema", 0.6, 0.5, 0.7, None),
        ("srocc", "layer_6", "raw", 0.3, None, None, None),
        ("plcc", "projection", "raw", None, None, None, "all values are equal"),
    ]


def test_a_value_by_its_key_as_recorded() -> None:
    found = record(
        {"human/pairs/srocc": 0.6, "human/pairs/by_type/blur": 0.2},
        {"human/pairs/srocc": 0.8, "human/pairs/plcc": None},
    )
    assert found.value("human/pairs/srocc") == 0.8
    assert found.value("human/pairs/srocc", step=0) == 0.6
    assert found.value("human/pairs/by_type/blur") == 0.2
    assert found.value("human/pairs/plcc") is None
    with pytest.raises(KeyError, match="human/pairs/krocc at step 60"):
        found.value("human/pairs/krocc", step=60)
