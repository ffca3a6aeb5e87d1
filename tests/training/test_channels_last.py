# SPDX-License-Identifier: Apache-2.0
"""Images and image tower in the memory format that convolutions want: the same training, to rounding."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from small_clip import TEXT, config, small_clip
from train_synthetic import stop_at, train, train_losses, weights

RESNET = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Several only wait for each other over so small convolutions."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Resized(torch.nn.Module):
    """A small ResNet of CLIP's, which needs larger images than the batches have."""

    def __init__(self) -> None:
        super().__init__()
        self.clip = open_clip.model.CLIP(8, RESNET, {**TEXT, "layers": 2})
        self.visual, self.logit_scale = self.clip.visual, self.clip.logit_scale
        self.formats: set[tuple[bool, bool]] = set()

    def encode_image(self, image: torch.Tensor) -> torch.Tensor:
        kernel = self.visual.layer1[0].conv2.weight
        last = torch.channels_last
        self.formats.add((image.is_contiguous(memory_format=last), kernel.is_contiguous(memory_format=last)))
        larger = image.repeat_interleave(8, 2).repeat_interleave(8, 3)
        features: torch.Tensor = self.clip.encode_image(larger)
        return features

    def encode_text(self, text: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.clip.encode_text(text)
        return features


@pytest.mark.parametrize(
    "settings",
    [
        {},
        *(
            pytest.param(more, marks=pytest.mark.exhaustive)
            for more in ({"accumulate": 2}, {"precision": "bf16-mixed"})
        ),
    ],
    ids=str,
)
def test_a_resnet_is_trained_as_before(tmp_path: Path, settings: dict[str, Any]) -> None:
    formats = []
    for name, last in (("plain", False), ("last", True)):
        loop = train(tmp_path / name, 3, config(channels_last=last, **settings), model=Resized)
        formats.append(loop.module.model.formats)
    assert formats == [{(False, False)}, {(True, True)}]
    plain, last = train_losses(tmp_path / "plain"), train_losses(tmp_path / "last")
    # of the first step: BatchNorm of few values multiplies in each further one what rounding differs by
    assert last[1] == pytest.approx(plain[1], rel=0.02 if "precision" in settings else 1e-5)
    (tmp_path / "parts").mkdir()
    train(tmp_path / "parts", 3, config(channels_last=True, **settings), model=Resized, change=stop_at(2))
    train(tmp_path / "parts", 3, config(channels_last=True, **settings), model=Resized)
    assert train_losses(tmp_path / "parts") == last
    assert all(torch.equal(weights(tmp_path / "parts")[n], v) for n, v in weights(tmp_path / "last").items())


def test_a_transformer_may_have_it_too(tmp_path: Path) -> None:
    for name, last in (("plain", False), ("last", True)):
        train(tmp_path / name, 3, config(channels_last=last), model=small_clip())
    assert train_losses(tmp_path / "last") == pytest.approx(train_losses(tmp_path / "plain"), rel=1e-5)
