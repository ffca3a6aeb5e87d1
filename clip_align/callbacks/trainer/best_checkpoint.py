# SPDX-License-Identifier: Apache-2.0
"""Keep the checkpoint with the best value of one score, saved inside the event that measured it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from clip_align.callbacks.base import PerceptualCallback, event_leader_of
from clip_align.errors import Problem, UserError
from clip_align.evaluation.event import layer_suffix, weight_suffix
from clip_align.evaluation.reading import ALL
from clip_align.evaluation.scoring import all_scores, detail_prefix
from clip_align.evaluation.weights import RAW


def higher_is_better(
    key: str, callbacks: Iterable[PerceptualCallback], requested_by: str, weights: Sequence[str] = (RAW,)
) -> bool:
    """Whether the highest value of a score is its best, as declared by the callback that writes it.

    Args:
        key: full key, ``family/name/score``, with the suffixes of a layer and of a set of weights if any.
        callbacks: of the run; once they have adapted to the model, with the layers and scores that they then have.
        requested_by: start of error messages, such as ``checkpoint.best``.
        weights: names of the sets of weights that the run evaluates; keys of the first have no suffix.

    UserError for a key that no callback writes, or a score that declares no ``higher_is_better``.
    """
    written: dict[str, bool | None] = {}
    details: list[str] = []
    for callback in callbacks:
        suffixes = [
            of_layer + of_weights for of_weights in _weight_suffixes(weights) for of_layer in _layers(callback, key)
        ]
        for score in all_scores(callback):
            written.update((f"{callback.key}/{score.name}{suffix}", score.higher_is_better) for suffix in suffixes)
            if score.by and score.by not in callback.tables:  # its values are known from the first event on
                start = f"{callback.key}/{detail_prefix(score)}"
                details += [f"{start}…{suffix}" for suffix in suffixes if score.higher_is_better is not None]
                if any(re.fullmatch(rf"{re.escape(start)}[a-z0-9_]+{re.escape(suffix)}", key) for suffix in suffixes):
                    written.setdefault(key, score.higher_is_better)
    rated = sorted([*(name for name, higher in written.items() if higher is not None), *details])
    valid = f"valid: {', '.join(rated) or 'none'}"
    if key not in written:
        raise UserError(Problem(requested_by, f"no callback of this run writes {key}; {valid}"))
    higher = written[key]
    if higher is None:
        what = f"{key} has no best value: its score declares no higher_is_better; {valid}"
        raise UserError(Problem(requested_by, what))
    return higher


def _layers(callback: PerceptualCallback, key: str) -> Iterator[str]:
    """Suffixes of the layers; of ``all`` those of the model, or while it is unknown the layer that ``key`` names."""
    numbered = re.search(r"@layer_(\d+)(@|$)", key)
    for layer in callback.layers:
        if layer != ALL:
            yield layer_suffix(layer)
        elif callback.adapted is not None:
            yield from (layer_suffix(n) for n in callback.adapted[0].layers if isinstance(n, int))
        else:
            yield layer_suffix(int(numbered[1]) if numbered else 0)


def _weight_suffixes(weights: Sequence[str]) -> list[str]:
    return [weight_suffix(number, name) for number, name in enumerate(weights)]


def best_file(key: str) -> str:
    """Name of the file that keeps the weights with the best value of ``key``."""
    # keys have slashes; @ of a layer stays
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
        """Register for the events of this trainer."""
        if stage == "fit":
            event_leader_of(trainer).follow(
                lambda step, scores: self._compare(trainer, step, scores), prepared=self._decide
            )

    def state_dict(self) -> dict[str, Any]:
        """The best value so far, and its step."""
        return {"best": self.best, "best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best value and its step."""
        self.best, self.best_step = state_dict["best"], state_dict["best_step"]

    def _decide(self, callbacks: Sequence[PerceptualCallback], weights: Sequence[str]) -> None:
        """The direction of the score, once the callbacks know their layers; UserError if none of them declares it."""
        if self.lower_is_better is None:
            self.lower_is_better = not higher_is_better(self.key, callbacks, "BestCheckpoint", weights)

    def _compare(self, trainer: Trainer, step: int, scores: Mapping[str, float | None]) -> None:
        value = scores.get(self.key)
        if value is None:
            return
        # strictly: of equal values the earliest is kept
        if beats(value, self.best, not self.lower_is_better):
            self.best, self.best_step = value, step
            trainer.save_checkpoint(self.path)  # all ranks together
