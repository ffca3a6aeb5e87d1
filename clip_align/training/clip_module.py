# SPDX-License-Identifier: Apache-2.0
"""CLIP as Lightning trains it: batch to loss, optimizer, and what must hold after each step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from clip_align.config import OptimizerConfig
from clip_align.losses.base import Loss
from clip_align.losses.infonce import InfoNCE
from clip_align.models.short_texts import encode_text, text_groups
from clip_align.training import optimizer as optim
from clip_align.training.checkpoint_files import AVERAGE
from clip_align.training.gradient_cache import MICRO_BATCHES, Embedded, cached_loss
from clip_align.training.interventions.base import Intervention
from clip_align.training.loss_check import PendingLosses
from clip_align.training.sharded_strategy import ShardedStrategy
from clip_align.training.tf32 import tf32
from clip_align.training.weight_average import WeightAverage

LOGIT_SCALE_MAX = math.log(100)  # ibid.: logits are never scaled by more than 100

# image uint8 [B, 3, S, S], text int64 [B, L], cursor, keys, skipped, repeated, and once it is on the device
# text_groups (see `text_groups`); or micro_batches, cursor, keys
Batch = dict[str, Any]


class CLIPModule(pl.LightningModule):
    """A model with ``encode_image``, ``encode_text`` and ``logit_scale``.

    ``losses`` and ``grad_norm`` (before clipping, of the last step) stay on the device until somebody reads them.

    A gradient scaler skips the optimizer where a gradient overflows. Lightning counts such a step as done, and nothing
    else counts it: so ``skipped`` counts them (of the whole run), ``skipped_running`` those since the last one that was
    taken. The learning rate follows the steps that were taken; the run's length is Lightning's count, so a run that
    skipped k steps ends k steps before its schedule does.

    Args:
        model: has the two encoders, and the logit scale as a parameter; that is set to its initial value.
        mean: of the channels on [0, 1].
        std: likewise.
        optimizer: rate, schedule, decay and clipping.
        steps: optimizer steps of the whole run.
        fused: False under a gradient scaler.
        loss: InfoNCE unless given.
        intervention: none unless given.
        average: of the weights, updated after every step that is taken and kept in checkpoints; None: none.
        tf32: whether forward and backward passes of the towers may use it; None: as the process has it.
        channels_last: memory format of images and image tower.
    """

    shift: Tensor  # [1, 3, 1, 1], of pixels on 0 to 255
    scale: Tensor

    def __init__(
        self,
        model: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        optimizer: OptimizerConfig,
        steps: int,
        fused: bool = True,
        loss: Loss | None = None,
        intervention: Intervention | None = None,
        average: WeightAverage | None = None,
        tf32: bool | None = None,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.model: Any = cast(Any, model)
        self.settings, self.steps, self.fused = optimizer, steps, fused
        self.loss, self.intervention = loss or InfoNCE(), intervention or Intervention()
        self.average = average
        self.tf32, self.image_format = tf32, torch.channels_last if channels_last else torch.contiguous_format
        if channels_last:
            self.model.visual.to(memory_format=torch.channels_last)
        self.losses = PendingLosses()
        self.grad_norm: Tensor | None = None
        self.rate = 0.0  # that the last step took, or would have taken
        self.skipped = self.skipped_running = 0
        self._taken = False  # whether the step under way has changed the weights
        shift = torch.tensor(mean).view(1, 3, 1, 1) * 255.0  # pixels stay uint8 until they are on the device
        scale = 1.0 / (torch.tensor(std).view(1, 3, 1, 1) * 255.0)
        self.register_buffer("shift", shift, persistent=False)
        self.register_buffer("scale", scale, persistent=False)
        with torch.no_grad():
            self.model.logit_scale.fill_(self.loss.initial_logit_scale)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of this rank's rows against the columns of all ranks; the gradient's mean over ranks is the whole's."""
        self._zero_before_first(batch_idx)
        with tf32(self.tf32):
            loss, value = self._encoded_loss(batch)
        self.losses.add(self.step_under_way, value, batch["keys"])  # stays on the device: reading it would wait for it
        return loss

    def _encoded_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss to go backward from, and its value."""
        if MICRO_BATCHES in batch:
            shared = [self.model.logit_scale, *self.loss.parameters()]
            # inside DDP's forward pass, where it waits for no gradient yet: what goes backward here is added up on this
            # rank alone, and averaged with the last micro-batch's
            return cached_loss(
                batch[MICRO_BATCHES].parts,
                self._encoded_on_device,
                self._loss,
                shared,
                self.model,
                self._accumulate_gradient,
            )
        loss = self._loss(self._encoded(batch))
        return loss, loss

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """As Lightning's, in the precision of the forward pass."""
        with tf32(self.tf32):
            super().backward(loss, *args, **kwargs)

    def _encoded(self, batch: Batch) -> Embedded:
        batch = self.intervention.batch(batch, self.step_under_way)
        image = batch["image"].contiguous(memory_format=self.image_format)  # still uint8: a quarter of the bytes
        image = (image - self.shift).mul_(self.scale)  # [B, 3, S, S], float
        image = self.model.encode_image(image)  # [B, D], not normalized
        text = encode_text(self.model, batch["text"], batch.get("text_groups"))  # [B, D]
        return Embedded(image, text, _copies(batch.get("repeated"), image))

    def _encoded_on_device(self, batch: Batch) -> Embedded:
        return self._encoded(self._moved(batch, self.shift.device))

    def _moved(self, batch: Batch, device: torch.device) -> Batch:
        moved = {name: batch[name].to(device, non_blocking=True) for name in ("image", "text")}
        # cursor and keys stay on the host, where they are read
        return {**batch, **moved, "text_groups": text_groups(self.model, batch["text"], device)}

    def _loss(self, embedded: Embedded) -> Tensor:
        with tf32(False if self.tf32 else None):  # logits are multiplied by up to 100: 10 bits are too few
            loss: Tensor = self.loss(  # float32, outside autocast
                embedded.image, embedded.text, self.model.logit_scale, *ranks(), embedded.copies
            )
        return loss

    def _zero_before_first(self, batch_idx: int) -> None:
        """Before an optimizer step's first batch is encoded; `optimizer_zero_grad` is too late for micro-batches."""
        if self._trainer is not None and batch_idx % self._trainer.accumulate_grad_batches == 0:
            self.zero_grad(set_to_none=True)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
        """Nothing: Lightning calls it between training step and backward pass, and the training step has done it."""

    def _accumulate_gradient(self, contribution: Tensor) -> None:
        """What Lightning does with a loss: divided by the batches of a step, scaled under a gradient scaler."""
        if self._trainer is not None:
            contribution = contribution / self._trainer.accumulate_grad_batches
            scaler = getattr(self._trainer.precision_plugin, "scaler", None)
            contribution = contribution if scaler is None else scaler.scale(contribution)
        contribution.backward()  # type: ignore[no-untyped-call]

    @property
    def step_under_way(self) -> int:
        """Number of the optimizer step that the present batch belongs to, from 1."""
        return int(self.global_step) + 1 if self._trainer is not None else 1

    def learning_rate(self, step: int) -> float:
        """The rate that the ``step``-th optimizer step that is taken (from 1) takes."""
        return self.settings.lr * optim.schedule(self.settings, self.steps)(step - 1)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Only what the model reads: walking through a hundred keys costs more than the copy.

        Micro-batches stay on the host until each is encoded: together they may be more than the device holds.
        """
        return batch if MICRO_BATCHES in batch else self._moved(batch, device)

    def configure_optimizers(self) -> Any:
        """AdamW, and a learning rate that changes with every optimizer step."""
        optimizer = optim.adamw(self, self.settings, self.fused)
        optimizer.register_step_post_hook(self._stepped)  # a scaler that skips does not call the optimizer at all
        schedule = optim.scheduler(optimizer, self.settings, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_fit_start(self) -> None:
        """The model is on its device, and holds the weights of the checkpoint where the run is resumed."""
        if self.average is not None:
            self.average.start()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The averages beside the state of training, which the rest of the file holds."""
        if self.average is not None:
            checkpoint[AVERAGE] = self.average.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the averages back."""
        if self.average is not None and AVERAGE in checkpoint:
            self.average.load_state_dict(checkpoint[AVERAGE])

    def on_train_start(self) -> None:
        """A resumed run may have another length than the optimizer's state was saved with."""
        optimizer: Any = self.optimizers()
        scheduler: Any = self.lr_schedulers()
        self.skipped = int(self.global_step) - scheduler.last_epoch  # torch's name for the steps it has counted
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate(scheduler.last_epoch + 1)  # loaded with the optimizer: the former length's

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Clip by the norm over all parameters, and keep that norm: it is recorded."""
        limit = self.settings.clip_norm
        limit = math.inf if limit is None else limit
        strategy = self.trainer.strategy if self._trainer is not None else None
        if isinstance(strategy, ShardedStrategy):
            self.grad_norm = strategy.clip(limit)
        else:
            self.grad_norm = clip_grad_norm_(self.parameters(), limit)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        """The step itself, then the bounds of the logit scale."""
        self._taken, self.rate = False, float(optimizer.param_groups[0]["lr"])
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.skipped_running = 0 if self._taken else self.skipped_running + 1
        self.skipped += not self._taken
        with torch.no_grad():
            self.model.logit_scale.clamp_(0.0, LOGIT_SCALE_MAX)
            self.intervention.stepped(self.model, self.step_under_way)
        if self.average is not None and self._taken:
            self.average.update(self.step_under_way)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """A step that was skipped takes nothing from the warm-up or the decay."""
        if self._taken:
            super().lr_scheduler_step(scheduler, metric)

    def _stepped(self, *_: object) -> None:
        self._taken = True


def _copies(repeated: Sequence[int] | None, rows: Tensor) -> Tensor | None:
    """Bool [B], on the device of ``rows`` [B, D]; None where no row repeats another one."""
    if not repeated:
        return None
    copies = torch.zeros(len(rows), dtype=torch.bool)
    copies[list(repeated)] = True
    return copies.to(rows.device)


def ranks() -> tuple[int, int]:
    """This process's rank and the number of ranks; (0, 1) outside a process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1
