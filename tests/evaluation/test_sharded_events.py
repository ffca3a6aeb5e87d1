# SPDX-License-Identifier: Apache-2.0
"""Events of a sharded model: all ranks run the same forward passes, and the features are the whole model's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gloo_ranks
import pytest


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    found: dict[str, Any] = gloo_ranks.run(Path(__file__).with_name("sharded_main.py"))
    return found


@pytest.mark.parametrize("ranks", ["2", "3", "2 kept"])
def test_features_are_those_of_the_whole_model_bit_for_bit(answers: dict[str, Any], ranks: str) -> None:
    """Batches that not every rank has, readings that only some of them need, several sets of weights."""
    expected, found = answers["1"][0], answers[ranks][0]
    assert found == expected, answers[ranks]
    assert expected["raw"] == expected["again"] != expected["half"]
    assert [len(rows) for rows in expected["raw"].values()] == [9, 2, 1, 2, 1, 3]


def test_a_batch_that_one_rank_cannot_read_ends_the_event_on_all(answers: dict[str, Any]) -> None:
    other, own = answers["broken"][0]["raised"], answers["broken"][1]["raised"]
    assert own.startswith("RunError: encoding: IndexError: index 99 is out of bounds")
    assert other == own.replace("encoding:", "rank 1: encoding:")
