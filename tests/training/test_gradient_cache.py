# SPDX-License-Identifier: Apache-2.0
"""Micro-batches give the gradient of the batch that they are parts of, in float64, on 1, 2 and 3 ranks."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gloo_ranks
import gradient_cache_rank as cases
import open_clip
import pytest
import torch
from gradient_cache_rank import TOTAL, batch, gradients, micro_batches, module
from torch import Tensor, nn

from clip_align.training.clip_module import CLIPModule
from clip_align.training.gradient_cache import Embedded, batch_norm_line, cached_loss

SCRIPT = Path(__file__).with_name("gradient_cache_rank.py")
Gradients = dict[str, Tensor]


def assert_equal(found: Gradients, expected: Gradients, absolute: float = 1e-12) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=0, atol=absolute, msg=lambda text, key=name: f"{key}: {text}"
        )


def two_around(model: nn.Module) -> tuple[CLIPModule, CLIPModule]:
    return cases.around(copy.deepcopy(model), "infonce"), cases.around(model, "infonce")


def in_one_graph(model: CLIPModule, parts: Sequence[dict[str, Any]]) -> Tensor:
    """The same micro-batches with their graphs kept: what caching saves the memory of."""
    encoded = [model._encoded(part) for part in parts]
    return model._loss(Embedded(torch.cat([e.image for e in encoded]), torch.cat([e.text for e in encoded])))


def same_as_in_one_graph(one_graph: CLIPModule, cached: CLIPModule, parts: Any) -> float:
    """The loss of one graph, once that, its gradients and the random numbers used are also those of the cache.

    Args:
        one_graph, cached: modules around equal weights.
        parts: a batch in micro-batches.
    """
    torch.manual_seed(7)
    expected = in_one_graph(one_graph, parts["micro_batches"].parts)
    after = torch.get_rng_state()
    expected.backward()
    torch.manual_seed(7)
    found = cached.training_step(parts, 0)
    found.backward()
    assert float(found.detach()) == pytest.approx(float(expected.detach()), abs=1e-14)
    assert_equal(gradients(cached), gradients(one_graph))
    assert torch.equal(torch.get_rng_state(), after)  # as if each part had been encoded once
    return float(expected.detach())


@pytest.mark.parametrize("count", [2, 3, 12])
@pytest.mark.parametrize("loss", cases.LOSSES)
def test_the_gradient_is_that_of_the_larger_batch(loss: str, count: int) -> None:
    whole, parts = module(loss), module(loss)
    expected = whole.training_step(batch(), 0)
    expected.backward()
    found = parts.training_step(micro_batches(batch(), count), 0)
    found.backward()
    assert float(found.detach()) == pytest.approx(float(expected.detach()), abs=1e-14)
    assert_equal(gradients(parts), gradients(whole))
    assert len(gradients(parts)) > 20


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What 2 and 3 gloo ranks left behind: gradients, and what they report in ``answers.json``."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "answers.json").write_text(json.dumps(gloo_ranks.run(SCRIPT, folder)))
    return folder


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("loss", cases.LOSSES)
def test_on_several_ranks_too(loss: str, world: int, ranks: Path) -> None:
    """Two steps: what DDP expects of the first one differs. Each bucket of gradients is averaged once a step."""
    whole = module(loss)
    whole.training_step(batch(), 0).backward()
    assert (
        json.loads((ranks / "answers.json").read_text())[str(world)]
        == [{name: [1, 1] for name in cases.LOSSES}] * world
    )
    for step in (1, 2):
        assert_equal(torch.load(ranks / f"{loss}-{world}-{step}.pt"), gradients(whole))


def test_mean_of_the_parts_gradients_is_another_one() -> None:
    """The negative control: plain accumulation."""
    whole, parts = module("infonce"), module("infonce")
    whole.training_step(batch(), 0).backward()
    for part in micro_batches(batch(), 3)["micro_batches"].parts:
        (parts.training_step(part, 0) / 3).backward()
    difference = (
        (gradients(parts)["model.visual.projection.weight"] - gradients(whole)["model.visual.projection.weight"])
        .abs()
        .max()
    )
    assert difference > 0.1 * gradients(whole)["model.visual.projection.weight"].abs().max()


def test_a_row_that_repeats_another_is_left_out() -> None:
    marked = micro_batches(batch(), 3)
    marked["micro_batches"].parts[1]["repeated"] = [2]  # row 6 of 12
    absent = [row for row in range(TOTAL) if row != 6]
    without = {**batch(), "image": batch()["image"][absent], "text": batch()["text"][absent]}
    expected, found = module("infonce"), module("infonce")
    expected.training_step(without, 0).backward()
    found.training_step(marked, 0).backward()
    assert_equal(gradients(found), gradients(expected))


class Drops(nn.Module):
    """Everything that draws numbers in a forward pass, on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        vision = {"image_size": 16, "patch_size": 4, "width": 16, "layers": 2, "head_width": 8, "patch_dropout": 0.5}
        text = {"context_length": 5, "vocab_size": 30, "width": 16, "heads": 2, "layers": 1}
        self.clip = open_clip.model.CLIP(8, vision, text)
        self.logit_scale = self.clip.logit_scale
        self.drop = nn.Dropout(0.4)

    def encode_image(self, image: Tensor) -> Tensor:
        dropped: Tensor = self.drop(self.clip.encode_image(image))
        return dropped

    def encode_text(self, text: Tensor) -> Tensor:
        dropped: Tensor = self.drop(self.clip.encode_text(text))
        return dropped


def test_dropout_and_patch_dropout_are_replayed() -> None:
    torch.manual_seed(0)
    one_graph, cached = two_around(Drops())
    parts = micro_batches(batch(), 3)
    expected = same_as_in_one_graph(one_graph, cached, parts)
    torch.manual_seed(8)
    assert abs(float(cached.training_step(parts, 0).detach()) - expected) > 1e-3  # it does draw


def test_without_replay_the_gradient_would_be_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of the test above."""
    torch.manual_seed(0)
    one_graph, cached = two_around(Drops())
    parts = micro_batches(batch(), 3)
    torch.manual_seed(7)
    in_one_graph(one_graph, parts["micro_batches"].parts).backward()
    monkeypatch.setattr("clip_align.training.gradient_cache.RandomState.restore", lambda self: None)
    torch.manual_seed(7)
    cached.training_step(parts, 0).backward()
    name = "model.clip.text_projection"
    assert (gradients(cached)[name] - gradients(one_graph)[name]).abs().max() > 1e-3


def test_an_intervention_that_draws_is_replayed() -> None:
    """Noise in the images, as an intervention adds it."""
    noisy: Callable[[dict[str, Any], int], dict[str, Any]] = lambda part, step: {  # noqa: E731
        **part, "image": part["image"] + torch.randn(part["image"].shape, dtype=torch.float64),
    }  # fmt: skip
    one_graph, cached = module("infonce"), module("infonce")
    one_graph.intervention.batch = cached.intervention.batch = noisy  # type: ignore[method-assign]
    torch.manual_seed(7)
    in_one_graph(one_graph, micro_batches(batch(), 3)["micro_batches"].parts).backward()
    torch.manual_seed(7)
    cached.training_step(micro_batches(batch(), 3), 0).backward()
    assert_equal(gradients(cached), gradients(one_graph))


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.visual = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(128, 8))
        self.frozen = nn.BatchNorm1d(8).eval()
        self.words = nn.EmbeddingBag(30, 8)
        self.logit_scale = nn.Parameter(torch.zeros(()))

    def encode_image(self, image: Tensor) -> Tensor:
        encoded: Tensor = self.frozen(self.visual(image))
        return encoded

    def encode_text(self, text: Tensor) -> Tensor:
        encoded: Tensor = self.words(text)
        return encoded


def test_running_statistics_take_in_each_micro_batch_once() -> None:
    torch.manual_seed(0)
    one_graph, cached = two_around(Normed())
    in_one_graph(one_graph, micro_batches(batch(), 3)["micro_batches"].parts).backward()
    cached.training_step(micro_batches(batch(), 3), 0).backward()
    assert_equal(gradients(cached), gradients(one_graph))
    assert_equal(dict(cached.named_buffers()), dict(one_graph.named_buffers()), 0.0)
    assert int(cached.model.visual[1].num_batches_tracked) == 3
    assert cached.model.visual[1].track_running_stats
    assert cached.model.frozen.track_running_stats


def test_a_line_says_what_batch_norm_means() -> None:
    assert batch_norm_line(Normed(), 4) == (
        "trainer.accumulate: the model has 2 BatchNorm layers, whose statistics are those of each of the 4 batches: "
        "the gradient is that of the larger batch but for this",
    )
    assert batch_norm_line(Normed(), 1) == ()
    assert batch_norm_line(module("infonce").model, 4) == ()


def test_under_autocast_every_weight_gets_its_gradient() -> None:
    """Autocast keeps converted weights: those of the pass without a graph must not serve the other one."""
    whole, parts = module("infonce").float(), module("infonce").float()
    with torch.autocast("cpu", torch.bfloat16):
        expected = whole.training_step(batch(), 0)
        found = parts.training_step(micro_batches(batch(), 3), 0)
    expected.backward()
    found.backward()
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-2)
    assert gradients(parts).keys() == gradients(whole).keys()
    for name, value in gradients(whole).items():  # bfloat16 has 8 bits
        assert float((gradients(parts)[name] - value).norm()) <= 0.03 * float(value.norm()) + 1e-6, name


def test_a_frozen_tower_and_a_frozen_scale_are_left_alone() -> None:
    whole, parts = module("siglip"), module("siglip")
    for one in (whole, parts):
        one.model.logit_scale.requires_grad_(False)
        for name, parameter in one.model.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and not name.startswith("visual"))
    whole.training_step(batch(), 0).backward()
    parts.training_step(micro_batches(batch(), 3), 0).backward()
    assert_equal(gradients(parts), gradients(whole))
    assert not any(name.startswith("model.visual") or name == "model.logit_scale" for name in gradients(parts))


def test_only_one_part_has_a_graph_at_a_time() -> None:
    """What the backward pass of a part needs is gone before the next part is encoded: memory is that of one."""
    kept: list[int] = []
    alive = 0

    class Counted(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, rows: Tensor) -> Tensor:
            nonlocal alive
            alive += ctx.needs_input_grad[0]
            kept.append(alive)
            return rows.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            nonlocal alive
            alive -= 1
            return gradient

    tower = nn.Linear(4, 4).double()

    def encode(part: Tensor) -> Embedded:
        return Embedded(Counted.apply(tower(part)), part)

    rows = [torch.randn(3, 4, dtype=torch.float64) for _ in range(5)]
    loss, _ = cached_loss(rows, encode, lambda e: (e.image * e.text).mean(), [], tower, lambda part: part.backward())
    loss.backward()
    assert max(kept) == 1
    assert alive == 0
    assert len(kept) == 10
