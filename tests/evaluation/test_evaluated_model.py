# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import stubs
import torch
from torch import nn

from clip_align.errors import UserError
from clip_align.evaluation.evaluated_model import OPENAI_MEAN, OPENAI_STD, find_model

GUESSED = "the model does not define how its images are normalized: OpenAI's mean and std are used"


class Holder(nn.Module):
    def __init__(self, **children: nn.Module) -> None:
        super().__init__()
        for name, child in children.items():
            self.add_module(name, child)


def test_the_model_is_the_argument_else_the_module_else_its_only_child() -> None:
    model, other = stubs.StubModel(), stubs.StubModel()
    assert find_model(Holder(a=other), model=model).model is model
    assert find_model(model).model is model
    assert find_model(Holder(a=model, head=nn.Linear(2, 2))).model is model


@pytest.mark.parametrize(
    ("module", "line"),
    [
        (Holder(head=nn.Linear(2, 2)), "model: Holder has no children with encode_image, one is needed"),
        (Holder(a=stubs.StubModel(), b=stubs.StubModel()), r"model: Holder has 2 children with encode_image \(a, b\)"),
    ],
)
def test_no_model_or_two_are_refused(module: nn.Module, line: str) -> None:
    with pytest.raises(UserError, match=line):
        find_model(module)


def test_size_and_normalisation_come_from_visual() -> None:
    model = stubs.StubModel()
    model.visual.image_size, model.visual.image_mean, model.visual.image_std = (24, 24), (0.1, 0.2, 0.3), 0.5
    found = find_model(model)
    assert (found.image_size, found.mean, found.std) == (24, (0.1, 0.2, 0.3), (0.5, 0.5, 0.5))
    assert found.warnings == ()


def test_arguments_come_first_and_guesses_are_reported() -> None:
    found = find_model(stubs.StubModel())
    assert (found.mean, found.std, found.warnings) == (OPENAI_MEAN, OPENAI_STD, (GUESSED,))
    given = find_model(stubs.StubModel(), mean=(0.5, 0.5, 0.5), std=(1, 1, 1))
    assert (given.mean, given.std, given.warnings) == ((0.5,) * 3, (1.0,) * 3, ())
    half = find_model(stubs.StubModel(), mean=np.array([0.1, 0.2, 0.3]))  # type: ignore[arg-type]
    assert (half.mean, half.std, half.warnings) == ((0.1, 0.2, 0.3), OPENAI_STD, (GUESSED,))


def test_a_model_argument_that_cannot_encode_is_refused() -> None:
    with pytest.raises(UserError, match="model: Linear has no encode_image; pass the callback a model"):
        find_model(stubs.StubModel(), model=nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("size", "line"),
    [((16, 24), r"visual\.image_size is \(16, 24\); only square"), (None, r"has no visual\.image_size; set it")],
)
def test_a_size_that_cannot_be_used_is_refused(size: object, line: str) -> None:
    model = stubs.StubModel()
    model.visual.image_size = size
    with pytest.raises(UserError, match=line):
        find_model(model)


def test_a_model_without_a_tokenizer_has_a_reason() -> None:
    found = find_model(stubs.StubModel())
    assert found.tokenizer is None
    assert found.no_tokenizer == (
        "its prompts need a tokenizer, and a vocabulary of None words is not open_clip's (49408); "
        "pass the callback tokenizer=…"
    )
    words = stubs.Words()
    assert find_model(stubs.StubModel(), tokenizer=words).tokenizer is words


def test_open_clips_own_vocabulary_finds_open_clips_tokenizer() -> None:
    model = stubs.StubModel()
    model.token_embedding = nn.Embedding(49408, 2)
    model.context_length = 10
    tokenizer = find_model(model).tokenizer
    assert tokenizer is not None
    tokens = tokenizer(["a photo of a star"])
    assert tokens.shape == (1, 10)
    assert tokens.dtype == torch.int64
