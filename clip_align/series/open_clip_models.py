# SPDX-License-Identifier: Apache-2.0
"""open_clip models built from a configuration without weights: a name, a json file, a folder from the hub."""

from __future__ import annotations

import ast
import json
import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from clip_align.errors import Problem, UserError
from clip_align.series.names import architecture_in, params_of
from clip_align.spelling import nearest

CONFIG = "open_clip_config.json"  # beside weights from the hub


@dataclass(frozen=True)
class Architecture:
    """An architecture with what its weights were trained with.

    model_cfg: as in open_clip's json files, the activation (``quick_gelu``) among it. preprocess_cfg: mean, std, size.
    """

    name: str
    model_cfg: Mapping[str, Any]
    preprocess_cfg: Mapping[str, Any] = field(default_factory=dict)

    def same(self, other: Architecture) -> bool:
        """Whether both are one architecture with one preprocessing, under whatever name."""
        return (self.model_cfg, self.preprocess_cfg) == (other.model_cfg, other.preprocess_cfg)


def architecture_of(path: Path, typed: str | None = None) -> Architecture:
    """The architecture of a checkpoint: as typed, else from files beside it, else from its folder's name.

    Activation, mean and std come from the configuration that belongs to the weights, never from a default: the wrong
    activation loads without an error.

    Args:
        path: of the checkpoint.
        typed: open_clip's name, or a json file; None: nothing was typed.
    """
    beside = path.parent / CONFIG
    if typed is None and beside.is_file():
        content = _json(beside)
        if not isinstance(content.get("model_cfg"), dict):
            raise UserError(f"{beside}: no model_cfg in it; type model.name=<architecture>")
        return Architecture(path.parent.name, content["model_cfg"], _known(content.get("preprocess_cfg") or {}))
    name = typed or architecture_in(path.resolve())
    if name is None:
        raise UserError(
            Problem(
                "model.name",
                f"{path}: which architecture? there is no {CONFIG} beside it and no params.txt of open_clip_train above"
                " it; type model.name=ViT-B-32, or model_config=<file.json>",
            )
        )
    # params.txt is of these weights, whatever their architecture is called
    model_cfg, preprocess_cfg = _configs(name, params_of(path))
    if beside.is_file():
        preprocess_cfg |= _known(_json(beside).get("preprocess_cfg") or {})
    return Architecture(Path(name).stem if _is_file(name) else name, model_cfg, preprocess_cfg)


def of_tag(name: str, tag: str) -> Architecture:
    """The architecture of a pretrained tag of open_clip; UserError with the tags that there are."""
    import open_clip

    found = open_clip.get_pretrained_cfg(name, tag)
    if not found:
        tags = open_clip.list_pretrained_tags_by_model(name)
        if not tags:
            names = open_clip.list_models()
            guess = nearest(name, names)
            raise UserError(
                Problem("evaluate", f"{name}:{tag}: no architecture of open_clip has this name{_or(guess)}")
            )
        raise UserError(Problem("evaluate", f"{name}:{tag}: no such weights; {name} has {', '.join(tags)}"))
    model_cfg = dict(open_clip.get_model_config(name))
    if "quick_gelu" in found:
        model_cfg["quick_gelu"] = bool(found["quick_gelu"])
    return Architecture(f"{name}:{tag}", model_cfg, _known(found))


def built(architecture: Architecture) -> nn.Module:
    """The model with random weights, in float32 and in evaluation mode; UserError where it cannot be built here."""
    import open_clip

    before = logging.root.manager.disable
    with tempfile.TemporaryDirectory() as folder:
        content = {"model_cfg": dict(architecture.model_cfg), "preprocess_cfg": dict(architecture.preprocess_cfg)}
        (Path(folder) / CONFIG).write_text(json.dumps(content), encoding="utf-8")
        logging.disable(logging.WARNING)  # it warns that the weights are random, which is intended
        try:
            model: nn.Module = open_clip.create_model(
                f"local-dir:{folder}",
                load_weights=False,
                pretrained_image=False,
                pretrained_text=False,
            )
        except Exception as error:  # a text tower from the hub, a network, a configuration that is not one
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(Problem("model.name", f"{architecture.name}: cannot be built here ({reason})")) from None
        finally:
            logging.disable(before)
    return model.eval()


def _configs(name: str, params: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """model_cfg and preprocess_cfg of a name or json file, with what open_clip_train was started with."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read at open_clip's import: a name would otherwise be looked up
    import open_clip

    found = _json(Path(name).expanduser()) if _is_file(name) else open_clip.get_model_config(name.replace("/", "-"))
    if found is None:
        guess = nearest(name, open_clip.list_models())
        what = f"'{name}' is no architecture of open_clip{_or(guess)}; for one of your own: model_config=<file.json>"
        raise UserError(Problem("model.name", what))
    preprocess = {}
    if isinstance(found.get("model_cfg"), dict):  # a file as it lies beside weights from the hub
        preprocess, found = _known(found.get("preprocess_cfg") or {}), found["model_cfg"]
    model_cfg = dict(found)
    if params.get("force_quick_gelu") == "True":
        model_cfg["quick_gelu"] = True
    for key in ("mean", "std"):
        value = _literal(params.get(f"image_{key}", "None"))
        if isinstance(value, list | tuple):
            preprocess[key] = list(value)
    size = _literal(params.get("force_image_size", "None"))
    size = size[0] if isinstance(size, list | tuple) and size else size
    if isinstance(size, int):
        model_cfg["vision_cfg"] = {**model_cfg["vision_cfg"], "image_size": size}
    return model_cfg, preprocess


def _known(found: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a preprocessing that evaluation uses."""
    return {key: found[key] for key in ("mean", "std", "size") if found.get(key) is not None}


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no configuration of a model")
    return content


def _is_file(name: str) -> bool:
    return name.endswith(".json")


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None


def _or(guess: str | None) -> str:
    return f"; did you mean {guess}?" if guess else ""
