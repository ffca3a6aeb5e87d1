# SPDX-License-Identifier: Apache-2.0
"""Events on 1, 2 and 3 gloo ranks; all of them run in one process that forks (ranks_main.py)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    script = Path(__file__).parent / "ranks_main.py"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("model", ["group_norm", "batch_norm", "resnet"])
@pytest.mark.parametrize("world", [2, 3])
def test_scores_and_items_are_the_same_bit_for_bit(answers: dict[str, Any], model: str, world: int) -> None:
    one, many = answers[f"{model}/1"][0], answers[f"{model}/{world}"]
    assert many[0]["fields"] == one["fields"]
    assert many[0]["items"] == one["items"]
    assert many[0]["shared"] == one["shared"]
    assert {"euclidean", "euclidean@ema"} <= set(one["shared"])
    assert ("euclidean@layer_5@ema" in one["shared"]) == (model == "resnet")
    assert one["shared"]["euclidean"] != one["shared"]["euclidean@ema"]
    assert len(one["items"]) == 40


@pytest.mark.parametrize("model", ["group_norm", "batch_norm", "resnet"])
def test_every_rank_hears_the_same_scores_and_keeps_its_buffers(answers: dict[str, Any], model: str) -> None:
    for rank in answers[f"{model}/3"]:
        assert rank["scores"] == answers[f"{model}/1"][0]["scores"]
        assert rank["heard"] == [rank["scores"]]
        assert rank["buffers_restored"]


@pytest.mark.parametrize("failing", [0, 1])
def test_a_rank_that_fails_ends_the_run_on_all_with_its_reason(answers: dict[str, Any], failing: int) -> None:
    reason = "encoding: ValueError: out of memory, say"
    for rank, answer in enumerate(answers[f"fails/{failing}"]):
        assert answer["raised"] == f"RunError: {'' if rank == failing else f'rank {failing}: '}{reason}"


def test_a_benchmark_that_raises_is_null_on_all_ranks(answers: dict[str, Any]) -> None:
    for rank, answer in enumerate(answers["fails/items"]):
        assert answer["scores"] == {"human/pairs/srocc": None}
        assert answer["lines"] == (3 if rank == 0 else 0)  # the benchmark, the warning, the evaluation


def test_a_benchmark_that_breaks_the_contract_is_refused_on_all_ranks(answers: dict[str, Any]) -> None:
    own, other = (answer["raised"] for answer in answers["fails/contract"])
    assert own == "RunError: human/pairs: items() returned ndarray, not Items"
    assert other == "RunError: rank 0: human/pairs: items() returned ndarray, not Items"


def test_what_cannot_be_prepared_on_one_rank_is_refused_on_all(answers: dict[str, Any]) -> None:
    own, other = answers["unprepared"][1]["raised"], answers["unprepared"][0]["raised"]
    assert own == "UserError: human/pairs: stimuli() failed: OSError: this machine has no images"
    assert other == "UserError: rank 1: human/pairs: stimuli() failed: OSError: this machine has no images"


def test_an_interrupted_event_is_dropped_on_all_ranks_alike(answers: dict[str, Any]) -> None:
    assert answers["fails/interrupt"] == [{"scores": None, "calls": 3, "lines": 0}] * 2
