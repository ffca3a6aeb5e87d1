# SPDX-License-Identifier: Apache-2.0
"""Which open_clip architectures can be built and fed without a network, read without importing open_clip.

A name works offline when the ``text_cfg`` of its file in open_clip's ``model_configs`` names neither a Hugging Face
text tower (``hf_model_name``) nor a Hugging Face tokenizer (``hf_tokenizer_name``): those two are downloaded.
"""

from __future__ import annotations

import functools
import importlib.util
import json
from pathlib import Path
from typing import Any

from clip_align.spelling import nearest

# options of a text_cfg whose value is a repository on the Hugging Face hub
NEEDS_NETWORK = ("hf_model_name", "hf_tokenizer_name")


@functools.cache
def configs() -> dict[str, Any]:
    """open_clip's configuration of every name; empty if open_clip is not installed."""
    spec = importlib.util.find_spec("open_clip")  # a top-level package: found, not imported
    folders = spec.submodule_search_locations if spec is not None else None
    found: dict[str, Any] = {}
    for folder in folders or ():  # a namespace package may have several
        for path in sorted((Path(folder) / "model_configs").glob("*.json")):
            config = json.loads(path.read_text(encoding="utf-8"))
            if all(part in config for part in ("embed_dim", "vision_cfg", "text_cfg")):  # as open_clip's own scan
                found[path.stem] = config
    return found


@functools.cache
def names() -> dict[str, bool]:
    """Every open_clip name, and whether it works offline."""
    return {name: not any(config["text_cfg"].get(k) for k in NEEDS_NETWORK) for name, config in configs().items()}


def is_resnet(name: str) -> bool:
    """Whether the image tower is CLIP's own ResNet, which has neither tokens nor blocks; False for an unknown name."""
    # open_clip tells it from a transformer by the number of layers of each stage
    return isinstance(configs().get(name, {}).get("vision_cfg", {}).get("layers"), list)


def no_tokens(name: str) -> str:
    """Why a model without tokens cannot be trained with patch dropout, what to do instead."""
    return f"{name}'s image tower has no tokens to leave out; take a vision transformer, or model.patch_dropout=0"


def no_blocks(name: str) -> str:
    """Why a model cannot be trained with activation checkpointing, what to do instead."""
    return f"true, but {name}'s image tower has no blocks that it could run again; leave it false"


def offline_names() -> list[str]:
    """The names that need no network, in alphabetical order."""
    return sorted(name for name, offline in names().items() if offline)


def problem(name: str) -> str | None:
    """Why ``name`` cannot be trained offline, what to take instead; None when it can."""
    known = names()
    if known.get(name):  # False where it needs the network, None where there is none
        return None
    if not known:
        return f"'{name}': open_clip is not installed, or without its model_configs; install open_clip_torch"
    lower = {n.lower(): n for n in offline_names()}
    # papers write ViT-B/32, our yaml files vit_b_32; with nothing similar a usual one
    like = lower[nearest(name.lower().replace("_", "-").replace("/", "-"), lower) or "vit-b-32"]
    if name in known:
        return (
            f"'{name}' needs the network: open_clip downloads its tokenizer or text tower; "
            f"{len(offline_names())} names do not, e.g. {like}"
        )
    return f"'{name}' is not an open_clip architecture that needs no network; did you mean {like}?"
