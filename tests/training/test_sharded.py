# SPDX-License-Identifier: Apache-2.0
"""trainer=fsdp against trainer=ddp, on gloo ranks: losses, norms, weights, averages, checkpoints, resumed runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gloo_ranks
import pytest
import sharded_rank as cases
import torch
from sharded_rank import FAILS_AFTER, STEPS
from train_synthetic import lines, train_losses

from clip_align.training.checkpoint_files import AVERAGE, OWN, load

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("sharded_rank.py")
ROUNDING = 2e-6  # of the value
BFLOAT16 = 1e-3  # the last bit of a weight may turn one of its bfloat16 copy
WORLDS = [2, 3]
EACH = [(world, case) for world in WORLDS for case in cases.RUNS[world]]


class Runs:
    """What all trainings have left in their folders, and what their ranks report."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.answers: dict[str, list[dict[str, Any]]] = gloo_ranks.run(SCRIPT, folder)

    def of(self, world: int, name: str) -> Path:
        return self.folder / str(world) / name

    def last(self, world: int, name: str, step: int = STEPS) -> dict[str, Any]:
        return load(self.of(world, name) / "checkpoints" / f"step-{step:09d}.ckpt")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize(("world", "case"), EACH)
def test_losses_and_norms_are_those_of_ddp(runs: Runs, case: str, world: int) -> None:
    ddp, fsdp = (lines(runs.of(world, f"{kind}/{case}"), "train") for kind in ("ddp", "fsdp"))
    for key in ("train/loss", "train/grad_norm", "train/logit_scale", "train/lr"):
        rounding = BFLOAT16 if case == "bf16" else ROUNDING
        assert [line[key] for line in fsdp] == pytest.approx([line[key] for line in ddp], rel=rounding, abs=0.0)
    assert len(ddp) == STEPS
    assert min(line["train/grad_norm"] for line in ddp) > 0.5  # all were clipped


@pytest.mark.parametrize("world", WORLDS)
def test_every_rank_holds_its_part(runs: Runs, world: int) -> None:
    for case in cases.RUNS[world]:
        found = [rank[case] for rank in runs.answers[str(world)]]
        assert all(rank["sharded"] for rank in found)
        scalars = 1  # on every rank: the logit scale
        assert sum(rank["own"] - scalars for rank in found) == found[0]["all"] - scalars
        assert max(rank["own"] for rank in found) < found[0]["all"] / world * 1.2


def shapes(content: Any) -> Any:
    """Of everything in a checkpoint: tensors as shape, layout and type, other values as their type."""
    if isinstance(content, torch.Tensor):
        return tuple(content.shape), content.stride(), content.dtype
    if isinstance(content, dict):
        return {key: shapes(value) for key, value in content.items()}
    return [shapes(value) for value in content] if isinstance(content, list | tuple) else type(content)


@pytest.mark.parametrize(("world", "case"), EACH)
def test_a_checkpoint_is_as_ddp_writes_it(runs: Runs, case: str, world: int) -> None:
    ddp, fsdp = (runs.last(world, f"{kind}/{case}") for kind in ("ddp", "fsdp"))
    del ddp[AVERAGE]["tensors"]["patch.weight"]  # in any layout: averages are read element by element
    del fsdp[AVERAGE]["tensors"]["patch.weight"]
    assert shapes(fsdp) == shapes(ddp)
    assert not fsdp["state_dict"]["model.patch.weight"].is_contiguous()
    for name, tensor in ddp["state_dict"].items():
        torch.testing.assert_close(fsdp["state_dict"][name], tensor, rtol=1e-4, atol=1e-5)
    for name, tensor in ddp[AVERAGE]["tensors"].items():
        torch.testing.assert_close(fsdp[AVERAGE]["tensors"][name], tensor, rtol=1e-4, atol=1e-5)
    (of_ddp,), (of_fsdp,) = ddp["optimizer_states"], fsdp["optimizer_states"]
    for number, state in of_ddp["state"].items():
        for name, tensor in state.items():
            torch.testing.assert_close(of_fsdp["state"][number][name], tensor, rtol=1e-3, atol=1e-6)
    assert fsdp[OWN]["config"]["trainer"]["kind"] == "fsdp"


def assert_same_weights(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Weights and their averages in two checkpoints are equal to the bit."""
    for name, tensor in expected["state_dict"].items():
        assert torch.equal(found["state_dict"][name], tensor)
    for name, tensor in expected[AVERAGE]["tensors"].items():
        assert torch.equal(found[AVERAGE]["tensors"][name], tensor)


@pytest.mark.parametrize("world", WORLDS)
def test_a_resumed_run_has_the_same_losses_bit_for_bit(runs: Runs, world: int) -> None:
    whole, parts = runs.of(world, "fsdp/cached"), runs.of(world, "fsdp-fsdp")
    assert train_losses(parts) == train_losses(whole)
    expected, found = runs.last(world, "fsdp/cached"), runs.last(world, "fsdp-fsdp")
    assert_same_weights(found, expected)


def saved(folder: Path) -> list[str]:
    return [line["file"] for line in lines(folder, "event") if line["event"] == "checkpoint"]


@pytest.mark.parametrize("world", WORLDS)
def test_a_failure_of_all_ranks_costs_no_step(runs: Runs, world: int) -> None:
    """They save together once, also parts without rows; resumed from that, the run is the one without a failure."""
    nothing_lost = {"error": "it has failed", "again": None, "lost": None}
    assert [rank["failed"] for rank in runs.answers[str(world)]] == [nothing_lost] * world
    whole, parts = runs.of(world, "fsdp/cached"), runs.of(world, "failed")
    assert saved(parts) == [f"step-{step:09d}.ckpt" for step in (6, FAILS_AFTER, STEPS)]
    assert shapes(runs.last(world, "failed", FAILS_AFTER)) == shapes(runs.last(world, "fsdp/cached", 6))
    assert train_losses(parts) == train_losses(whole)
    expected, found = runs.last(world, "fsdp/cached"), runs.last(world, "failed")
    assert_same_weights(found, expected)


@pytest.mark.parametrize("world", WORLDS)
def test_ranks_save_together_only_where_all_come_with_the_same_step(runs: Runs, world: int) -> None:
    """Not where they cannot save, have come to different steps, or wait for one that does not come."""
    for rank in runs.answers[str(world)]:
        assert rank["agreed"] == [True, False, False]
        assert rank["alone"] is False


@pytest.mark.parametrize("change", ["ddp-fsdp", "fsdp-ddp"])
def test_a_run_is_resumed_with_the_other_trainer(runs: Runs, change: str) -> None:
    whole, parts = train_losses(runs.of(2, "ddp/cached")), train_losses(runs.of(2, change))
    assert list(parts) == list(whole)
    assert list(parts.values()) == pytest.approx(list(whole.values()), rel=ROUNDING, abs=0.0)


def test_all_ranks_skip_a_step_that_overflows_on_one(runs: Runs) -> None:
    assert [rank["skipped"] for rank in runs.answers["2"]] == [1, 1]
    steps = {line["global_step"]: line for line in lines(runs.of(2, "half"), "train")}
    assert "train/skipped_steps" not in steps[3]
    assert steps[STEPS]["train/skipped_steps"] == 1
