# SPDX-License-Identifier: Apache-2.0
"""What an intervention is: something that changes training. One module here and one yaml in ``conf/intervention``."""

from __future__ import annotations

from typing import Any

from torch import nn


class Intervention(nn.Module):
    """Changes training on purpose; callbacks only look. The arguments of its constructor are the keys of its yaml.

    Tensors that it has to keep are buffers: they move with the model and are saved in checkpoints.
    """

    def batch(self, batch: dict[str, Any], step: int) -> dict[str, Any]:
        """The batch to train on, on the device.

        Args:
            batch: ``image`` uint8 [B, 3, S, S], ``text`` int64 [B, L], and what else the loader gives.
            step: number of the optimizer step it belongs to, from 1.
        """
        return batch

    def stepped(self, model: nn.Module, step: int) -> None:
        """After optimizer step ``step``: the weights of ``model`` are new."""
