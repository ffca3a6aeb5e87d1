# SPDX-License-Identifier: Apache-2.0
"""The average of the weights: known answers, and the same in every way of training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from averaging_rank import STEPS, span
from rank_processes import run_ranks
from synthetic import NormedPair, Pair
from torch import nn
from train_synthetic import CONFIG, overflowing, stop_at, take_scaler, train, train_losses

from clip_align.config import CheckpointConfig, TrainerConfig
from clip_align.errors import UserError
from clip_align.evaluation.schedule import Schedule
from clip_align.training.checkpoint_files import AVERAGE, OWN, load, weights_of
from clip_align.training.weight_average import WeightAverage, newest_fraction, span_of, weight_sets

KEPT = replace(CONFIG, checkpoint=CheckpointConfig(every_n_steps=1, keep_last=99, best=None))


def fractions(span: Callable[[int], float], steps: int) -> tuple[list[float], list[list[float]]]:
    """Spans, and the fraction of every step's weights in the average, after each step from 0 on."""
    of_steps, noise = [1.0], 1.0
    spans, every = [1.0], [of_steps]
    for step in range(1, steps + 1):
        newest = newest_fraction(noise, span(step))
        of_steps = [*((1 - newest) * f for f in of_steps), newest]
        noise = sum(f * f for f in of_steps)
        spans.append(1 / noise)
        every.append(of_steps)
    return spans, every


def followed(span: Callable[[int], float], steps: int, weights: Callable[[int], float]) -> WeightAverage:
    model = nn.Linear(1, 1, bias=False).double()
    average = WeightAverage(model, span)
    with torch.no_grad():
        model.weight.fill_(weights(0))
        average.start()
        for step in range(1, steps + 1):
            model.weight.fill_(weights(step))
            average.update(step)
    return average


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_while_the_span_is_not_reached_it_is_the_plain_mean(steps: int) -> None:
    average = followed(lambda step: 99.0, steps, float)
    assert average.span_steps == pytest.approx(steps + 1)
    assert average.tensors["weight"].item() == pytest.approx(steps / 2)


def test_a_fixed_span_lags_half_of_it_behind_a_linear_trajectory() -> None:
    average = followed(lambda step: 9.0, 300, float)
    assert average.span_steps == pytest.approx(9.0)
    assert average.tensors["weight"].item() == pytest.approx(300 - (9 - 1) / 2)


@pytest.mark.parametrize("h", [0.05, 0.2, 0.5])
def test_a_span_that_grows_with_the_step_is_the_power_law_of_karras(h: float) -> None:
    steps, gamma = 4000, (1 + math.sqrt(1 - h)) / h - 1
    average = followed(lambda step: max(1.0, h * step), steps, float)
    assert average.span_steps == pytest.approx(h * steps)
    assert average.tensors["weight"].item() / steps == pytest.approx((gamma + 1) / (gamma + 2), rel=2e-3)
    last = fractions(lambda step: max(1.0, h * step), steps)[1][-1]
    slope = math.log(last[3000] / last[2000]) / math.log(3000 / 2000)  # fractions are a power of the step
    assert slope == pytest.approx(gamma, rel=5e-3)


def test_the_span_is_what_was_asked_for_one_step_more_at_a_time() -> None:
    asked = [1.0, *(max(1.0, min(0.3 * s, 12.0 if s % 40 > 20 else 5.0)) for s in range(1, 200))]
    spans, every = fractions(lambda step: asked[step], 199)
    for before, now, wanted in zip(spans, spans[1:], asked[1:], strict=False):
        assert now == pytest.approx(min(before + 1, wanted))
    assert all(min(f) >= 0 and sum(f) == pytest.approx(1) for f in every)


def test_the_record_says_what_two_events_share() -> None:
    """The correlation of independent jitter in two averages, from the numbers in the record alone."""
    model = nn.Linear(1, 1)
    average = WeightAverage(model, lambda step: max(1.0, 0.3 * step))
    average.start()
    seen: dict[int, dict[str, float]] = {}
    for step in range(1, 91):
        average.update(step)
        if step in (40, 60, 90):
            seen[step] = average.notes()
            average.evaluated(step, {})
    _, every = fractions(lambda step: max(1.0, 0.3 * step), 90)
    for earlier, later in ((40, 60), (60, 90)):
        a, b = every[earlier], every[later]
        shared = sum(x * y for x, y in zip(a, b, strict=False))
        correlation = shared / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
        spans = [seen[step]["weights/ema/span_steps"] for step in (earlier, later)]
        assert seen[later]["weights/ema/carried_fraction"] == pytest.approx(sum(b[: earlier + 1]))
        assert seen[later]["weights/ema/carried_fraction"] * math.sqrt(spans[1] / spans[0]) == pytest.approx(
            correlation
        )


@pytest.mark.parametrize(("most", "horizon"), [(None, 0.2), (7, 0.2), (40, 1.0)])
def test_an_average_never_spans_more_than_its_horizon_and_the_spacing_of_the_events(
    most: int | None, horizon: float
) -> None:
    human, noise = (SimpleNamespace(family=f, every_n_steps=e) for f, e in (("human", 60), ("noise", 45)))
    schedule = Schedule()
    wanted = span_of(horizon, most, [human, noise], schedule)
    spans, _ = fractions(wanted, 400)
    for step in range(1, 401):
        around = min(schedule.spacing(step, 60, "human"), schedule.spacing(step, 45, "noise"))
        assert spans[step] <= max(1.0, min(around, horizon * step, most or math.inf)) * (1 + 1e-9)
    assert span_of(horizon, most, [], schedule)(10) == max(1.0, min(horizon * 10, most or math.inf))


def test_sets_of_weights_come_in_the_order_of_their_names() -> None:
    model = Pair()
    average = WeightAverage(model, lambda step: 1.0)
    assert list(weight_sets(["ema", "raw"], average)) == ["ema", "raw"]
    assert list(weight_sets(["raw"], None)) == ["raw"]


def test_running_statistics_are_averaged_and_other_buffers_are_left_alone() -> None:
    model = NormedPair()
    average = WeightAverage(model, lambda step: 4.0)
    average.start()
    images = torch.randn(8, 3, 4, 4)
    mean = [torch.zeros(8)]
    for step in range(1, 4):
        model.encode_image(images * step)
        mean.append(model.norm.running_mean.clone())  # type: ignore[union-attr]
        average.update(step)
    assert torch.allclose(average.tensors["norm.running_mean"], torch.stack(mean).mean(0))
    assert {"norm.weight", "norm.running_var"} < set(average.tensors)
    assert "mask" not in average.tensors
    assert "norm.num_batches_tracked" not in average.tensors
    with average.used():
        assert torch.allclose(model.norm.running_mean, torch.stack(mean).mean(0))  # type: ignore[arg-type]
        assert model.mask.tolist() == [0.0, -math.inf]
    assert torch.equal(model.norm.running_mean, mean[-1])  # type: ignore[arg-type]


def replayed(folder: Path, name: str, of_step: Callable[[int], float], steps: int) -> torch.Tensor:
    """The average of one tensor, in float64, from the run's checkpoints."""
    values = [load(folder / f"step-{n:09d}.ckpt")["state_dict"][f"model.{name}"] for n in range(1, steps + 1)]
    of_steps = fractions(of_step, steps)[1][-1]
    assert of_steps[0] == 0  # of the weights before the first step
    mean = sum(f * value.double() for f, value in zip(of_steps[1:], values, strict=True))
    assert isinstance(mean, torch.Tensor)
    return mean


def test_training_is_the_same_and_the_checkpoint_holds_both(tmp_path: Path) -> None:
    train(tmp_path / "raw", 12, KEPT)
    loop = train(tmp_path / "ema", 12, KEPT, span=span)
    assert train_losses(tmp_path / "raw") == train_losses(tmp_path / "ema")
    raw, both = (load(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("raw", "ema"))
    assert all(torch.equal(both["state_dict"][name], tensor) for name, tensor in raw["state_dict"].items())
    found = weights_of(both, "ema")
    assert found.keys() == weights_of(both, "raw").keys() == loop.module.model.state_dict().keys()
    for name, tensor in found.items():
        expected = replayed(tmp_path / "ema" / "checkpoints", name, span, 12)
        assert torch.allclose(tensor.double(), expected, rtol=1e-5, atol=1e-7)
    for names, plain in ((["raw"], raw["state_dict"]["model.visual.weight"]), (["ema", "raw"], found["visual.weight"])):
        both[OWN]["config"]["evaluation"]["weights"] = names  # plain keys are of the first
        assert torch.equal(weights_of(both)["visual.weight"], plain)
    assert not torch.equal(found["visual.weight"], raw["state_dict"]["model.visual.weight"])
    with pytest.raises(UserError, match="the checkpoint holds no set of weights ema; valid: raw"):
        weights_of(raw, "ema")
    del raw[OWN]["config"]["evaluation"]["weights"]  # of an earlier release
    assert weights_of(raw).keys() == found.keys()


def test_a_resumed_run_has_the_same_average_to_the_bit(tmp_path: Path) -> None:
    train(tmp_path / "whole", 20, span=span)
    (tmp_path / "parts").mkdir()
    train(tmp_path / "parts", 20, span=span, change=stop_at(7))
    train(tmp_path / "parts", 20, span=span)
    whole, parts = (load(tmp_path / name / "checkpoints" / "last.ckpt")[AVERAGE] for name in ("whole", "parts"))
    assert (whole["noise"], whole["carried"]) == (parts["noise"], parts["carried"])
    assert all(torch.equal(whole["tensors"][name], tensor) for name, tensor in parts["tensors"].items())


def test_under_accumulation_it_is_updated_once_a_step(tmp_path: Path) -> None:
    seen: list[int] = []
    twice = replace(CONFIG, trainer=replace(CONFIG.trainer, accumulate_grad_batches=3))
    train(tmp_path, 5, twice, span=lambda step: seen.append(step) or 3.0)  # type: ignore[func-returns-value]
    assert seen == [1, 2, 3, 4, 5]


def test_a_step_that_the_scaler_skips_is_not_averaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take_scaler(monkeypatch, 2.0**6)
    seen: list[int] = []
    half = replace(CONFIG, trainer=TrainerConfig(kind="cpu", precision="16-mixed"))
    loop = train(tmp_path, 8, half, change=overflowing(2, 3, 6), span=lambda step: seen.append(step) or 3.0)  # type: ignore[func-returns-value]
    assert loop.module.skipped == 3
    assert seen == [1, 4, 5, 7, 8]


@pytest.mark.parametrize("world", [1, 2, 3])
def test_every_rank_has_the_average_and_the_checkpoint_has_it(tmp_path: Path, world: int) -> None:
    found = run_ranks("averaging_rank.py", world, tmp_path, world)
    assert [code for code, _ in found] == [0] * world
    averages = [torch.load(tmp_path / f"average-{n}.pt") for n in range(world)]
    for other in averages[1:]:
        for name, tensor in averages[0]["tensors"].items():
            same = torch.equal(tensor, other["tensors"][name])
            assert same is not name.startswith(
                "norm.running"
            )  # each rank has its own statistics: an event takes rank 0's
    kept = load(tmp_path / "checkpoints" / f"step-{STEPS:09d}.ckpt")[AVERAGE]
    assert all(torch.equal(kept["tensors"][name], tensor) for name, tensor in averages[0]["tensors"].items())
    assert kept["noise"] == averages[0]["noise"]
