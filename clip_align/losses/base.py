# SPDX-License-Identifier: Apache-2.0
"""What a loss is: one module here and one yaml of its name in ``conf/loss``."""

from __future__ import annotations

import math
from abc import abstractmethod

from torch import Tensor, nn


class Loss(nn.Module):
    """A loss over pairs of embeddings. The arguments of its constructor are the keys of its yaml.

    Parameters of its own are trained with the model's and saved in checkpoints; without weight decay where they have
    fewer than two dimensions, or "bias" in their name. ``initial_logit_scale``: what the model's parameter is set to
    before the first step.
    """

    initial_logit_scale: float = math.log(1 / 0.07)  # Radford et al. 2021, section 2.5: initial temperature .07

    @abstractmethod
    def forward(
        self,
        image: Tensor,
        text: Tensor,
        logit_scale: Tensor,
        rank: int = 0,
        world: int = 1,
        copies: Tensor | None = None,
    ) -> Tensor:
        """The loss of this rank's pairs, a scalar; the mean of the ranks' gradients is the whole batch's.

        Args:
            image: embeddings [b, D], not normalized; row i belongs to row i of ``text``.
            text: embeddings [b, D], not normalized.
            logit_scale: the model's parameter, the logarithm of the factor on cosines.
            rank: this process's.
            world: number of ranks, each with b pairs.
            copies: bool [b], pairs that repeat another one because a bad sample had no other replacement: the loss is
                that of the batch without them (`clip_align.losses.copies`). None where this rank has none; other
                ranks may have some.
        """
