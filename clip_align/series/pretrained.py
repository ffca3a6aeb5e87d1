# SPDX-License-Identifier: Apache-2.0
"""Weights that open_clip knows by a name and a tag: ``ViT-B-32:laion2b_s34b_b79k``."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import torch

from clip_align.errors import Problem, UserError
from clip_align.evaluation.evaluated_model import EvaluatedModel, find_model
from clip_align.series import names
from clip_align.series.foreign_checkpoints import load_into, read_weights
from clip_align.series.one_model import OneModel
from clip_align.series.open_clip_models import built, of_tag

PATTERN = re.compile(r"(?P<name>[\w.-]+):(?P<tag>[\w.-]+)")


def pretrained(typed: str, device: torch.device) -> OneModel | None:
    """The subject that ``<architecture>:<tag>`` names; None for a text of another form.

    The weights are taken from open_clip's cache, or downloaded; UserError, when they are loaded, where neither works.

    Args:
        typed: the word.
        device: where the model is evaluated.
    """
    found = PATTERN.fullmatch(typed)
    if found is None:
        return None
    name, tag = found["name"], found["tag"]
    architecture = of_tag(name, tag)

    def make() -> EvaluatedModel:
        weights, _ = read_weights(_fetched(name, tag))
        model = built(architecture)
        load_into(model, weights, Path(typed))
        return find_model(model.to(device).requires_grad_(False))

    activation = "quickgelu" if architecture.model_cfg.get("quick_gelu") else "gelu"
    about = {"kind": "open_clip pretrained", "model": name, "weights": tag, "activation": activation}
    return OneModel(f"{name}-{tag}", make, about, names.of_tag(tag))


def _fetched(name: str, tag: str) -> Path:
    import open_clip

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it retries, and warns of each
    try:
        return Path(open_clip.download_pretrained(open_clip.get_pretrained_cfg(name, tag)))
    except Exception as error:  # no network, no disk space, a hub that refuses: whatever its client raises
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:160]
        what = f"{name}:{tag}: cannot be downloaded ({reason}); give a file: evaluate <file> model.name={name}"
        raise UserError(Problem("evaluate", what)) from None
