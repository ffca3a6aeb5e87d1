# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import math
from pathlib import Path
from types import ModuleType

import gloo_ranks
import pytest
import torch
from torch.nn import functional

from clip_align.kinds import LOSSES
from clip_align.losses.infonce import infonce

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


@pytest.mark.parametrize("world", [2, 3])
def test_gradients_equal_those_of_the_whole_batch(ranks: ModuleType, folder: Path, world: int) -> None:
    whole, found = ranks.gradients(0, 1), torch.load(folder / f"gradients{world}")
    assert found["good"].keys() == whole.keys()
    for name, gradient in whole.items():
        if name != "loss":  # each rank's loss is the mean over its own rows
            torch.testing.assert_close(found["good"][name], gradient, rtol=0, atol=1e-12)


@pytest.mark.parametrize("world", [2, 3])
def test_a_gather_without_gradient_is_caught(ranks: ModuleType, folder: Path, world: int) -> None:
    """The negative control: the values of loss and logit_scale's gradient are right, the encoders' are not."""
    whole, found = ranks.gradients(0, 1), torch.load(folder / f"gradients{world}")
    torch.testing.assert_close(found["broken"]["loss"], found["good"]["loss"], rtol=0, atol=1e-12)
    torch.testing.assert_close(found["broken"]["logit_scale"], whole["logit_scale"], rtol=0, atol=1e-12)
    for name in ("image.0.weight", "text.1.weight"):
        difference = (found["broken"][name] - whole[name]).abs().max()
        assert difference > 0.1 * whole[name].abs().max()


@pytest.mark.parametrize("world", [2, 3])
def test_copies_on_some_ranks_are_as_if_they_were_not_there(ranks: ModuleType, folder: Path, world: int) -> None:
    absent, found = ranks.gradients(0, 1, "absent"), torch.load(folder / f"gradients{world}")
    for name, gradient in absent.items():
        if name != "loss":
            torch.testing.assert_close(found["masked"][name], gradient, rtol=0, atol=1e-12)
    assert not torch.allclose(found["good"]["logit_scale"], absent["logit_scale"])


@pytest.mark.parametrize("world", [2, 3])
def test_where_no_rank_has_copies_nothing_changes_by_one_bit(folder: Path, world: int) -> None:
    found = torch.load(folder / f"gradients{world}")
    assert found["float32"].keys() == found["plain"].keys()
    assert all(torch.equal(found["float32"][name], value) for name, value in found["plain"].items())


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_with_different_numbers_of_rows_are_refused(folder: Path, world: int) -> None:
    counts = ", ".join(str(3 + rank) for rank in range(world))
    message = (
        f"loss: ranks 0 to {world - 1} brought {counts} rows; every rank must bring the same number: "
        "use the batches of clip_align.data, or drop the last one"
    )
    assert json.loads((folder / "answers.json").read_text())[str(world)] == [message] * world


def test_value_is_the_mean_cross_entropy_of_rows_and_columns() -> None:
    generator = torch.Generator().manual_seed(0)
    image, text = (torch.randn(5, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    cosine = functional.cosine_similarity(image[:, None], text[None], dim=-1)
    logits = cosine * math.exp(1.5)
    expected = -(logits.log_softmax(0).diagonal().mean() + logits.log_softmax(1).diagonal().mean()) / 2
    found = infonce(image, text, torch.tensor(1.5, dtype=torch.float64))
    assert float(found) == pytest.approx(float(expected), abs=1e-14)


def test_a_model_that_knows_nothing_loses_the_logarithm_of_the_batch() -> None:
    same = torch.ones(16, 4)
    assert float(infonce(same, same, torch.tensor(2.6593))) == pytest.approx(math.log(16), abs=1e-5)


def test_perfect_pairs_lose_almost_nothing() -> None:
    assert float(infonce(torch.eye(8), torch.eye(8), torch.tensor(math.log(100)))) < 1e-6


def test_scale_of_the_embeddings_does_not_matter() -> None:
    generator = torch.Generator().manual_seed(0)
    image, text = (torch.randn(6, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    scale = torch.tensor(2.0, dtype=torch.float64)
    torch.testing.assert_close(infonce(image, text, scale), infonce(3 * image, 0.1 * text, scale))


def test_autocast_leaves_the_loss_in_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    image, text = (torch.randn(6, 8, generator=generator).bfloat16() for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        inside = infonce(image, text, torch.tensor(2.0))
    assert inside.dtype == torch.float32
    assert torch.equal(inside, infonce(image.float(), text.float(), torch.tensor(2.0)))


@pytest.mark.parametrize("name", LOSSES.names())
def test_every_loss_leaves_copies_out(name: str) -> None:
    """Value and gradients are those of the batch without them."""
    generator = torch.Generator().manual_seed(0)
    loss = LOSSES.build(name, {})
    image, text = (torch.randn(6, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    image[4], text[4] = image[1], text[1]
    copies = torch.tensor([False] * 4 + [True, False])
    found = []
    for rows, mask in ((torch.arange(6), copies), (torch.tensor([0, 1, 2, 3, 5]), None)):
        leaves = [part.clone().requires_grad_() for part in (image, text)]
        scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
        value = loss(leaves[0][rows], leaves[1][rows], scale, copies=mask)
        value.backward()
        found.append([value.detach(), scale.grad, *(leaf.grad for leaf in leaves)])
    for masked, absent in zip(*found, strict=True):
        torch.testing.assert_close(masked, absent, rtol=0, atol=1e-13)
    assert float(loss(image, text, torch.tensor(2.0, dtype=torch.float64))) > float(found[1][0])  # a false negative


def test_images_and_texts_must_pair() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        infonce(torch.ones(3, 4), torch.ones(4, 4), torch.tensor(1.0))
