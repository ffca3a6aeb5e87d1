# SPDX-License-Identifier: Apache-2.0
"""Texts are encoded only as far as they reach: what follows is padding.

Where attention is causal and a text's embedding is read at its end token, no place behind that token has any influence
on it, nor a gradient. A caption of ten words fills 12 of the 77 places that open_clip's text towers compute. All texts
of a batch are encoded as far as the longest one reaches; where a few long ones would make many short ones expensive, in
groups of similar length.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

from clip_align.models.sharding import is_sharded

GROUPS = 4
WORTH = 2 / 3  # fraction of the places of one group below which several are worth their further passes


class TextGroups(NamedTuple):
    """Texts of similar length, to be encoded together.

    lengths: places [1, L] that each group's longest text fills, start and end token included, ascending.
    order: int64 [N], rows of the texts, group after group of equal size (the last one may be smaller); None for a
    single group.
    inverse: int64 [N], where each text is in ``order``; None likewise.
    """

    lengths: Sequence[int]
    order: torch.Tensor | None = None
    inverse: torch.Tensor | None = None


def text_groups(model: nn.Module, tokens: torch.Tensor, device: torch.device | None = None) -> TextGroups | None:
    """How `encode_text` encodes some texts.

    Args:
        model: with ``encode_text``.
        tokens: ids [N, L]; the end token is the largest of a text. On the host: a GPU would have to be waited for.
        device: of the rows that are returned; None: the host.

    None where the model encodes all places: a tower that is not `shortens`, a compiled one, which would be compiled
    again for each length, and texts that fill them.
    """
    if not shortens(model) or _is_compiled(model):
        return None
    lengths = tokens.argmax(dim=-1) + 1
    ascending, order = lengths.sort(stable=True)
    groups = ascending.chunk(GROUPS)
    longest = [int(group[-1]) for group in groups]
    places = sum(len(group) * length for group, length in zip(groups, longest, strict=True))
    # passes of a sharded model are collectives: all ranks take equally many
    if places < WORTH * len(tokens) * longest[-1] and not is_sharded(model):
        return TextGroups(longest, *(rows.to(device, non_blocking=True) for rows in (order, order.argsort())))
    return TextGroups(longest[-1:]) if longest[-1] < tokens.shape[-1] else None


def encode_text(model: nn.Module, tokens: torch.Tensor, groups: TextGroups | None) -> torch.Tensor:
    """Embeddings [N, D] of ``model.encode_text(tokens)``, within rounding.

    Args:
        model: with ``encode_text``.
        tokens: ids [N, L], on the model's device.
        groups: `text_groups` of them, on the same device; None: all places are encoded.
    """
    if groups is None:
        embeddings: torch.Tensor = model.encode_text(tokens)  # type: ignore[operator]
        return embeddings
    if groups.order is None:
        return _encoded(model, tokens, groups.lengths[0])
    parts = tokens[groups.order].chunk(GROUPS)
    encoded = [_encoded(model, part, length) for part, length in zip(parts, groups.lengths, strict=True)]
    return torch.cat(encoded)[groups.inverse]


def _encoded(model: nn.Module, tokens: torch.Tensor, length: int) -> torch.Tensor:
    with ExitStack() as hooks:  # removed also if the model raises
        transformer: nn.Module = _tower(model).transformer
        hooks.callback(transformer.register_forward_pre_hook(partial(_cut, length), with_kwargs=True).remove)
        embeddings: torch.Tensor = model.encode_text(tokens)  # type: ignore[operator]
    return embeddings


def _cut(length: int, _: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    (places,) = inputs  # [N, L, width]
    mask = options["attn_mask"][:length, :length]
    return (places[:, :length],), {**options, "attn_mask": mask}


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
    """Whether the tower, its transformer or (where the model is sharded) its blocks are."""
    transformer = _tower(model).transformer
    modules = (_tower(model), transformer, *transformer.resblocks)
    return any(getattr(module, "_compiled_call_impl", None) is not None for module in modules)
