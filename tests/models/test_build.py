# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pickle
from functools import partial

import pytest
import torch

from clip_align import open_clip_names
from clip_align.config import ModelConfig
from clip_align.errors import UserError
from clip_align.models.build import ClipModel, build_model

WORDS = ["a", "red", "square", "circle"]


def open_clip_model(name: str, size: int | None = None, device: str = "cpu") -> ClipModel:
    return build_model(ModelConfig(kind="open_clip", name=name, image_size=size), device=device)


def test_tiny_model_takes_its_sizes_and_words() -> None:
    built = build_model(ModelConfig(image_size=16, embed_dim=24, context=6), WORDS)
    assert (built.name, built.image_size, built.layers) == ("tiny", 16, 5)
    tokens = built.tokenizer(["a red square", "blue"])
    assert tokens.shape == (2, 6)
    assert built.model.encode_text(tokens).shape == (2, 24)
    assert built.model.encode_image(torch.zeros(2, 3, 16, 16)).shape == (2, 24)
    assert len(built.mean) == len(built.std) == 3


def test_tiny_model_with_open_clips_tokenizer() -> None:
    built = build_model(ModelConfig(tokenizer="open_clip", context=9))
    tokens = pickle.loads(pickle.dumps(built.tokenizer))(
        ["a red square", "an unheard-of thing that does not fit in here"]
    )
    assert tokens.shape == (2, 9)
    assert tokens.max(dim=1).values.tolist() == [49_407, 49_407]  # each ends, also where it is cut
    assert built.model.vocab_size == 49_408
    assert built.model.encode_text(tokens).shape == (2, 64)  # type: ignore[operator]
    assert not hasattr(built.tokenizer, "unknown")  # it knows parts of all words


def test_words_are_needed_by_the_tokenizer_of_words_alone() -> None:
    assert [ModelConfig(tokenizer=name).has_words for name in ("words", "open_clip")] == [True, False]  # type: ignore[arg-type]
    assert not ModelConfig("open_clip", "ViT-B-32", None).has_words
    with pytest.raises(ValueError, match="needs the words"):
        build_model(ModelConfig())


@pytest.mark.parametrize("name", ["ViT-S-32-alt", "coca_ViT-B-32"])
def test_shorter_texts(name: str) -> None:
    built = build_model(ModelConfig("open_clip", name, None, context_length=12), device="meta")
    tokens = built.tokenizer(["a photo of a cat " * 9, "b"])
    assert tokens.shape == (2, 12)
    assert int(tokens[0, -1]) == int(tokens.max())
    with torch.device("meta"):
        assert built.model.encode_text(tokens.to("meta")).shape[0] == 2  # type: ignore[operator]


def test_weights_come_from_the_callers_seed() -> None:
    weights = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        model = build_model(ModelConfig(), WORDS).model
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_tiny_model_refuses_a_size_it_cannot_halve_three_times() -> None:
    with pytest.raises(UserError, match=r"model.image_size: 36 is not a multiple of 8"):
        build_model(ModelConfig(image_size=36), WORDS)


@pytest.mark.parametrize("name", ["ViT-B-16-SigLIP", "xlm-roberta-base-ViT-B-32", "ViT-B-31", ""])
def test_names_that_need_the_network_or_do_not_exist_are_refused_in_one_line(name: str) -> None:
    with pytest.raises(UserError, match=r"^model\.name: ") as error:
        open_clip_model(name)
    assert "\n" not in str(error.value)


def test_a_size_the_architecture_cannot_take_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="16 px") as error:
        open_clip_model("ViT-S-32-alt", 16)
    assert "\n" not in str(error.value)


def test_open_clip_model_at_another_size(caplog: pytest.LogCaptureFixture) -> None:
    built = open_clip_model("ViT-S-32-alt", 64)
    assert (built.image_size, built.layers) == (64, 12)
    assert built.model.training
    assert built.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
    tokenizer = pickle.loads(pickle.dumps(built.tokenizer))  # for spawned workers
    tokens = tokenizer(["a photo of a cat"])
    assert torch.equal(tokens, built.tokenizer(["a photo of a cat"]))
    with torch.no_grad():
        assert built.model.encode_text(tokens).shape == (1, 256)
    assert not caplog.records  # "no pretrained weights" is no news here


def test_quickgelu_names_keep_their_activation() -> None:
    plain, quick = (open_clip_model(f"ViT-B-32{suffix}", device="meta").model for suffix in ("", "-quickgelu"))
    assert "QuickGELU" not in str(plain)
    assert "QuickGELU" in str(quick)
    assert "GELU(approximate" not in str(quick)


def test_coca_encodes_like_the_others_and_needs_no_gradient_for_its_decoder() -> None:
    with torch.device("meta"):
        model = open_clip_model("coca_ViT-B-32", device="meta").model
        text = model.encode_text(torch.zeros(2, 76, dtype=torch.long))
        loss = model.encode_image(torch.zeros(2, 3, 224, 224)).sum() + text.sum() + model.logit_scale
        loss.backward()
    assert isinstance(model.encode_image, partial)
    assert model.encode_image.keywords == {"normalize": False}
    missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []


@pytest.mark.exhaustive
@pytest.mark.timeout(1200)  # three minutes on one core of a busy machine
def test_every_offline_name_can_be_built_and_fed() -> None:
    names = open_clip_names.offline_names()
    assert len(names) == 95
    for name in names:
        built = open_clip_model(name, device="meta")
        with torch.device("meta"):
            images = built.model.encode_image(torch.zeros(2, 3, built.image_size, built.image_size))
            texts = built.model.encode_text(built.tokenizer(["a cat", "a dog"]).to("meta"))
        assert images.shape == texts.shape, name
        assert images.shape[0] == 2, name
        assert built.layers, name
