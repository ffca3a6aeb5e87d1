# SPDX-License-Identifier: Apache-2.0
"""Models by configuration: the tiny one, or any open_clip architecture that needs no network, with random weights."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from clip_align import open_clip_names
from clip_align.config import ModelConfig
from clip_align.errors import Problem, UserError
from clip_align.models.layers import layer_count
from clip_align.models.patch_dropout import use_patch_dropout

Tokenizer = Callable[[list[str]], torch.Tensor]
Triple = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class ClipModel:
    """A model and what goes with it.

    model: has ``encode_image`` ([N, 3, S, S] -> [N, D], not of unit length), ``encode_text`` and ``logit_scale``.
    tokenizer: texts -> int64 [N, context]; picklable.
    image_size: S in pixels. mean, std: of the channels on [0, 1], the model's own.
    layers: number of blocks that ``models.layers.block_features`` gives; None where there are none.
    """

    model: nn.Module
    tokenizer: Tokenizer
    image_size: int
    mean: Triple
    std: Triple
    name: str
    layers: int | None


def build_model(config: ModelConfig, words: Sequence[str] | None = None, device: str = "cpu") -> ClipModel:
    """The configured model; its weights are drawn from torch's global generator, which the caller seeds.

    Args:
        config: the model part of the configuration.
        words: vocabulary of the tiny model where it `has_words`; others have open_clip's tokenizer.
        device: where the weights are made; "meta" builds shapes without values, which a dry run counts.

    UserError for a name that is unknown or needs the network, and for an image size that the architecture cannot take.
    """
    if config.kind == "tiny":
        return _tiny(config, words, device)
    problem = open_clip_names.problem(config.name or "")
    if problem:
        raise UserError(Problem("model.name", problem))
    return _open_clip(config, device)


def _tiny(config: ModelConfig, words: Sequence[str] | None, device: str) -> ClipModel:
    from clip_align.models.tiny import STRIDE, build_tiny
    from clip_align.models.words import WordTokenizer

    size = config.image_size or 32
    if size % STRIDE:
        raise UserError(Problem("model.image_size", f"{size} is not a multiple of {STRIDE}, as model=tiny needs"))
    tokenizer: Any
    if config.has_words:
        if words is None:  # a mistake of the caller, not of the user
            raise ValueError("the tiny model needs the words of its captions")
        tokenizer = WordTokenizer(words, config.context)
    else:
        from open_clip import SimpleTokenizer

        tokenizer = SimpleTokenizer(context_length=config.context)
    with torch.device(device):  # weights are drawn where they stay
        model = build_tiny(config.embed_dim, size, tokenizer.vocab_size, config.context)
    return _described(model, tokenizer, "tiny")


def _open_clip(config: ModelConfig, device: str) -> ClipModel:
    name, image_size = config.name or "", config.image_size
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read at open_clip's import: a download would fail at once
    import open_clip

    try:
        with _no_warnings(), torch.device(device):  # on meta from the start: open_clip would first fill the memory
            model = open_clip.create_model(
                name,
                pretrained=None,
                device=device,
                load_weights=False,  # all three: random weights, nothing fetched
                pretrained_image=False,
                pretrained_text=False,
                force_image_size=image_size,
                force_patch_dropout=config.patch_dropout or None,
                force_context_length=config.context_length,
            )
    except TypeError as error:  # an option that a tower of timm's does not take, which is the only one
        if not config.patch_dropout:
            raise
        raise UserError(Problem("model.patch_dropout", open_clip_names.no_tokens(name))) from error
    except (AssertionError, RuntimeError, ValueError) as error:  # an image size that its blocks cannot take
        raise UserError(
            Problem("model", f"open_clip cannot build {name} for {image_size or 'its own'} px: {_first(error)}")
        ) from error
    if hasattr(model, "text_decoder"):  # CoCa: a caption decoder that a contrastive loss never reaches
        _without_captioning(model)
    if config.patch_dropout and not use_patch_dropout(model, config.patch_dropout):
        raise UserError(Problem("model.patch_dropout", open_clip_names.no_tokens(name)))
    tokenizer = open_clip.get_tokenizer(name, context_length=config.context_length)
    built = _described(model, tokenizer, name)
    if image_size is not None:
        _check_size(built)
    return built


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    """open_clip warns through the root logger that the weights are random, which is intended here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _without_captioning(model: Any) -> None:
    """Leave the decoder's weights as they are: DDP waits for a gradient of every parameter that requires one.

    CoCa's towers normalize their embeddings by default; the others' do not, and the loss does it for all.
    """
    model.encode_image = partial(model.encode_image, normalize=False)
    model.encode_text = partial(model.encode_text, normalize=False)
    model.text_decoder.requires_grad_(False)


def _check_size(built: ClipModel) -> None:
    """Some architectures take a size and fail only when they see an image."""
    modes = [(module, module.training) for module in built.model.modules()]
    try:
        with torch.no_grad():
            device = next(built.model.parameters()).device
            images = torch.zeros(1, 3, built.image_size, built.image_size, device=device)
            built.model.eval().encode_image(images)  # type: ignore[operator]
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UserError(
            Problem(
                "model.image_size",
                f"{built.name} cannot take images of {built.image_size} px ({_first(error)}); "
                "leave it null for the architecture's own size",
            )
        ) from error
    finally:  # module by module: train() would also change those that are kept in eval mode
        for module, training in modes:
            module.training = training


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]  # an assertion may have no text


def _described(model: Any, tokenizer: Tokenizer, name: str) -> ClipModel:
    size = model.visual.image_size
    size = size[0] if isinstance(size, tuple | list) else size  # open_clip's towers have either; all are square
    mean, std = _triple(model.visual.image_mean), _triple(model.visual.image_std)
    return ClipModel(model, tokenizer, int(size), mean, std, name, layer_count(model))


def _triple(values: Sequence[float]) -> Triple:
    red, green, blue = map(float, values)
    return red, green, blue
