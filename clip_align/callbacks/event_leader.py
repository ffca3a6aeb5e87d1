# SPDX-License-Identifier: Apache-2.0
"""The event leader of a trainer's perceptual callbacks: it follows the run position and runs the events."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from torch import nn

from clip_align.analysis.verdict import verdicts
from clip_align.errors import UserError
from clip_align.evaluation.benchmark import Benchmark
from clip_align.evaluation.evaluated_model import EvaluatedModel, find_model
from clip_align.evaluation.evaluator import EvaluationSettings, Evaluator, Listener
from clip_align.evaluation.schedule import event_steps
from clip_align.processes.ranks import Ranks
from clip_align.record.record import METRICS, Position, Record, read, read_items
from clip_align.runs.folder import user_cache

FOLDER = "clip-align"  # of the record, under the log folder of a foreign trainer


class Participant(Benchmark, Protocol):
    """A benchmark in a training: its settings, the model under evaluation and the last evaluated step."""

    settings: EvaluationSettings | None
    last_step: int | None
    carried: Mapping[str, Any]
    model: nn.Module | None
    tokenizer: Callable[[list[str]], torch.Tensor] | None
    mean: Sequence[float] | None
    std: Sequence[float] | None


class EventLeader:
    """Runs the evaluations of one ``Trainer.fit``. ``listeners`` may be added until `prepare`."""

    def __init__(self, callbacks: Sequence[Participant]) -> None:
        self.callbacks = list(callbacks)
        self.listeners: list[Listener] = []
        self._evaluator: Evaluator | None = None
        self._settings = EvaluationSettings(Path())
        self._trainer: Trainer | None = None
        self._own_record: Record | None = None
        self._folder: Path | None = None  # of the record, in a foreign trainer
        self._now: Sequence[Participant] = ()
        self._began = False
        self._samples = 0
        self._seconds_before = 0.0
        self._start = time.monotonic()

    def prepare(self, trainer: Trainer, module: LightningModule) -> None:
        """Find the models and render the images; UserError, before step 0, if that fails."""
        if isinstance(trainer.strategy, DeepSpeedStrategy | FSDPStrategy | ModelParallelStrategy):
            raise UserError(
                "callbacks: a model that is sharded over ranks cannot be evaluated by perceptual callbacks; "
                "use the strategies auto or ddp"
            )
        self._trainer = trainer
        ranks = Ranks()
        given = self.callbacks[0].settings
        self._settings = given or EvaluationSettings(_default_cache(ranks))
        models = ranks.together(lambda: self._models(module), UserError, "callbacks")
        self._evaluator = Evaluator(models, self._settings, ranks, self._settings.position or self._position)
        self._evaluator.listeners = [self._evaluated, *self._settings.listeners, self._show, *self.listeners]
        self._evaluator.prepare(trainer.local_rank)

    def begin(self, trainer: Trainer) -> None:
        """Start of training; only from here on a resumed trainer knows its step, which selects the record."""
        if self._evaluator is None:
            return
        self._began = True
        if trainer.global_step:
            carried = self.callbacks[0].carried
            self._samples = int(carried.get("samples_seen", 0))
            self._seconds_before = float(carried.get("seconds", 0.0))
        else:  # callbacks that were in another training before
            for callback in self.callbacks:
                callback.last_step = None
        if self.callbacks[0].settings is None:
            self._open_record(trainer, self._evaluator)
        self._evaluator.begin()

    def event(self, trainer: Trainer) -> None:
        """Evaluate all callbacks that are due at this step and not yet evaluated."""
        step = trainer.global_step
        end = self._settings.max_steps or trainer.max_steps
        last = 0 < end <= step
        now = [c for c in self.callbacks if c.last_step != step and self._due(c, step, last)]
        if now:
            self._evaluate(trainer, step, now)

    def last_event(self, trainer: Trainer) -> None:
        """Evaluate every callback at the step where training ended, unless all were evaluated there."""
        step = trainer.global_step
        if any(c.last_step != step for c in self.callbacks):
            self._evaluate(trainer, step, self.callbacks)

    def make_up(self, trainer: Trainer, module: LightningModule) -> None:
        """The event of the last step if there was no step left to train, so that Lightning called no training hook."""
        step = trainer.global_step
        if self._began or step == 0 or all(c.last_step == step for c in self.callbacks):
            return
        module.to(trainer.strategy.root_device)  # Lightning has moved it to the CPU
        self.begin(trainer)
        self.last_event(trainer)
        module.cpu()

    def count(self, batch: Any) -> None:
        """Count the samples of a trained batch, for runs without ``settings.position``."""
        self._samples += _length(batch) * (self._trainer.world_size if self._trainer else 1)

    def state(self) -> dict[str, Any]:
        """State for a checkpoint: samples, seconds and the folder of the record."""
        folder = str(self._folder) if self._folder else None
        return {"samples_seen": self._samples, "seconds": self._position(0).wall_seconds, "record": folder}

    def close(self, status: str) -> None:
        """Close the record of a foreign trainer (on rank 0), with verdicts if the ``status`` is ``done``."""
        if self._own_record is not None and self._trainer is not None:
            position = self._position(self._trainer.global_step)
            if status == "done":
                folder = self._own_record.folder
                for verdict in verdicts(read(folder), partial(read_items, folder)):
                    self._own_record.append("verdict", position, verdict)
            self._own_record.append("event", position, {"event": "finished", "message": f"training ended: {status}"})
            self._own_record.close(status)
        self._own_record = self._evaluator = self._trainer = None

    def _evaluate(self, trainer: Trainer, step: int, now: Sequence[Participant]) -> None:
        if self._evaluator is None:
            raise UserError("callbacks: the images were not prepared; perceptual callbacks work in Trainer.fit only")
        self._now = now
        self._evaluator.evaluate(step, [c.key for c in now], trainer.precision_plugin.forward_context)

    def _evaluated(self, step: int, scores: Mapping[str, float | None]) -> None:
        """The first listener: a checkpoint that a later one saves must know that this step was evaluated."""
        for callback in self._now:
            callback.last_step = step

    def _due(self, callback: Participant, step: int, last: bool) -> bool:
        return self._settings.schedule.due(step, callback.every_n_steps, callback.family, last)

    def _models(self, module: LightningModule) -> list[tuple[Participant, EvaluatedModel]]:
        """The model under evaluation of each callback; one object per model, so that each is encoded once."""
        known: dict[tuple[Any, ...], EvaluatedModel] = {}
        for callback in self.callbacks:
            own = _own(callback)
            if own not in known:
                known[own] = self._evaluated_model(module, callback)
        return [(callback, known[_own(callback)]) for callback in self.callbacks]

    def _evaluated_model(self, module: LightningModule, callback: Participant) -> EvaluatedModel:
        common = self._settings.evaluated_model
        if common is not None and _own(callback) == _NOTHING_OWN:
            return common
        found = common if callback.model is None else None
        return find_model(
            module,
            model=callback.model if found is None else found.model,
            tokenizer=callback.tokenizer or (found.tokenizer if found else None),
            mean=found.mean if found and callback.mean is None else callback.mean,
            std=found.std if found and callback.std is None else callback.std,
        )

    def _open_record(self, trainer: Trainer, evaluator: Evaluator) -> None:
        """The record in the trainer's log folder: that of the resumed run, else a new one."""
        folder = (
            Path(trainer.log_dir or trainer.default_root_dir).absolute() / FOLDER
        )  # log_dir is a collective: read it on all ranks
        record = evaluator.ranks.together(
            lambda: self._record(folder, trainer) if evaluator.ranks.rank == 0 else None, UserError, "callbacks"
        )
        self._folder = evaluator.ranks.broadcast(record.folder if record else folder)
        if record is None:
            return
        self._own_record = evaluator.record = record
        evaluator.log = partial(_append, record.folder / "train.log")
        position, end = self._position(trainer.global_step), trainer.max_steps
        every, schedule = min(c.every_n_steps for c in self.callbacks), self._settings.schedule
        record.append(
            "event",
            position,
            {
                "event": "resumed" if trainer.global_step else "started",
                "message": f"{len(self.callbacks)} perceptual callbacks in a Trainer",
                "max_steps": end if end > 0 else None,
                "ranks": evaluator.ranks.world,
                "regular_every": every,
                "evaluations_planned": len(event_steps(self.callbacks, schedule, end)) if end > 0 else None,
            },
        )
        for line in evaluator.warnings:
            self._settings.notify(f"warning: {line}")
            record.append("event", position, {"event": "warning", "message": line})

    def _record(self, folder: Path, trainer: Trainer) -> Record:
        """On rank 0: the record of the resumed run if it is in the same folder, else a new one beside existing ones."""
        carried = self.callbacks[0].carried.get("record")
        try:
            if trainer.global_step and carried and Path(carried).parent == folder.parent:
                return Record(Path(carried))
            number, place = 1, folder
            while (place / METRICS).exists():
                number += 1
                place = folder.with_name(f"{folder.name}-{number}")
            return Record(place)
        except OSError as error:
            reason = error.strerror or error
            raise UserError(
                f"callbacks: no record can be written to {folder} ({reason}); give the Trainer another default_root_dir"
            ) from None

    def _position(self, step: int) -> Position:
        epoch = self._trainer.current_epoch if self._trainer else 0
        seconds = self._seconds_before + time.monotonic() - self._start
        return Position(step, self._samples, epoch, round(seconds, 3))

    def _show(self, step: int, scores: Mapping[str, float | None]) -> None:
        """Publish the scores in ``trainer.callback_metrics``; undefined ones as NaN."""
        if self._trainer is not None:
            shown = {k: torch.tensor(math.nan if v is None else v) for k, v in scores.items()}
            self._trainer.callback_metrics.update(shown)


_NOTHING_OWN = (None, None, None, None)


def _own(callback: Participant) -> tuple[Any, ...]:
    """What the callback itself specifies about its model: model, tokenizer, mean and std; None where it does not."""
    mean = tuple(callback.mean) if callback.mean is not None else None
    std = tuple(callback.std) if callback.std is not None else None
    model = None if callback.model is None else id(callback.model)
    return model, None if callback.tokenizer is None else id(callback.tokenizer), mean, std


def _append(path: Path, text: str) -> None:
    with suppress(OSError), path.open("a", encoding="utf-8") as file:  # the record itself reports a full disk
        file.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def _default_cache(ranks: Ranks) -> Path:
    folder, line = user_cache(None)
    if line and ranks.rank == 0:
        print(line)
    return folder


def _length(batch: Any) -> int:
    """Number of samples: the length of the first tensor in a batch; 0 without tensors."""
    if isinstance(batch, torch.Tensor):
        return len(batch) if batch.ndim else 0
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, list | tuple) else ()
    return next((n for part in parts if (n := _length(part))), 0)
