# SPDX-License-Identifier: Apache-2.0
"""The parts of a training loop, put together on one rank."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from clip_align.config import Config
from clip_align.processes.ranks import Ranks
from clip_align.record.record import Record
from clip_align.training.checkpoint_callback import Checkpoints
from clip_align.training.checkpoint_writer import CheckpointWriter
from clip_align.training.clip_module import CLIPModule
from clip_align.training.default_intervals import checkpoint_every
from clip_align.training.launch_ranks import RankLayout
from clip_align.training.rescue import Rescue
from clip_align.training.signals import Signals
from clip_align.training.stall_watch import Mark, Watch
from clip_align.training.stop_check import StopCheck
from clip_align.training.timed_loader import TimedLoader
from clip_align.training.train_log import EvaluationCosts, LogSchedule, RunPosition, TrainLog, faster_data
from clip_align.training.trainer import build_trainer


@dataclass(frozen=True, eq=False)
class TrainingLoop:
    """What trains, and what watches it. ``record`` is None on all ranks but the first."""

    module: CLIPModule
    timed_loader: TimedLoader
    run_position: RunPosition
    stop_check: StopCheck
    train_log: TrainLog
    checkpoints: Checkpoints
    rescue: Rescue
    watch: Watch | None = None

    def run(
        self,
        config: Config,
        layout: RankLayout,
        max_steps: int,
        evaluations: Sequence[pl.Callback],
        resume_from: Path | None,
    ) -> None:
        """Train to the last step, or until a signal. The order of the callbacks is part of how they work.

        Args:
            config: of the run.
            layout: this rank's place.
            max_steps: optimizer steps of the whole run.
            evaluations: the perceptual callbacks.
            resume_from: a checkpoint's file; None starts again.
        """
        callbacks = [self.stop_check, self.train_log, self.rescue, *evaluations, self.checkpoints]
        if self.watch is not None:
            evaluate, save = Mark(self.watch, "evaluation"), Mark(self.watch, "checkpoint")
            callbacks = [self.stop_check, self.train_log, self.rescue, evaluate, *evaluations, save, self.checkpoints]
            self.watch.start()
        trainer = build_trainer(
            config.trainer, layout, self.module.model, max_steps, callbacks, self.checkpoints.writer
        )
        trainer.fit(
            self.module, train_dataloaders=self.timed_loader, ckpt_path=str(resume_from) if resume_from else None
        )


@dataclass(frozen=True, eq=False)
class LoopContext:
    """What a loop has to do with. record, costs: of rank 0, else None and unused. events: steps with an evaluation.

    higher_is_better: the direction of ``checkpoint.best``; None where no callback writes it. resume_with: what to type
    to resume the run. watch: reports what is waited for, and ends what waits too long.
    """

    ranks: Ranks
    signals: Signals
    record: Record | None
    evaluation_costs: EvaluationCosts
    events: Sequence[int] = ()
    higher_is_better: bool | None = True
    resume_with: str = ""
    watch: Watch | None = None


def build_loop(
    config: Config,
    module: CLIPModule,
    loader: Iterable[Any],
    run_position: RunPosition,
    max_steps: int,
    context: LoopContext,
    folder: Path,
    carried: Mapping[str, Any],
) -> TrainingLoop:
    """The parts around ``module``.

    Args:
        config: of the run.
        module: what is trained.
        loader: this rank's batches, from the run's position on, without an end.
        run_position: the run's position.
        max_steps: optimizer steps of the whole run.
        context: ranks, signals, record.
        folder: of the checkpoints.
        carried: what each of them holds besides the state of training.
    """
    timed_loader = TimedLoader(loader, context.signals, context.watch)
    stop_check = StopCheck(
        context.ranks,
        context.signals,
        module.losses,
        on_losses=lambda losses: train_log.take(losses),  # made below: it asks when to write
        on_bad=lambda bad: train_log.refused(bad),
        last_good=lambda: checkpoints.newest,
    )
    log_schedule = LogSchedule(
        config.trainer.log_every_n_steps, max_steps, context.events, faster_data(config.data.workers, os.cpu_count())
    )
    train_log = TrainLog(run_position, timed_loader, stop_check, context.record, context.evaluation_costs, log_schedule)
    checkpoints = Checkpoints(
        folder,
        config.checkpoint.every_n_steps or checkpoint_every(max_steps),
        config.checkpoint.keep_last,
        config.checkpoint.best,
        max_steps,
        carried,
        context.ranks,
        stop_check,
        train_log,
        CheckpointWriter(config.checkpoint.background),
        context.record,
        context.higher_is_better,
        context.resume_with,
    )
    return TrainingLoop(
        module, timed_loader, run_position, stop_check, train_log, checkpoints, Rescue(checkpoints), context.watch
    )
