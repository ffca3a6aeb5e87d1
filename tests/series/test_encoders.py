# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from clip_align.config import ModelConfig
from clip_align.errors import UserError
from clip_align.series.encoders import encoder
from clip_align.series.observer_series import observer_subject

CPU = torch.device("cpu")


def test_mean_and_std_are_those_of_the_file(tmp_path: Path) -> None:
    import timm

    file = tmp_path / "model.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), file)
    subject = encoder("timm/test_resnet", str(file), 0, CPU)
    default = subject.load(subject.members()[0][0])
    given = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "input_size": [3, 96, 96]}
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "test_resnet", "pretrained_cfg": given}))
    subject = encoder("timm/test_resnet", str(file), 0, CPU)
    found = subject.load(subject.members()[0][0])
    assert (found.mean, found.std, found.image_size) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 96)
    assert default.mean != found.mean
    (tmp_path / "config.json").write_text("{")
    subject = encoder("timm/test_resnet", str(file), 0, CPU)
    with pytest.raises(UserError) as raised:
        subject.load(subject.members()[0][0])
    assert raised.value.lines[0].startswith(f"weights: {tmp_path / 'config.json'}: cannot be read (")


def test_untrained_models_that_differ_are_different_subjects() -> None:
    small, large = (observer_subject("untrained", ModelConfig(image_size=size), 0, CPU) for size in (32, 64))
    assert small.identity != large.identity
