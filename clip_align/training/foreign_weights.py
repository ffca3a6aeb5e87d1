# SPDX-License-Identifier: Apache-2.0
"""Weights of other trainers of open_clip models: files of open_clip_train, Lightning, safetensors, plain state dicts.

Only tensors and plain python are read (``weights_only``, safetensors): no code in a file is executed.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from clip_align.errors import Problem, UserError
from clip_align.training.checkpoint_files import READ_ERRORS, reason_of

PREFIXES = ("module.", "_orig_mod.")  # of DDP and torch.compile, anywhere in a name
LFS = b"version https://git-lfs"  # how its pointers begin
STATES = ("state_dict", "model_state_dict", "model")  # where trainers put the weights


def read_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors of a checkpoint by name, mapped from the file, and its other keys with plain numbers.

    UserError with the reason for a file that cannot be read as tensors and plain python.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}, {}  # noqa: SIM118  # no mapping
        # files of torch before 1.6 have a format of their own, which cannot be mapped
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except READ_ERRORS as error:
        raise UserError(f"{path}: cannot be read ({_pointer(path) or reason_of(error)})") from None
    except Exception as error:  # safetensors has an error of its own
        why = _pointer(path) or f"{type(error).__name__}: {error}"
        raise UserError(f"{path}: cannot be read ({why})") from None
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: holds {type(content).__name__}, no weights by name; save the model's state_dict()")
    inner = next((content[key] for key in STATES if isinstance(content.get(key), Mapping)), content)
    weights = {str(k): v for k, v in inner.items() if isinstance(v, torch.Tensor)}
    if not weights:
        raise UserError(f"{path}: holds no weights; keys: {', '.join(map(str, list(content)[:5])) or 'none'}")
    return weights, {str(k): v for k, v in content.items() if isinstance(v, int | float | str)}


def fitted(weights: Mapping[str, torch.Tensor], wanted: Sequence[str]) -> dict[str, torch.Tensor]:
    """The weights under the names that a model has for them, without what wrappers and Lightning put before these.

    Args:
        weights: as stored.
        wanted: names of the model's parameters and buffers.
    """
    plain = {_without_wrappers(name): tensor for name, tensor in weights.items()}
    if any(name in plain for name in wanted):
        return {name: tensor for name, tensor in plain.items() if name in set(wanted) or not _others(name, wanted)}
    # below a name of the LightningModule: the longest name of the model is the least likely to be found by accident
    probe = max(wanted, key=len)
    before = {name[: -len(probe)] for name in plain if name.endswith(f".{probe}")}
    if len(before) != 1:
        return plain
    start = next(iter(before))
    return {name.removeprefix(start): tensor for name, tensor in plain.items() if name.startswith(start)}


def load_into(
    model: torch.nn.Module,
    weights: Mapping[str, torch.Tensor],
    path: Path,
    advice: str = "type model.name=<architecture>",
    key: str = "",
) -> None:
    """Load weights of whatever names and positions; UserError where they are not those of the model.

    Args:
        model: of the architecture.
        weights: as stored.
        path: named in the error.
        advice: what to do about the error.
        key: of the configuration that the error is about.
    """
    from open_clip.factory import resize_pos_embed, resize_text_pos_embed

    state = fitted(weights, list(model.state_dict()))
    try:
        resize_pos_embed(state, model)  # a model of another image size: interpolated, as open_clip does
        resize_text_pos_embed(state, model)
        model.load_state_dict(state)
    except (RuntimeError, AttributeError, KeyError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = (lines[1] if len(lines) > 1 else lines[0] if lines else type(error).__name__)[:200]
        raise UserError(
            Problem(key, f"{path}: its weights are not of this architecture ({reason}); {advice}")
        ) from None


def downloaded(name: str, tag: str, key: str, advice: str) -> Path:
    """The file of weights that open_clip knows by a name and a tag, from its cache or downloaded.

    Args:
        name: of the architecture.
        tag: of its weights.
        key: of the configuration, for the error.
        advice: what to do where there is no network.

    UserError where it cannot be downloaded.
    """
    import open_clip

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it retries, and warns of each
    try:
        return Path(open_clip.download_pretrained(open_clip.get_pretrained_cfg(name, tag)))
    except Exception as error:  # no network, no disk space, a hub that refuses: whatever its client raises
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:160]
        raise UserError(Problem(key, f"{name}:{tag}: cannot be downloaded ({reason}); {advice}")) from None


def _others(name: str, wanted: Sequence[str]) -> bool:
    """Whether a stored tensor belongs to something beside the model: a loss, a metric, an average of the weights."""
    tops = {known.partition(".")[0] for known in wanted}
    return name.partition(".")[0] not in tops


def _without_wrappers(name: str) -> str:
    for prefix in PREFIXES:
        name = name.replace(prefix, "")
    return name


def _pointer(path: Path) -> str | None:
    """What to do where Git has cloned a repository without its large files; None elsewhere."""
    try:
        with path.open("rb") as file:
            is_pointer = file.read(len(LFS)) == LFS
    except OSError:
        return None
    return "a pointer of Git LFS, in place of the file itself; type git lfs pull in its folder" if is_pointer else None
