# SPDX-License-Identifier: Apache-2.0
"""Texts are encoded only as far as the longest one of a batch reaches: what follows is padding.

Where attention is causal and a text's embedding is read at its end token, no place behind that token has any influence
on it, nor a gradient. A caption of ten words fills 12 of the 77 places that open_clip's text towers compute.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import nn


def longest_text(model: nn.Module, tokens: torch.Tensor) -> int | None:
    """Places [1, L] that the longest of some texts fills, start and end token included, as `encode_text` takes them.

    Args:
        model: with ``encode_text``.
        tokens: ids [N, L]; the end token is the largest of a text. On the host: a GPU would have to be waited for.

    None where the model encodes all places: a tower that is not `shortens`, and a compiled one, which would be compiled
    anew for each length.
    """
    if not shortens(model) or _is_compiled(model):
        return None
    longest = int(tokens.argmax(dim=-1).max()) + 1
    return longest if longest < tokens.shape[-1] else None


def encode_text(model: nn.Module, tokens: torch.Tensor, longest: int | None) -> torch.Tensor:
    """Embeddings [N, D] of ``model.encode_text(tokens)``, within rounding.

    Args:
        model: with ``encode_text``.
        tokens: ids [N, L], on the model's device.
        longest: `longest_text` of them; None: all places are encoded.
    """
    with ExitStack() as hooks:  # removed also if the model raises
        if longest is not None:
            transformer: nn.Module = _tower(model).transformer
            hooks.callback(transformer.register_forward_pre_hook(partial(_cut, longest), with_kwargs=True).remove)
        embeddings: torch.Tensor = model.encode_text(tokens)  # type: ignore[operator]
    return embeddings


def _cut(longest: int, _: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    (places,) = inputs  # [N, L, width]
    mask = options["attn_mask"][:longest, :longest]
    return (places[:, :longest],), {**options, "attn_mask": mask}


def shortens(model: nn.Module) -> bool:
    """Whether places may be left out.

    They may in open_clip's text towers, but for those that read a class token (CoCa's), the last place (SigLIP's) or a
    mean.
    """
    tower = _tower(model)
    pooled = getattr(tower, "pool_type", getattr(tower, "text_pool_type", None))
    return (
        hasattr(getattr(tower, "transformer", None), "resblocks")
        and isinstance(getattr(tower, "attn_mask", None), torch.Tensor)  # open_clip's are causal, or there is none
        and pooled == "argmax"
        and getattr(tower, "cls_emb", None) is None
    )


def _tower(model: Any) -> Any:
    """open_clip's CustomTextCLIP has a text tower, its CLIP is one."""
    return getattr(model, "text", model)


def _is_compiled(model: Any) -> bool:
    modules = (_tower(model), getattr(_tower(model), "transformer", None))
    return any(getattr(module, "_compiled_call_impl", None) is not None for module in modules)
