# SPDX-License-Identifier: Apache-2.0
"""The parts of a training loop, put together on one rank."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from clip_align.config import CheckpointConfig, TrainerConfig
from clip_align.processes.ranks import Ranks
from clip_align.record.record import Record
from clip_align.training.checkpoint_callback import Checkpoints
from clip_align.training.clip_module import CLIPModule
from clip_align.training.garbage import GarbageCollection
from clip_align.training.launch_ranks import RankLayout
from clip_align.training.rescue import Rescue
from clip_align.training.signals import Signals
from clip_align.training.stall_watch import Mark, Watch
from clip_align.training.step_seeds import StepSeeds
from clip_align.training.stop_check import StopCheck
from clip_align.training.timed_loader import TimedLoader
from clip_align.training.train_log import EvaluationCosts, LogSchedule, RunPosition, TrainLog
from clip_align.training.trainer import build_trainer


@dataclass(frozen=True, eq=False)
class TrainingLoop:
    """What trains, and what watches it: the parts that a run and its end use by name."""

    module: CLIPModule
    timed_loader: TimedLoader
    run_position: RunPosition
    stop_check: StopCheck
    train_log: TrainLog
    checkpoints: Checkpoints
    rescue: Rescue
    step_seeds: StepSeeds
    watch: Watch | None = None

    def run(
        self,
        settings: TrainerConfig,
        layout: RankLayout,
        evaluations: Sequence[pl.Callback],
        resume_from: Path | None,
    ) -> None:
        """Train to the last step, or until a signal. The order of the callbacks is part of how they work.

        Args:
            settings: precision and accumulation.
            layout: this rank among the others.
            evaluations: the perceptual callbacks.
            resume_from: a checkpoint's file; None starts again.
        """
        garbage = GarbageCollection()
        first: list[pl.Callback] = [garbage, self.step_seeds, self.stop_check, self.train_log, self.rescue]
        callbacks = [*first, *evaluations, self.checkpoints]
        if self.watch is not None:
            evaluate, save = Mark(self.watch, "evaluation"), Mark(self.watch, "checkpoint")
            callbacks = [*first, evaluate, *evaluations, save, self.checkpoints]
            self.watch.start()
        steps, writer = self.module.steps, self.checkpoints.writer
        trainer = build_trainer(settings, layout, self.module.model, steps, callbacks, writer)
        with garbage.restored():
            trainer.fit(
                self.module, train_dataloaders=self.timed_loader, ckpt_path=str(resume_from) if resume_from else None
            )


def build_loop(
    module: CLIPModule,
    loader: Iterable[Any],
    run_position: RunPosition,
    log_schedule: LogSchedule,
    checkpoint: CheckpointConfig,
    folder: Path,
    carried: Mapping[str, Any],
    *,
    ranks: Ranks,
    signals: Signals,
    record: Record | None = None,
    evaluation_costs: EvaluationCosts | None = None,
    higher_is_better: bool | None = True,
    resume_with: str = "",
    watch: Watch | None = None,
    seed: int = 0,
    accumulate: int = 1,
) -> TrainingLoop:
    """The parts that training needs beside ``module``, which know each other.

    Args:
        module: what is trained.
        loader: this rank's batches, from the run's position on, without an end.
        run_position: the run's position.
        log_schedule: when lines are written, and where the run ends.
        checkpoint: when checkpoints are saved.
        folder: of the checkpoints.
        carried: what each of them holds besides the state of training.
        ranks: of the run.
        signals: of this process.
        record: of the first rank, None on the others.
        evaluation_costs: what evaluations have taken, a mirror of ``record``; None: nothing so far.
        higher_is_better: the direction of ``checkpoint.best``; None where no callback writes it.
        resume_with: what to type to resume the run.
        watch: reports what training waits for, and ends what waits too long.
        seed: of what training draws beside its batches.
        accumulate: batches of ``loader`` that are contrasted together.
    """
    timed_loader = TimedLoader(loader, signals, watch, accumulate)
    stop_check = StopCheck(
        ranks,
        signals,
        module.losses,
        on_losses=lambda losses: train_log.take(losses),  # made below: it asks for a check before it writes
        on_bad=lambda bad: train_log.refused(bad),
        last_good=lambda: checkpoints.newest,
    )
    costs = evaluation_costs if evaluation_costs is not None else EvaluationCosts()
    train_log = TrainLog(run_position, timed_loader, stop_check, record, costs, log_schedule)
    checkpoints = Checkpoints(
        folder, checkpoint, carried, ranks, stop_check, train_log, record, higher_is_better, resume_with
    )
    rescue, step_seeds = Rescue(checkpoints), StepSeeds(seed, ranks.rank)
    return TrainingLoop(
        module, timed_loader, run_position, stop_check, train_log, checkpoints, rescue, step_seeds, watch
    )
