# SPDX-License-Identifier: Apache-2.0
"""The parts of a training loop, put together on one rank."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from clip_align.config import Config
from clip_align.evaluation.ranks import Ranks
from clip_align.record import Record
from clip_align.training.checkpoint import Checkpoints
from clip_align.training.feed import Feed
from clip_align.training.launch import Place
from clip_align.training.lightning import trainer_of
from clip_align.training.module import CLIPModule
from clip_align.training.poll import Poll
from clip_align.training.progress import Costs, Pace, Progress, Whereabouts
from clip_align.training.signals import Signals


@dataclass(frozen=True, eq=False)
class Loop:
    """What trains, and what watches it. ``record`` is None on all ranks but the first."""

    module: CLIPModule
    feed: Feed
    where: Whereabouts
    poll: Poll
    progress: Progress
    checkpoints: Checkpoints

    def run(
        self,
        config: Config,
        here: Place,
        max_steps: int,
        evaluations: Sequence[pl.Callback],
        resume_from: Path | None,
    ) -> None:
        """Train to the last step, or until a signal. The order of the callbacks is part of how they work."""
        callbacks = [self.poll, self.progress, *evaluations, self.checkpoints]
        trainer = trainer_of(config.trainer, here, self.module.model, max_steps, callbacks)
        trainer.fit(self.module, train_dataloaders=self.feed, ckpt_path=str(resume_from) if resume_from else None)


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What a loop has to do with. record, costs: of rank 0, else None and unused. events: steps with an evaluation.

    higher_is_better: the direction of ``checkpoint.best``; None where no callback writes it.
    """

    ranks: Ranks
    signals: Signals
    record: Record | None
    costs: Costs
    events: Sequence[int] = ()
    higher_is_better: bool | None = True


def loop_of(
    config: Config,
    module: CLIPModule,
    loader: Iterable[Any],
    where: Whereabouts,
    max_steps: int,
    around: Surroundings,
    folder: Path,
    carried: Mapping[str, Any],
) -> Loop:
    """The parts around ``module``; checkpoints go to ``folder`` and hold what is ``carried``."""
    feed = Feed(loader, around.signals)
    poll = Poll(around.ranks, around.signals, module.losses)
    pace = Pace(config.trainer.log_every_n_steps, max_steps, around.events)
    progress = Progress(where, feed, poll, around.record, around.costs, pace)
    checkpoints = Checkpoints(
        folder,
        config.checkpoint,
        max_steps,
        carried,
        around.ranks,
        poll,
        progress,
        around.record,
        around.higher_is_better,
    )
    poll.on_losses, poll.on_bad, poll.last_good = progress.take, progress.refused, lambda: checkpoints.newest
    return Loop(module, feed, where, poll, progress, checkpoints)
