# SPDX-License-Identifier: Apache-2.0
"""TF32 is allowed in the towers' training passes and nowhere else, and the process's setting is left alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from small_clip import config, small_clip
from train_synthetic import train, train_losses

from clip_align.losses.infonce import InfoNCE
from clip_align.training.tf32 import tf32


def setting() -> tuple[Any, ...]:
    """What torch's newer interface says, and what the older one says or that it refuses."""
    backends: Any = torch.backends
    places = (backends.cuda.matmul, backends.mkldnn.matmul, backends.cudnn.conv, backends.cudnn.rnn)
    found = [one.fp32_precision for one in places]
    older = []
    for read in (
        lambda: backends.cuda.matmul.allow_tf32, lambda: backends.cudnn.allow_tf32, torch.get_float32_matmul_precision
    ):  # fmt: skip
        try:
            older.append(read())
        except RuntimeError:
            older.append("refused")
    return *found, *older


def allowed() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


def newer(products: str) -> Callable[[], None]:
    def change() -> None:
        backends: Any = torch.backends
        backends.cuda.matmul.fp32_precision = products
        backends.cudnn.conv.fp32_precision = products

    return change


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Torch's defaults for the tests that follow."""
    yield
    newer("none")()
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True


@pytest.mark.parametrize(
    "before",
    [
        lambda: None,
        lambda: torch.set_float32_matmul_precision("high"),
        lambda: torch.set_float32_matmul_precision("medium"),
        lambda: setattr(torch.backends.cudnn, "allow_tf32", False),
        newer("tf32"),
        newer("ieee"),
    ],
)
@pytest.mark.parametrize("value", [True, False])
def test_whatever_the_process_has_set_is_there_afterwards(before: Callable[[], None], value: bool) -> None:
    before()
    found = setting()
    with tf32(value):
        assert allowed() == (value, value)
        with tf32(not value):
            assert allowed() == (not value, not value)
        assert allowed() == (value, value)
        with tf32(None):
            assert allowed() == (value, value)
    assert setting() == found
    with pytest.raises(ValueError, match="here"), tf32(value):
        raise ValueError("here")
    assert setting() == found


class Noted(InfoNCE):
    """Notes what is allowed while the loss is computed."""

    def __init__(self, found: dict[str, Any]) -> None:
        super().__init__()
        self.found = found

    def forward(self, *arguments: Any) -> torch.Tensor:
        self.found["loss"] = allowed()
        return super().forward(*arguments)


@pytest.mark.parametrize("value", [None, False, True])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_only_the_towers_are_trained_in_it(tmp_path: Path, value: bool | None, accumulate: int) -> None:
    found: dict[str, Any] = {}
    before = setting()

    def make() -> Any:
        model = small_clip()()
        encode = model.encode_image

        def noted(image: torch.Tensor) -> torch.Tensor:
            found["forward"] = allowed()
            features: torch.Tensor = encode(image)
            if features.requires_grad:
                features.register_hook(lambda gradient: found.__setitem__("backward", allowed()))
            return features

        model.encode_image = noted
        return model

    class Event(pl.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            found["evaluation"] = allowed()

    settings = config(tf32=value, accumulate=accumulate)
    train(tmp_path, 3, settings, model=make, loss=Noted(found), evaluations=[Event()])
    plain = (False, True)  # torch's own
    in_towers = plain if value is None else (value, value)
    in_loss = (False, False) if value else in_towers
    assert found == {"forward": in_towers, "backward": in_towers, "loss": in_loss, "evaluation": plain}
    assert setting() == before
    train(tmp_path / "without", 3, config(accumulate=accumulate), model=small_clip())
    assert train_losses(tmp_path) == train_losses(tmp_path / "without")  # a CPU has none
