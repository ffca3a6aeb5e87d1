# SPDX-License-Identifier: Apache-2.0
"""Weights that open_clip knows by a name and a tag: ``ViT-B-32:laion2b_s34b_b79k``."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from clip_align.evaluation.evaluated_model import EvaluatedModel, find_model
from clip_align.series import names
from clip_align.series.one_model import OneModel
from clip_align.series.open_clip_models import built, of_tag
from clip_align.training.foreign_weights import downloaded, load_into, read_weights

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
        advice = f"give a file: evaluate <file> model.name={name}"
        weights, _ = read_weights(downloaded(name, tag, "evaluate", advice))
        model = built(architecture)
        load_into(model, weights, Path(typed))
        return find_model(model.to(device).requires_grad_(False))

    activation = "quickgelu" if architecture.model_cfg.get("quick_gelu") else "gelu"
    about = {"kind": "open_clip pretrained", "model": name, "weights": tag, "activation": activation}
    return OneModel(f"{name}-{tag}", make, about, names.of_tag(tag))
