# SPDX-License-Identifier: Apache-2.0
"""Keep the checkpoint with the best value of one score, saved inside the event that measured it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from clip_align.callbacks.base import PerceptualCallback, event_leader_of, perceptual_callbacks
from clip_align.errors import UserError
from clip_align.evaluation.event import layer_suffix
from clip_align.evaluation.reading import ALL
from clip_align.evaluation.weights import RAW


def higher_is_better(
    key: str, callbacks: Iterable[PerceptualCallback], requested_by: str, weights: Sequence[str] = (RAW,)
) -> bool:
    """Whether the highest value of a score is its best, as declared by the callback that writes it.

    Args:
        key: full key, ``family/name/score``, with the suffix of a layer and of a set of weights if any.
        callbacks: of the run.
        requested_by: start of error messages, such as ``checkpoint.best``.
        weights: sets of weights that are evaluated; the first has the plain keys.

    UserError for a key that no callback writes, or a score that declares no ``higher_is_better``.
    """
    written: dict[str, bool | None] = {}
    score, _, last = key.rpartition("@")
    described = key if last not in weights[1:] else score  # described as the score of the first set
    numbered = re.search(r"@layer_\d+$", described)
    for callback in callbacks:
        for layer in callback.layers:
            # the number of layers in ``all`` is known to the model only: accept any
            suffix = layer_suffix(layer) if layer != ALL else numbered[0] if numbered else "@layer_0"
            written.update((f"{callback.key}/{s.name}{suffix}", s.higher_is_better) for s in callback.scores)
    rated = sorted(name for name, higher in written.items() if higher is not None)
    valid = f"valid: {', '.join(rated) or 'none'}"
    if described not in written:
        raise UserError(f"{requested_by}: no callback of this run writes {key}; {valid}")
    higher = written[described]
    if higher is None:
        raise UserError(f"{requested_by}: {key} has no best value: its score declares no higher_is_better; {valid}")
    return higher


def best_file(key: str) -> str:
    """Name of the file that keeps the weights with the best value of ``key``."""
    return f"best-{re.sub(r'[^a-z0-9_@]+', '-', key)}.ckpt"


def beats(value: float, best: float | None, higher_is_better: bool) -> bool:
    """Whether ``value`` is strictly better than ``best``.

    Args:
        value: of the score.
        best: the best value so far; None: there is none.
        higher_is_better: direction of the score.
    """
    return best is None or (value > best if higher_is_better else value < best)


class BestCheckpoint(Callback):
    """Save ``best-<key>.ckpt`` whenever ``key`` (``human/my_pairs/srocc``) beats its best so far.

    Lightning's ModelCheckpoint may pair weights with an older score if its interval differs from the callback's; here
    both belong to one step by construction. Undefined values are ignored. The file is what the Trainer saves: the state
    of training, to be resumed from, and the average of the weights where one is kept, whichever was scored.

    Args:
        key: full key of the score.
        folder: of the checkpoint file.
        lower_is_better: None: as the score declares; required for scores that declare neither (texture bias).
    """

    def __init__(self, key: str, folder: str | Path, lower_is_better: bool | None = None) -> None:
        super().__init__()
        self.key, self.folder, self.lower_is_better = key, Path(folder), lower_is_better
        self.best: float | None = None
        self.best_step: int | None = None

    @property
    def path(self) -> Path:
        """The file that is kept."""
        return self.folder / best_file(self.key)

    @property
    def state_key(self) -> str:
        """The key of this callback's state in a checkpoint."""
        return f"clip_align/best/{self.key}"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Register for the events of this trainer; UserError if no callback declares which value is best."""
        if stage == "fit":
            if self.lower_is_better is None:
                found = perceptual_callbacks(trainer)
                settings = found[0].settings if found else None
                weights = tuple(settings.weights) if settings else (RAW,)
                self.lower_is_better = not higher_is_better(self.key, found, "BestCheckpoint", weights)
            event_leader_of(trainer).listeners.append(lambda step, scores: self._compare(trainer, step, scores))

    def state_dict(self) -> dict[str, Any]:
        """The best value so far, and its step."""
        return {"best": self.best, "best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best value and its step."""
        self.best, self.best_step = state_dict["best"], state_dict["best_step"]

    def _compare(self, trainer: Trainer, step: int, scores: Mapping[str, float | None]) -> None:
        value = scores.get(self.key)
        if value is None:
            return
        if beats(value, self.best, not self.lower_is_better):
            self.best, self.best_step = value, step
            trainer.save_checkpoint(self.path)  # all ranks together
