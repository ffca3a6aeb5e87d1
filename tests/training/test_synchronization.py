# SPDX-License-Identifier: Apache-2.0
"""A training step reads nothing back from the device: on a GPU that would wait for all work in its queue."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_clip import config, small_clip
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from train_synthetic import train

from clip_align.config import OptimizerConfig
from clip_align.models.short_texts import TextGroups, text_groups
from clip_align.training import clip_module
from clip_align.training.clip_module import CLIPModule
from clip_align.training.training_loop import TrainingLoop

# what hands a tensor's value to the host: item, tolist, bool, float; the sizes that depend on values; copies
READS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal", "is_nonzero")


class Reads(TorchDispatchMode):
    """Counts them by the step under way."""

    def __init__(self) -> None:
        super().__init__()
        self.step = 0
        self.on_host = False  # where a value is read that is there
        self.found: dict[int, list[str]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        if name.startswith(READS):
            self.note(name)
        return func(*args, **(kwargs or {}))

    def note(self, name: str) -> None:
        if not self.on_host:
            self.found.setdefault(self.step, []).append(name)

    def noted(self, name: str) -> Callable[..., Any]:
        method = getattr(torch.Tensor, name)

        def read(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            self.note(name)
            return method(tensor, *args, **kwargs)

        return read


@pytest.mark.parametrize("settings", [{}, {"accumulate": 2}, {"accumulate_grad_batches": 2}], ids=str)
def test_steps_between_two_log_lines_read_no_value(
    tmp_path: Path, settings: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clip_align.training.stop_check.CheckInterval.proposal", lambda self: 50)
    reads = Reads()
    for name in ("tolist", "item", "cpu", "numpy"):  # some of them do it without an operation where there is no device
        monkeypatch.setattr(torch.Tensor, name, reads.noted(name))

    def groups_on_host(model: nn.Module, tokens: torch.Tensor, device: torch.device) -> TextGroups | None:
        reads.on_host = True  # see the next test
        groups = text_groups(model, tokens, device)
        reads.on_host = False
        return groups

    monkeypatch.setattr(clip_module, "text_groups", groups_on_host)

    def change(loop: TrainingLoop) -> None:
        step = loop.module.training_step

        def training_step(batch: dict[str, Any], batch_idx: int) -> Any:
            reads.step = loop.module.step_under_way
            return step(batch, batch_idx)

        loop.module.training_step = training_step  # type: ignore[method-assign]

    with reads:
        train(tmp_path, 12, config(log_every_n_steps=10, **settings), model=small_clip(0.5), change=change)
    # the first step is checked, the tenth writes a line, the twelfth is the last
    assert set(reads.found) <= {0, 1, 10, 12}
    assert {1, 10} <= set(reads.found)  # it does see them


def test_lengths_of_texts_are_read_before_they_go_to_the_device() -> None:
    module = CLIPModule(small_clip()(), (0.5,) * 3, (0.5,) * 3, OptimizerConfig(), steps=2)
    texts, images = torch.tensor([*[[19, 0, 0]] * 3, [1, 19, 0]]), torch.zeros(4, 3, 4, 4, dtype=torch.uint8)
    elsewhere = torch.device("meta")  # whose tensors have no values
    moved = module.transfer_batch_to_device({"image": images, "text": texts}, elsewhere, 0)
    assert moved["text_groups"].lengths == [1, 1, 1, 2]
    assert {moved["text"].device, moved["text_groups"].order.device} == {elsewhere}
