# SPDX-License-Identifier: Apache-2.0
"""Places behind the ends of texts are not computed, and embeddings and gradients stay what they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import open_clip
import pytest
import torch
from torch import nn

from clip_align.models import short_texts
from clip_align.models.activation_checkpointing import checkpoint_activations
from clip_align.models.short_texts import TextGroups, encode_text, shortens, text_groups
from clip_align.training.trainer import compile_towers

VISION = {"image_size": 16, "patch_size": 8, "width": 16, "layers": 1, "head_width": 8}
TEXT = {"context_length": 12, "vocab_size": 30, "width": 16, "heads": 2, "layers": 3}
END = 29
SHORT = torch.tensor(
    [
        [1, 5, 6, 7, END, 0, 0, 0, 0, 0, 0, 0],
        [1, 8, END, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [1, 9, 9, 2, 3, 4, END, 0, 0, 0, 0, 0],
    ]
)
LONG = torch.tensor([[1, *range(2, 12), END]])


def clip(apart: bool, **text: Any) -> Any:
    """A small open_clip model in float64; its text tower is the model itself, or a module of its own."""
    torch.manual_seed(0)
    kind = open_clip.model.CustomTextCLIP if apart else open_clip.model.CLIP
    return kind(8, VISION, {**TEXT, **text}).double()


@contextmanager
def places_seen(model: nn.Module) -> Iterator[list[int]]:
    """Lengths of the texts that the blocks of the text tower are called with."""
    seen: list[int] = []
    blocks = getattr(model, "text", model).transformer.resblocks
    hooks = [block.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[1])) for block in blocks]
    yield seen
    for hook in hooks:
        hook.remove()


def gradients(model: nn.Module, embeddings: torch.Tensor) -> dict[str, torch.Tensor]:
    weights = torch.linspace(-1, 1, embeddings.numel(), dtype=torch.float64).view_as(embeddings)
    model.zero_grad()
    (embeddings * weights).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_values_and_gradients_are_those_of_all_places(apart: bool, checkpointing: bool) -> None:
    model = clip(apart)
    whole = model.encode_text(SHORT)
    expected = gradients(model, whole)
    if checkpointing:
        checkpoint_activations(model, "small")
    with places_seen(model) as seen:
        found = encode_text(model, SHORT, text_groups(model, SHORT))
    assert seen == [7, 7, 7]
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-13)
    torch.testing.assert_close(gradients(model, found), expected, rtol=0, atol=1e-12)


def lengths(*filled: int) -> torch.Tensor:
    """Texts that fill so many places."""
    rows = torch.zeros(len(filled), 12, dtype=torch.int64)
    for row, places in zip(rows, filled, strict=True):
        row[:places] = torch.arange(1, places + 1)
        row[places - 1] = END
    return rows


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(
    ("filled", "of_groups"),
    [
        ([5, 12, 3, 4, 3, 6, 4, 5, 9], [4, 5, 12]),  # of nine texts three each: torch splits into equal parts
        ([12, 3, 3, 3], [3, 3, 3, 12]),
        ([12, 3], [3, 12]),
    ],
)
def test_few_long_texts_do_not_lengthen_all(
    apart: bool, checkpointing: bool, filled: list[int], of_groups: list[int]
) -> None:
    model, tokens = clip(apart), lengths(*filled)
    whole = model.encode_text(tokens)
    expected = gradients(model, whole)
    if checkpointing:
        checkpoint_activations(model, "small")
    groups = text_groups(model, tokens)
    assert groups is not None
    assert groups.lengths == of_groups
    with places_seen(model) as seen:
        found = encode_text(model, tokens, groups)
    assert seen == [length for length in of_groups for _ in range(3)]
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-13)
    torch.testing.assert_close(gradients(model, found), expected, rtol=0, atol=1e-12)


def test_texts_of_similar_length_are_one_group() -> None:
    model = clip(False)
    assert text_groups(model, lengths(5, 6, 7, 8, 9, 10)) == TextGroups([10])
    assert text_groups(model, lengths(5, 6, 7, 8, 9, 12)) is None


def test_a_sharded_models_ranks_take_equally_many_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short_texts, "is_sharded", lambda model: True)
    assert text_groups(clip(False), lengths(3, 3, 3, 11)) == TextGroups([11])


@pytest.mark.parametrize("apart", [False, True])
def test_the_next_call_of_the_model_sees_all_places(apart: bool) -> None:
    model = clip(apart)
    encode_text(model, SHORT, text_groups(model, SHORT))
    with pytest.raises(IndexError):
        encode_text(model, SHORT + 1, TextGroups([7]))  # the end token's number is none of the vocabulary's
    with places_seen(model) as seen:
        model.encode_text(SHORT)
    assert seen == [12, 12, 12]


def test_a_text_that_fills_the_context_leaves_the_pass_as_it_is() -> None:
    model = clip(False)
    assert text_groups(model, LONG) is None
    with places_seen(model) as seen:
        assert encode_text(model, LONG, text_groups(model, LONG)).equal(model.encode_text(LONG))
    assert seen == [12] * 6


@pytest.mark.parametrize(
    "text",
    [
        {"no_causal_mask": True},  # each place sees all others
        {"pool_type": "last"},
        {"pool_type": "first", "no_causal_mask": True},
        {"embed_cls": True},  # behind all places
    ],
)
def test_towers_in_which_padding_counts_encode_all_places(text: dict[str, Any]) -> None:
    model = clip(True, **text)
    assert not shortens(model)
    assert text_groups(model, SHORT) is None
    with places_seen(model) as seen:
        assert encode_text(model, SHORT, None).equal(model.encode_text(SHORT))
    assert min(seen) >= 12


def test_another_models_texts_need_not_be_numbers_of_tokens() -> None:
    class Bag(nn.Module):
        def encode_text(self, words: torch.Tensor) -> torch.Tensor:
            return words.double()

    words = torch.tensor([[True, False, False]])
    assert text_groups(Bag(), words) is None
    assert encode_text(Bag(), words, None).tolist() == [[1.0, 0.0, 0.0]]


@pytest.mark.parametrize("apart", [False, True])
def test_a_compiled_tower_keeps_its_shape(apart: bool) -> None:
    model = clip(apart)
    compile_towers(model)  # wraps only: nothing is compiled before the first call
    assert shortens(model)
    assert text_groups(model, SHORT) is None
    by_block = clip(apart)
    compile_towers(by_block, by_block=True)
    assert text_groups(by_block, SHORT) is None
