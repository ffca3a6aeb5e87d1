# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: what a run needs to continue, written at the border of a step by all ranks together."""

from __future__ import annotations

import os
import pickle
import random
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io import CheckpointIO

from clip_align.callbacks.best_checkpoint import beats, best_file
from clip_align.config import CheckpointConfig
from clip_align.errors import RunError, UserError
from clip_align.processes.ranks import Ranks
from clip_align.record.record import Record
from clip_align.runs.folder import replacing
from clip_align.training.loss_check import finite_weights
from clip_align.training.stop_check import StopCheck
from clip_align.training.train_log import Progress

OWN = "clip_align"  # our part of the file; everything else is Lightning's
STEP_FILE = re.compile(r"step-(\d{9})\.ckpt")
LAST = "last.ckpt"


class AtomicIO(CheckpointIO):
    """Files are whole or absent, and hold nothing that ``torch.load(weights_only=True)`` refuses."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write beside ``path``, flush to the disk, rename."""
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            with replacing(Path(path)) as temporary, temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            reason = _reason(error)
            raise RunError(f"checkpoint: {path} cannot be written ({reason}); free some space and resume") from error

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        """Tensors on the CPU, plain python otherwise."""
        return load(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Delete the file, if it is there."""
        Path(path).unlink(missing_ok=True)


class Checkpoints(pl.Callback):
    """Last of the run's callbacks: saves at every ``config.every_n_steps``, at the last step and when stopping.

    carried: what every file holds besides the state of training (config as plain python, words, …).
    higher_is_better: which values of ``config.best`` are; None where no callback writes it: no such file then.
    """

    def __init__(
        self,
        folder: Path,
        config: CheckpointConfig,
        max_steps: int,
        carried: Mapping[str, Any],
        ranks: Ranks,
        stop_check: StopCheck,
        progress: Progress,
        record: Record | None,
        higher_is_better: bool | None = True,
    ) -> None:
        self.folder, self.config, self.max_steps, self.carried = folder, config, max_steps, dict(carried)
        self.ranks, self.stop_check, self.progress, self.record = ranks, stop_check, progress, record
        self.higher_is_better = higher_is_better
        self.last_evaluated: int | None = None
        self.best: tuple[float, int] | None = None  # value and step
        self._saved = -1
        self._restored: list[dict[str, Any]] = []
        self._trainer: pl.Trainer | None = None

    @property
    def newest(self) -> str | None:
        """Name of the newest checkpoint, for messages."""
        files = step_files(self.folder)
        return str(files[-1]) if files else None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """The first evaluation may want to save before training starts."""
        self._trainer = trainer

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Random states as they were, where the run continues; and a stop that came during the first evaluation."""
        self._saved = self.progress.run_position.step  # there is nothing to keep before the next step is whole
        if len(self._restored) == self.ranks.world:
            set_random_states(self._restored[self.ranks.rank])
        if self.stop_check.stopping is not None:
            self._save_step()
        self.progress.stopwatch.resume()  # preparation and the first evaluation are no training

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Save when it is time; then the next step begins."""
        step = self.progress.run_position.step
        due = step % self.config.every_n_steps == 0 or step == self.max_steps or self.stop_check.stopping is not None
        if due and step != self._saved:
            self._save_step()
        self.progress.stopwatch.resume()

    def evaluated(self, step: int, scores: Mapping[str, float | None]) -> None:
        """Listener of evaluations, on all ranks: keeps the weights whose score is the best so far."""
        self.last_evaluated = step
        value = scores.get(self.config.best) if self.config.best else None
        if value is None or self.higher_is_better is None:
            return
        if beats(value, self.best[0] if self.best else None, self.higher_is_better):
            self.best = (value, step)
            self._save(best_file(str(self.config.best)))

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Our part of the file; every rank brings its random states."""
        run_position = self.progress.run_position.position()
        checkpoint[OWN] = {
            **self.carried,
            "global_step": run_position.global_step,
            "samples_seen": run_position.samples_seen,
            "wall_seconds": run_position.wall_seconds,
            "cursor": self.progress.run_position.plain_cursor(),
            "last_evaluated": self.last_evaluated,
            "best": list(self.best) if self.best else None,
            "best_of": self.config.best,
            "ranks": self.ranks.world,
            "random_states": self.ranks.gather(random_states()),
        }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take our part back; random states are set when training starts."""
        own = checkpoint[OWN]
        self.last_evaluated = own["last_evaluated"]
        same = own.get("best_of", self.config.best) == self.config.best  # another score's values are not comparable
        self.best = (own["best"][0], own["best"][1]) if own["best"] and same else None
        self._restored = own["random_states"]

    def _save_step(self) -> None:
        step = self.progress.run_position.step
        self._save(step_file(step))
        self._saved = step
        if self.ranks.rank == 0:
            point_last(self.folder, step_file(step))
            for old in step_files(self.folder)[: -self.config.keep_last]:
                old.unlink(missing_ok=True)

    def _save(self, name: str) -> None:
        trainer = self._trainer
        if trainer is None:
            return
        self.stop_check.check_losses()
        if not finite_weights(trainer.lightning_module):
            raise RunError(
                f"weights are not finite after step {self.progress.run_position.step} although the loss was; "
                f"last good checkpoint: {self.newest or 'none'}; try a lower optimizer.lr"
            )
        trainer.save_checkpoint(self.folder / name)
        if self.record is not None:
            fields = {"event": "checkpoint", "message": f"checkpoint saved: {name}", "file": name}
            self.record.append("event", self.progress.run_position.position(), fields)


def _reason(error: BaseException) -> str:
    """What the system said; torch's writer hides it behind an error of its own."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return str(error).splitlines()[0]


def step_file(step: int) -> str:
    """Name of the checkpoint after ``step`` optimizer steps."""
    return f"step-{step:09d}.ckpt"


def step_files(folder: Path) -> list[Path]:
    """The checkpoints named after their steps, oldest first."""
    return sorted(path for path in folder.glob("step-*.ckpt") if STEP_FILE.fullmatch(path.name))


def point_last(folder: Path, name: str) -> None:
    """``last.ckpt`` becomes ``name``: a second name of the same file, a copy where the file system has none."""
    with replacing(folder / LAST) as temporary:
        temporary.unlink(missing_ok=True)
        try:
            os.link(folder / name, temporary)
        except OSError:
            shutil.copyfile(folder / name, temporary)


def load(path: Path, mapped: bool = False) -> dict[str, Any]:
    """A checkpoint, tensors on the CPU. It holds plain python only, so nothing in it is executed.

    ``mapped``: tensors are read from the file when they are used, so that a look at the rest costs little.
    """
    checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    return checkpoint


def newest(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that can be read, with its content; None where there is none at all.

    ``last.ckpt`` first; a damaged file (a crash of the machine, not of the program) costs that file only. UserError
    where there are some and none can be read: a new start would lose what may be repaired.
    """
    reasons: list[str] = []
    for path in (folder / LAST, *reversed(step_files(folder))):
        try:
            content = load(path, mapped=True)
        except FileNotFoundError:
            continue
        except (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
            reasons.append(f"{path.name}: {_reason(error)}")
            continue
        if OWN in content:
            return path, content
        reasons.append(f"{path.name}: not a checkpoint of clip-align")
    if reasons:
        raise UserError(
            f"resume: no checkpoint in {folder} can be read ({reasons[0]}); "
            "repair one, or move that folder away to begin again"
        )
    return None


def random_states() -> dict[str, Any]:
    """This rank's random states as lists and tensors."""
    name, keys, *rest = np.random.get_state()  # libraries draw from the global generator
    version, words, gauss = random.getstate()
    states: dict[str, Any] = {
        "python": [version, list(words), gauss],
        "numpy": [name, [int(k) for k in keys], *rest],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # asking would initialise it, on the CPU too
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def set_random_states(states: Mapping[str, Any]) -> None:
    """The random states of `random_states` again."""
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((name, np.asarray(keys, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
