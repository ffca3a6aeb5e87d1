# SPDX-License-Identifier: Apache-2.0
"""Maps that a benchmark's own function reads out of the model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pytest
import stubs
import torch
from torch import nn

from clip_align.callbacks.base import Features, Items, MapReader, PerceptualCallback
from clip_align.errors import RunError, UserError
from clip_align.models.tiny import build_tiny
from clip_align.structure import Distinct


def first_channel(model: Any, images: torch.Tensor) -> torch.Tensor:
    assert not torch.is_grad_enabled()
    assert not model.training
    maps: torch.Tensor = model.tower[0](images)[:, 0]
    return maps


def sensitivity(model: Any, images: torch.Tensor) -> torch.Tensor:
    """Gradient of the embedding's length by the pixels; leaves gradients in the parameters, carelessly."""
    model.encode_image(images).square().sum().backward()
    assert images.grad is not None
    return images.grad.square().sum(dim=1)


Names = Annotated[Sequence[int | Literal["projection", "all", "channel", "gradient", "flat"]], Distinct()]


class Maps(stubs.Pairs):
    """Reads maps of a convolution and of gradients."""

    readers: ClassVar[Any] = {"channel": MapReader(first_channel), "gradient": MapReader(sensitivity, gradients=True)}

    def __init__(self, layers: Names = ("projection",), **base: Any) -> None:
        super().__init__(layers=layers, **base)
        self.seen: list[Features] = []

    def items(self, features: Features) -> Items:
        self.seen.append(features)
        return super().items(features)


def test_maps_have_their_rows_and_columns_as_shape(tmp_path: Path) -> None:
    callback = Maps(layers=("projection", "channel", "gradient"), view="squash")
    fields = stubs.evaluated([callback], stubs.evaluated_model(), tmp_path, batch_size=5)
    assert [f.shape for f in callback.seen] == [(1, 12), (7, 7), (16, 16)]
    maps = callback.seen[1][["pairs/a3"]].reshape(1, 1, 7, 7)
    assert maps.dtype == np.float32
    assert {"human/pairs/srocc@channel", "human/pairs/srocc@gradient"} <= set(fields)


def test_gradients_leave_no_trace(tmp_path: Path) -> None:
    under_test = stubs.evaluated_model()
    for parameter in under_test.model.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)
    before = [parameter.grad for parameter in under_test.model.parameters()]
    callback = Maps(layers=("gradient",))
    stubs.evaluated([callback], under_test, tmp_path)
    assert (callback.seen[0].images > 0).any()
    for parameter, gradient in zip(under_test.model.parameters(), before, strict=True):
        assert parameter.grad is gradient
        assert gradient is not None
        assert (gradient == 0.5).all()
    assert torch.is_grad_enabled()


def test_what_is_no_map_is_named(tmp_path: Path) -> None:
    class Wrong(Maps):
        readers: ClassVar[Any] = {"flat": MapReader(lambda model, images: images.mean(dim=(1, 2, 3)))}

    line = r"a reader's maps are not a tensor \[N, h, w\] of the 64 images but \(64,\)"
    with pytest.raises(RunError, match=line):
        stubs.evaluated([Wrong(layers=("flat",))], stubs.evaluated_model(), tmp_path)


def test_an_unknown_reader_is_refused() -> None:
    with pytest.raises(UserError) as error:
        Maps(layers=("chanel",))
    assert str(error.value) == (
        "Maps.layers[0]: 'chanel' is not a whole number or projection or all or channel or gradient or flat"
    )


def test_readers_are_a_benchmarks_own(tmp_path: Path) -> None:
    """Two classes may name different functions alike."""

    class Other(Maps):
        readers: ClassVar[Any] = {"channel": MapReader(second_channel)}

    one, other = Maps(layers=("channel",)), Other(layers=("channel",), name="other")
    stubs.evaluated([one, other], stubs.evaluated_model(), tmp_path)
    assert not np.allclose(one.seen[0].images, other.seen[0].images)


def second_channel(model: Any, images: torch.Tensor) -> torch.Tensor:
    maps: torch.Tensor = model.tower[0](images)[:, 1]
    return maps


def test_a_reader_named_like_a_layer_is_read_in_its_place(tmp_path: Path) -> None:
    """So that a benchmark of maps has plain keys, and a layer's suffix for the maps of a layer."""
    under_test = stubs.evaluated_model(build_tiny(12, 16, 64, 4).eval())

    class InPlace(Maps):
        readers: ClassVar[Any] = {"projection": MapReader(red), "2": MapReader(green)}

    callback = InPlace(layers=("projection", 2, 3), view="squash")
    fields = stubs.evaluated([callback], under_test, tmp_path)
    assert [features.shape for features in callback.seen] == [(16, 16), (16, 16), (16, 64)]
    assert not np.allclose(callback.seen[0].images, callback.seen[1].images)
    assert {"human/pairs/srocc", "human/pairs/srocc@layer_2", "human/pairs/srocc@layer_3"} <= set(fields)


def red(model: Any, images: torch.Tensor) -> torch.Tensor:
    return images[:, 0]


def green(model: Any, images: torch.Tensor) -> torch.Tensor:
    return images[:, 1]


def test_without_readers_a_callback_has_none() -> None:
    assert dict(PerceptualCallback.readers) == {}
    assert isinstance(stubs.StubModel(), nn.Module)
