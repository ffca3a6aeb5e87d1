# SPDX-License-Identifier: Apache-2.0
"""What belongs to weights wins over what an architecture's name stands for: the wrong activation loads silently."""

from __future__ import annotations

import json
from pathlib import Path

from clip_align.series.open_clip_models import architecture_of

TINY = {"embed_dim": 16, "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16}, "text_cfg": {}}
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.2, 0.2]


def test_arguments_of_the_training_count_for_an_architecture_that_is_typed(tmp_path: Path) -> None:
    config = tmp_path / "tiny.json"
    config.write_text(json.dumps(TINY))
    (tmp_path / "params.txt").write_text(
        "force_image_size: 64\nforce_quick_gelu: True\nimage_mean: (0.5, 0.4, 0.3)\nimage_std: (0.2, 0.2, 0.2)\n"
    )
    path = tmp_path / "checkpoints" / "epoch_1.pt"
    for typed, patch in ((str(config), 16), ("ViT-B-32", 32)):
        found = architecture_of(path, typed)
        assert found.model_cfg["quick_gelu"] is True
        assert (found.model_cfg["vision_cfg"]["image_size"], found.model_cfg["vision_cfg"]["patch_size"]) == (64, patch)
        assert found.preprocess_cfg == {"mean": MEAN, "std": STD}


def test_the_normalization_beside_weights_counts_for_an_architecture_that_is_typed(tmp_path: Path) -> None:
    beside = {"model_cfg": {**TINY, "quick_gelu": True}, "preprocess_cfg": {"mean": MEAN, "std": STD}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(beside))
    found = architecture_of(tmp_path / "model.safetensors", "ViT-B-32")
    assert found.preprocess_cfg == {"mean": MEAN, "std": STD}
    # and the file itself may be typed, for weights that lie elsewhere
    typed = architecture_of(tmp_path / "elsewhere" / "model.pt", str(tmp_path / "open_clip_config.json"))
    assert typed.same(architecture_of(tmp_path / "model.safetensors"))
    assert typed.model_cfg["quick_gelu"] is True
