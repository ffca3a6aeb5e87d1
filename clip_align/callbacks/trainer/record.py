# SPDX-License-Identifier: Apache-2.0
"""Record and run position of a Trainer that is not clip-align's own: in its log folder, counted from its batches."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.trainer.states import TrainerFn

from clip_align.analysis.verdict import verdicts
from clip_align.callbacks.trainer.participant import Participant
from clip_align.errors import Problem, UserError
from clip_align.evaluation.schedule import Schedule, event_steps
from clip_align.processes.ranks import Ranks
from clip_align.record.late_record import LateRecord
from clip_align.record.record import METRICS, Position, Record, read, read_items

FOLDER = "clip-align"  # of the record, under the trainer's log folder


class BatchCount:
    """Samples and seconds of a training, for runs without ``settings.position``."""

    def __init__(self) -> None:
        self.samples = 0
        self._seconds_before = 0.0
        self._start = time.monotonic()

    def resume(self, carried: Mapping[str, Any]) -> None:
        """Continue the counts of a checkpoint, as `EventLeader.state` stored them."""
        self.samples = int(carried.get("samples_seen", 0))
        self._seconds_before = float(carried.get("seconds", 0.0))

    def add(self, batch: Any, ranks: int) -> None:
        """Count the samples of a trained batch, as many on each of the ``ranks``."""
        self.samples += _length(batch) * ranks

    def position(self, step: int, epoch: int) -> Position:
        """The run position after an optimizer step."""
        return Position(step, self.samples, epoch, round(self._seconds_before + time.monotonic() - self._start, 3))


class TrainerRecord(LateRecord):
    """The record of one ``Trainer.fit``, a `RecordWriter` on rank 0 from `open` on.

    Not opened when it is constructed, because a resumed trainer knows its step, which selects the record, only once
    training begins.

    Args:
        trainer: whose log folder holds the record.
        ranks: the process group.
    """

    # on the other ranks it stays so
    not_open: ClassVar[str] = "the record of this Trainer is not open: training has not begun, or not on this rank"

    def __init__(self, trainer: Trainer, ranks: Ranks) -> None:
        super().__init__()
        self._trainer, self._ranks = trainer, ranks
        self.folder: Path | None = None

    def open(
        self,
        callbacks: Sequence[Participant],
        position: Position,
        schedule: Schedule,
        warnings: Iterable[str],
        carried: str | None = None,
    ) -> None:
        """Open that of the resumed run, else a new one, and write its first lines; a collective.

        Args:
            callbacks: of the trainer.
            position: where training begins.
            schedule: when callbacks are evaluated before their regular spacing is reached.
            warnings: assumptions about the models, recorded as warnings.
            carried: folder of the record that is continued; None: a new one.

        UserError where no record can be written.
        """
        trainer, ranks = self._trainer, self._ranks
        # log_dir is a collective: read it on all ranks
        folder = Path(trainer.log_dir or trainer.default_root_dir).absolute() / FOLDER
        record = ranks.together(lambda: _opened(folder, carried) if ranks.rank == 0 else None, UserError, "callbacks")
        self.folder = ranks.broadcast(record.folder if record else folder)
        if record is None:
            return
        self._record = record
        training = trainer.state.fn == TrainerFn.FITTING
        end = trainer.max_steps if training else -1
        start = {
            "event": "resumed" if training and trainer.global_step else "started",
            "message": f"{len(callbacks)} perceptual callbacks in a Trainer",
            "max_steps": end if end > 0 else None,
            "ranks": ranks.world,
            "regular_every": min(c.every_n_steps for c in callbacks),
            "evaluations_planned": len(event_steps(callbacks, schedule, end)) if end > 0 else None,
        }
        record.append("event", position, start)
        for line in warnings:
            record.append("event", position, {"event": "warning", "message": line})

    def log(self, text: str) -> None:
        """Append a text to ``train.log`` beside the record."""
        if self.folder is not None:
            with suppress(OSError), (self.folder / "train.log").open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%H:%M:%S')} {text}\n")  # the record itself reports a full disk

    def close(self, status: str, position: Position) -> None:
        """Close the record, with verdicts if the ``status`` is ``done``; does nothing where none was opened."""
        record = self._record
        if record is None:
            return
        if status == "done":
            for verdict in verdicts(read(record.folder), partial(read_items, record.folder)):
                record.append("verdict", position, verdict)
        record.append("event", position, {"event": "finished", "message": f"training ended: {status}"})
        record.close(status)


def _opened(folder: Path, carried: str | None) -> Record:
    """The record of the resumed run if it is in the same folder, else a new one beside existing ones.

    Args:
        folder: of the first record of this trainer.
        carried: folder of the record that the checkpoint belongs to; None: not resumed.
    """
    try:
        if carried and Path(carried).parent == folder.parent:
            return Record(Path(carried))
        number, place = 1, folder
        while (place / METRICS).exists():
            number += 1
            place = folder.with_name(f"{folder.name}-{number}")
        return Record(place)
    except OSError as error:
        reason = error.strerror or error
        what = f"no record can be written to {folder} ({reason}); give the Trainer another default_root_dir"
        raise UserError(Problem("callbacks", what)) from None


def _length(batch: Any) -> int:
    """Number of samples: the length of the first tensor in a batch; 0 without tensors."""
    if isinstance(batch, torch.Tensor):
        return len(batch) if batch.ndim else 0
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, list | tuple) else ()
    return next((n for part in parts if (n := _length(part))), 0)
