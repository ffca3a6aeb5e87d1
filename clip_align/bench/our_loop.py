# SPDX-License-Identifier: Apache-2.0
"""Our training loop as a run has it, for a number of steps: Trainer, module, callbacks, record; no evaluations."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from clip_align.config import Config
from clip_align.errors import FAILED
from clip_align.kinds import INTERVENTIONS, LOSSES
from clip_align.models.build import ClipModel
from clip_align.processes.ranks import Ranks
from clip_align.record.record import Record
from clip_align.training.clip_module import CLIPModule
from clip_align.training.launch_ranks import RankLayout
from clip_align.training.signals import Signals
from clip_align.training.stall_watch import Limits, Watch
from clip_align.training.train_log import EvaluationCosts, LogSchedule, RunPosition
from clip_align.training.training_loop import build_loop

FAR = 1_000_000  # steps of the run that a block is cut out of: its end, with its checkpoint, is not measured


class _Enough(pl.Callback):
    """Ends the loop after a number of steps."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Stop where it is enough."""
        if trainer.global_step >= self._steps:
            trainer.should_stop = True


def train(config: Config, clip: ClipModel, batches: Iterable[Any], steps: int, layout: RankLayout, place: Path) -> None:
    """Train for ``steps`` steps.

    Args:
        config: of the run: optimizer, loss, precision, log lines, batches of a step.
        clip: the model; its weights change.
        batches: as our loader makes them, at least those of ``steps`` + 2 steps.
        steps: of the optimizer.
        layout: this one rank.
        place: folder for the record.
    """
    signals = Signals()  # not installed: Ctrl-C ends a benchmark at once
    module = CLIPModule(
        clip.model,
        clip.mean,
        clip.std,
        config.optimizer,
        FAR,
        fused=config.trainer.precision != "16-mixed",
        loss=LOSSES.build(config.loss.kind, config.loss.options),
        intervention=INTERVENTIONS.build(config.intervention.kind, config.intervention.options),
        tf32=config.trainer.tf32,
        channels_last=config.trainer.channels_last,
    )
    limits = Limits(config.trainer.stall_warning_seconds, config.trainer.stall_limit_seconds)
    watch = Watch(limits, signals, None, lambda line: None, lambda: False, lambda reason: os._exit(FAILED))
    loop = build_loop(
        module,
        batches,
        RunPosition(config.data.batch_size * config.trainer.accumulate, [0, 0]),
        LogSchedule(config.trainer.log_every_n_steps, FAR),
        config.checkpoint,
        place / "checkpoints",
        {},
        ranks=Ranks(),
        signals=signals,
        record=Record(place, []),
        evaluation_costs=EvaluationCosts(),
        watch=watch,
        accumulate=config.trainer.accumulate,
    )
    try:
        loop.run(config.trainer, layout, [_Enough(steps)], None)
    finally:
        watch.stop()
