# SPDX-License-Identifier: Apache-2.0
"""The event leader of a trainer's perceptual callbacks: it decides when, the `Evaluator` does the evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

from clip_align.callbacks.trainer.loggers import log_scores
from clip_align.callbacks.trainer.participant import Participant, with_models
from clip_align.callbacks.trainer.record import BatchCount, TrainerRecord
from clip_align.errors import Problem, UserError
from clip_align.evaluation.evaluator import EvaluationSettings, Evaluator, Listener
from clip_align.models.sharding import is_sharded
from clip_align.processes.ranks import Ranks
from clip_align.record.record import Position
from clip_align.runs.folder import user_cache

Prepared = Callable[[Sequence[Any], Sequence[str]], None]  # see `EventLeader.follow`


class EventLeader:
    """Runs the evaluations of one ``Trainer.fit``: finds the models, evaluates what is due, each step once."""

    def __init__(self, callbacks: Sequence[Participant]) -> None:
        self.callbacks = list(callbacks)
        self._followers: list[tuple[Listener, Prepared]] = []
        self._evaluator: Evaluator | None = None
        self._settings = EvaluationSettings(Path())  # until `prepare`
        self._trainer: Trainer | None = None
        self._own_record: TrainerRecord | None = None  # in a Trainer that is not clip-align's own
        self._count = BatchCount()
        self._now: Sequence[Participant] = ()
        self._began = False

    def follow(self, listener: Listener, prepared: Prepared) -> None:
        """Call ``listener`` after every event; to be set before `prepare`.

        Args:
            listener: see `EvaluationSettings.listeners`.
            prepared: called once, at the end of `prepare`, with the callbacks, which have then adapted to their models,
                and the names of the sets of weights that every event encodes with; may raise UserError.
        """
        self._followers.append((listener, prepared))

    def prepare(self, trainer: Trainer, module: LightningModule) -> None:
        """Find the models and render the images; UserError, before step 0, if that fails."""
        if isinstance(trainer.strategy, DeepSpeedStrategy | FSDPStrategy | ModelParallelStrategy):
            what = (
                "a model that is sharded over ranks cannot be evaluated by perceptual callbacks; "
                "use the strategies auto or ddp"
            )
            raise UserError(Problem("callbacks", what))
        self._trainer = trainer
        ranks = Ranks()
        given = self.callbacks[0].settings
        settings = given or EvaluationSettings(_default_cache(ranks))
        if given is None:
            self._own_record = own = TrainerRecord(trainer, ranks)
            settings = replace(settings, record=own if ranks.rank == 0 else None, log=own.log)
        listeners = (*settings.listeners, self._show, *(listener for listener, _ in self._followers))
        # the first one, because a checkpoint that a later one saves must contain that this step was evaluated
        self._settings = replace(settings, listeners=(self._evaluated, *listeners))
        models = ranks.together(
            lambda: with_models(self.callbacks, module, settings.evaluated_model), UserError, "callbacks"
        )
        self._evaluator = Evaluator(models, self._settings, ranks, settings.position or self._position)
        self._evaluator.prepare(trainer.local_rank)
        for _, prepared in self._followers:
            prepared(self.callbacks, list(settings.weights))

    def begin(self, trainer: Trainer) -> None:
        """Start of training; only from here on a resumed trainer knows its step, which selects the record."""
        if self._evaluator is None:
            return
        self._began = True
        if trainer.global_step:
            self._count.resume(self.callbacks[0].carried)
        else:  # callbacks that were in another training before
            for callback in self.callbacks:
                callback.last_step = None
        self._open(trainer, self.callbacks[0].carried.get("record") if trainer.global_step else None)
        self._evaluator.begin()

    def event(self, trainer: Trainer) -> None:
        """Evaluate all callbacks that are due at this step and not yet evaluated."""
        step = trainer.global_step
        end = self._settings.max_steps or trainer.max_steps
        last = 0 < end <= step  # Lightning has max_steps = -1 for no limit
        now = [c for c in self.callbacks if c.last_step != step and self._due(c, step, last)]
        if now:
            self._evaluate(trainer, step, now)

    def last_event(self, trainer: Trainer) -> None:
        """Evaluate every callback at the step where training ended, unless all were evaluated there."""
        step = trainer.global_step
        if any(c.last_step != step for c in self.callbacks):
            self._evaluate(trainer, step, self.callbacks)

    def make_up(self, trainer: Trainer, module: LightningModule) -> None:
        """The event of the last step if there was no step left to train, so that Lightning called no training hook.

        In a Trainer that is not clip-align's own, also that of step 0 where no step was wanted (``max_steps=0``).
        """
        step = trainer.global_step
        no_event_wanted = step == 0 and self._own_record is None
        if self._began or no_event_wanted or all(c.last_step == step for c in self.callbacks):
            return
        module.to(trainer.strategy.root_device)  # Lightning has moved it to the CPU
        self.begin(trainer)
        self.last_event(trainer)
        if not is_sharded(module):  # whose parts belong to the device of their mesh
            module.cpu()

    def evaluate_once(self, trainer: Trainer, module: LightningModule) -> None:
        """One event outside training, in a record of its own: the weights may be of any step.

        What a later training of this trainer resumes stays as it is.
        """
        before = [callback.last_step for callback in self.callbacks]
        try:
            self.prepare(trainer, module)
            self._open(trainer, None)
            self._evaluate(trainer, trainer.global_step, self.callbacks)
        finally:
            for callback, step in zip(self.callbacks, before, strict=True):
                callback.last_step = step

    def count(self, batch: Any) -> None:
        """Count the samples of a trained batch, for runs without ``settings.position``."""
        self._count.add(batch, self._trainer.world_size if self._trainer else 1)

    def state(self) -> dict[str, Any]:
        """State for a checkpoint: samples, seconds and the folder of the record."""
        if not self._began:  # no training yet, or none at all: what an earlier one left
            return dict(self.callbacks[0].carried)
        folder = self._own_record.folder if self._own_record else None
        seconds = self._position(0).wall_seconds
        return {"samples_seen": self._count.samples, "seconds": seconds, "record": str(folder) if folder else None}

    def close(self, status: str) -> None:
        """Close the record of a Trainer that is not clip-align's own, and release the trainer."""
        if self._own_record is not None and self._trainer is not None:
            self._own_record.close(status, self._position(self._trainer.global_step))
        self._own_record = self._evaluator = self._trainer = None

    def _open(self, trainer: Trainer, carried: str | None) -> None:
        """Open the record of a Trainer that is not clip-align's own, and show the assumptions about its models.

        ``carried``: folder of the record to be continued; None: a new one.
        """
        if self._own_record is None or self._evaluator is None:
            return
        warnings = self._evaluator.warnings
        position = self._position(trainer.global_step)
        self._own_record.open(self.callbacks, position, self._settings.schedule, warnings, carried)
        for line in warnings if self._evaluator.ranks.rank == 0 else ():
            self._settings.notify(f"warning: {line}")

    def _evaluate(self, trainer: Trainer, step: int, now: Sequence[Participant]) -> None:
        if self._evaluator is None:
            what = "the images were not prepared; perceptual callbacks work in Trainer.fit, validate and test"
            raise UserError(Problem("callbacks", what))
        self._now = now
        self._evaluator.evaluate(step, [c.key for c in now], trainer.precision_plugin.forward_context)

    def _evaluated(self, step: int, scores: Mapping[str, float | None]) -> None:
        for callback in self._now:
            callback.last_step = step

    def _due(self, callback: Participant, step: int, last: bool) -> bool:
        return self._settings.schedule.due(step, callback.every_n_steps, callback.family, last)

    def _position(self, step: int) -> Position:
        return self._count.position(step, self._trainer.current_epoch if self._trainer else 0)

    def _show(self, step: int, scores: Mapping[str, float | None]) -> None:
        """Publish the scores in ``trainer.callback_metrics``, undefined ones as NaN, and in the loggers."""
        if self._trainer is None:
            return
        shown = {k: torch.tensor(math.nan if v is None else v) for k, v in scores.items()}
        self._trainer.callback_metrics.update(shown)
        if self._own_record is not None:  # clip-align's own training mirrors its record itself
            log_scores(self._trainer, step, scores)


def _default_cache(ranks: Ranks) -> Path:
    folder, line = user_cache(None)
    if line and ranks.rank == 0:
        print(line)
    return folder
