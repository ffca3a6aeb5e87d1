# SPDX-License-Identifier: Apache-2.0
"""The averaged weights of a Trainer's own weight-averaging callback, as a set that events encode with."""

from __future__ import annotations

from contextlib import AbstractContextManager

from pytorch_lightning import LightningModule
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor

from clip_align.errors import UserError
from clip_align.evaluation.weights import Swap, swapped


def averaged_by(averaging: WeightAveraging, module: LightningModule) -> Swap:
    """The set of weights that Lightning's `WeightAveraging` (or a subclass, such as its EMA) keeps of ``module``::

        averaging = EMAWeightAveraging(decay=0.999)
        weights = {"ema": averaged_by(averaging, module), "raw": nullcontext}
        attach(callbacks, EvaluationSettings(cache, weights=weights))
        Trainer(callbacks=[averaging, *callbacks])     # in this order: events see the average of their own step

    Buffers are exchanged where the callback averages them. A Trainer that does not know its last step evaluates it in
    ``on_train_end``, where the callback has written the average over the raw weights: give it ``max_steps``.

    Args:
        averaging: among the Trainer's callbacks; UserError at the first event where it is not.
        module: that the Trainer trains.
    """

    def used() -> AbstractContextManager[None]:
        model = averaging._average_model
        if model is None:
            name = type(averaging).__name__
            raise UserError(f"weights: {name} is not among the Trainer's callbacks; pass it to the Trainer too")
        kept = module.state_dict()  # constants outside it, as masks of minus infinity, may be NaN in an average
        averages: dict[str, Tensor] = dict(model.module.named_buffers()) if averaging._use_buffers else {}
        averages.update(model.module.named_parameters())
        # on the model's device; the callback may keep them on another one
        return swapped(module, {n: a.data.to(kept[n].device) for n, a in averages.items() if n in kept})

    return used
