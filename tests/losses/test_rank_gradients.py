# SPDX-License-Identifier: Apache-2.0
"""Losses and gradients on several ranks are those of the whole batch on one."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import gloo_ranks
import pytest
import torch
from torch import nn
from torch.nn import functional

NAMES = ("infonce", "chunked infonce", "siglip", "chunked siglip")
SCRIPT = Path(__file__).with_name("rank_gradients.py")


@pytest.fixture(scope="module")
def ranks() -> ModuleType:
    return gloo_ranks.load(SCRIPT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What 2 and 3 gloo ranks left behind: gradients, and their answers in ``answers.json``."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "answers.json").write_text(json.dumps(gloo_ranks.run(SCRIPT, folder)))
    return folder


def plain_infonce(image: torch.Tensor, text: torch.Tensor, logit_scale: torch.Tensor, *_: object) -> torch.Tensor:
    """The formula of the whole batch, all logits at once."""
    logits = logit_scale.exp() * functional.normalize(image, dim=-1) @ functional.normalize(text, dim=-1).T
    own = torch.arange(len(image))
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2


class PlainSigLIP(nn.Module):
    """The formula of the whole batch (Zhai et al. 2023, algorithm 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.logit_bias = nn.Parameter(torch.tensor(-3.0))

    def forward(self, image: torch.Tensor, text: torch.Tensor, logit_scale: torch.Tensor, *_: object) -> torch.Tensor:
        cosine = functional.normalize(image, dim=-1) @ functional.normalize(text, dim=-1).T
        logits = cosine * logit_scale.exp() + self.logit_bias
        labels = 2 * torch.eye(len(image), dtype=image.dtype) - 1
        return -functional.logsigmoid(labels * logits).sum() / len(image)


def whole_batch(ranks: ModuleType, name: str, left_out: str = "") -> dict[str, torch.Tensor]:
    """Loss and gradients by the plain formula, on one rank."""
    found: dict[str, torch.Tensor] = ranks.gradients(
        0, 1, left_out, PlainSigLIP() if "siglip" in name else plain_infonce
    )
    return found


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert len(found) > 8  # the loss, the scale, a bias of the loss, and both encoders'
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=0, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("world", [2, 3])
def test_loss_and_gradients_are_those_of_the_whole_batch(
    ranks: ModuleType, folder: Path, world: int, name: str
) -> None:
    assert_equal(torch.load(folder / f"gradients{world}")[name], whole_batch(ranks, name))


@pytest.mark.parametrize("name", NAMES[1:])
def test_one_rank_alone_has_them_too(ranks: ModuleType, name: str) -> None:
    assert_equal(ranks.gradients(0, 1, "", ranks.losses(1)[name]), whole_batch(ranks, name))
    masked = ranks.gradients(0, 1, "masked", ranks.losses(1)[name])
    assert_equal(masked, whole_batch(ranks, name, "absent"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("world", [2, 3])
def test_in_float32_they_are_close(ranks: ModuleType, folder: Path, world: int, name: str) -> None:
    """About 10 units in the last place of the largest value: the tolerance that docs/losses.md names."""
    found, whole = torch.load(folder / f"gradients{world}")[f"{name}, float32"], whole_batch(ranks, name)
    for key, value in whole.items():
        assert found[key].dtype == torch.float32
        assert float((found[key] - value).abs().max()) <= 1e-6 * max(1.0, float(value.abs().max())), key


@pytest.mark.parametrize("world", [2, 3])
def test_a_gather_without_gradient_is_caught(ranks: ModuleType, folder: Path, world: int) -> None:
    """The negative control: the values of loss and logit_scale's gradient are right, the encoders' are not."""
    whole, found = ranks.gradients(0, 1), torch.load(folder / f"gradients{world}")
    torch.testing.assert_close(found["broken"]["loss"], found["infonce"]["loss"], rtol=0, atol=1e-12)
    torch.testing.assert_close(found["broken"]["logit_scale"], whole["logit_scale"], rtol=0, atol=1e-12)
    for name in ("image.0.weight", "text.1.weight"):
        difference = (found["broken"][name] - whole[name]).abs().max()
        assert difference > 0.1 * whole[name].abs().max()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("world", [2, 3])
def test_copies_on_some_ranks_are_as_if_they_were_not_there(
    ranks: ModuleType, folder: Path, world: int, name: str
) -> None:
    found = torch.load(folder / f"gradients{world}")
    assert_equal(found[f"{name}, masked"], whole_batch(ranks, name, "absent"))
    assert not torch.allclose(found[name]["logit_scale"], found[f"{name}, masked"]["logit_scale"])


@pytest.mark.parametrize("world", [2, 3])
def test_where_no_rank_has_copies_nothing_changes_by_one_bit(folder: Path, world: int) -> None:
    found = torch.load(folder / f"gradients{world}")
    assert found["infonce, float32"].keys() == found["plain"].keys()
    assert all(torch.equal(found["infonce, float32"][name], value) for name, value in found["plain"].items())


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_with_different_numbers_of_rows_are_refused(folder: Path, world: int) -> None:
    counts = ", ".join(str(3 + rank) for rank in range(world))
    message = (
        f"loss: ranks 0 to {world - 1} brought {counts} rows; every rank must bring the same number: "
        "use the batches of clip_align.data, or drop the last one"
    )
    assert json.loads((folder / "answers.json").read_text())[str(world)] == [[message] * 3] * world
