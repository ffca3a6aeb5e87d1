# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of clip-align: each holds the configuration of its run, the words of its tokenizer, and all weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from clip_align.config import Config, ModelConfig
from clip_align.config_plain import from_plain
from clip_align.errors import UserError
from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.evaluation.schedule import Schedule, Scheduled
from clip_align.evaluation.weights import EMA, RAW, Swap, swapped
from clip_align.models.build import build_model
from clip_align.record.record import read
from clip_align.record.schema import family_of
from clip_align.series.subject import Member, Place, Unreadable, in_order
from clip_align.training.checkpoint_files import (
    AVERAGE,
    LAST,
    OWN,
    READ_ERRORS,
    SET_ASIDE,
    damage,
    load,
    reason_of,
    step_files,
    weights_of,
)
from clip_align.training.weight_average import Span, newest_fraction, span_of

Files = Callable[[], Sequence[Path]]


def kept(folder: Path) -> list[Path]:
    """All checkpoints in a run's folder of them: by their steps, the last, the best ones; none that was set aside."""
    best = sorted(path for path in folder.glob("best-*.ckpt") if not path.name.startswith(SET_ASIDE))
    last = [folder / LAST] if (folder / LAST).is_file() else []
    return [*step_files(folder), *last, *best]


def is_own(content: object) -> bool:
    """Whether a loaded checkpoint is one of clip-align."""
    return isinstance(content, Mapping) and OWN in content


class OwnCheckpoints:
    """A series of checkpoints of clip-align, as the run evaluated them: raw weights, their average, or both.

    Args:
        label: short name.
        identity: see `Subject`.
        files: returns the files that there are; called again when more may have been written.
        weights: names of the sets; None: those of the run.
        device: where the model is evaluated.
    """

    def __init__(
        self, label: str, identity: str, files: Files, weights: Sequence[str] | None, device: torch.device
    ) -> None:
        self.label, self.identity = label, identity
        self._files, self._device = files, device
        self._places: dict[tuple[Path, int], Place] = {}  # by file and when it was written: best and last are replaced
        self._average: dict[str, torch.Tensor] = {}
        self._built: tuple[ModelConfig, Any] | None = None
        self._model: EvaluatedModel | None = None
        self._members: list[Member] = []
        self._noise: dict[Path, float] = {}  # of the average in a file: see `WeightAverage`
        self.config = self._config_of_run()
        names = tuple(weights) if weights is not None else self.config.evaluation.weights
        known: dict[str, Swap] = {RAW: nullcontext, EMA: self._averaged}
        self.weights: Mapping[str, Swap] = {name: known[name] for name in names}

    @property
    def about(self) -> Mapping[str, Any]:
        """The architecture and where the files lie."""
        return {"kind": "clip-align checkpoints", "folder": self.identity, "model": self.config.model.name or "tiny"}

    def members(self) -> tuple[list[Member], list[Unreadable]]:
        """The checkpoints by their steps."""
        found, bad = [], []
        for path in self._files():
            try:
                written = path, path.stat().st_mtime_ns
                place = self._places.get(written) or self._place(path)
            except READ_ERRORS as error:
                bad.append(Unreadable(path, f"cannot be read ({reason_of(error)})"))
                continue
            if place is None:
                bad.append(Unreadable(path, "not a checkpoint of clip-align"))
                continue
            self._places[written] = place
            found.append(Member(place, path.name, path))
        self._members = in_order(found)
        return self._members, bad

    def load(self, member: Member) -> EvaluatedModel:
        """The model of the run with the raw weights of a checkpoint; its average is put beside it."""
        path = member.file
        assert path is not None  # every member of this series is a file
        try:
            if reason := damage(path):
                raise UserError(f"{path}: damaged ({reason}); it is left out")
            content = load(path)
        except READ_ERRORS as error:
            raise UserError(f"{path}: cannot be read ({reason_of(error)}); it is left out") from None
        own = content[OWN]
        if (step := int(own["global_step"])) != member.place.step:  # its run has replaced it since
            raise UserError(f"{path}: holds step {step} by now, not {member.place.step}; evaluate once more")
        model_config, words = from_plain(own["config"]).model, own["words"]
        if self._model is None or self._built != (model_config, words):
            clip = build_model(model_config, words)
            model = clip.model.to(self._device).requires_grad_(False)
            self._model = EvaluatedModel(model, clip.image_size, clip.mean, clip.std, clip.tokenizer)
            self._built = (model_config, words)
        try:
            self._model.model.load_state_dict(weights_of(content, RAW))
        except RuntimeError as error:
            raise UserError(f"{path}: its weights do not fit its own configuration ({_first(error)})") from None
        if EMA in self.weights:
            whole = weights_of(content, EMA)  # UserError where it holds none
            names = content[AVERAGE]["tensors"]
            self._average = {name: whole[name].to(self._device) for name in names}
        return self._model

    def notes(self, member: Member) -> Mapping[str, float]:
        """Span of the average, and the fraction of it that is as old as the previous checkpoint of the series."""
        if EMA not in self.weights or member.file is None:
            return {}
        span, noise = self._span(), self._noise.get(member.file)
        if span is None or noise is None:
            return {}
        before = max((m for m in self._members if m.place < member.place), default=None, key=lambda m: m.place)
        running = self._noise.get(before.file) if before is not None and before.file else 1.0
        if running is None:
            return {}
        carried = 1.0
        for step in range(before.place.step + 1 if before else 1, member.place.step + 1):
            newest = newest_fraction(running, span(step))
            running = (1.0 - newest) ** 2 * running + newest**2
            carried *= 1.0 - newest
        return {f"weights/{EMA}/span_steps": 1.0 / noise, f"weights/{EMA}/carried_fraction": carried}

    def _averaged(self) -> AbstractContextManager[None]:
        assert self._model is not None  # entered after `load`
        return swapped(self._model.model, self._average)

    def _place(self, path: Path) -> Place | None:
        content = load(path, mapped=True)
        if not is_own(content):
            return None
        if AVERAGE in content:
            self._noise[path] = float(content[AVERAGE]["noise"])
        own = content[OWN]
        return Place(int(own["global_step"]), int(own["samples_seen"]), int(own["cursor"][0]))

    def _config_of_run(self) -> Config:
        """The configuration in the newest checkpoint that can be read; UserError where there is none."""
        reasons = []
        for path in sorted(self._files(), key=lambda p: p.name, reverse=True):
            try:
                content = load(path, mapped=True)
            except READ_ERRORS as error:
                reasons.append(f"{path.name}: {reason_of(error)}")
                continue
            if is_own(content):
                return from_plain(content[OWN]["config"])
        why = f" ({reasons[0]})" if reasons else ""
        raise UserError(f"{self.identity}: no checkpoint of clip-align that can be read{why}")

    def _span(self) -> Span | None:
        """What the run's average spans, by its configuration and the benchmarks in its record; None without one."""
        benchmarks = read(Path(self.identity)).benchmarks
        if not benchmarks:
            return None
        look = self.config.evaluation
        schedule = Schedule(look.per_octave, look.early_steps)
        among = [_Recorded(family_of(key), int(b["options"]["every_n_steps"])) for key, b in benchmarks.items()]
        return span_of(look.horizon, look.horizon_steps, cast("list[Scheduled]", among), schedule)


@dataclass(frozen=True)
class _Recorded:
    """A benchmark as the schedule needs it."""

    family: str
    every_n_steps: int


def _first(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[1] if len(lines) > 1 else lines[0] if lines else type(error).__name__  # the first is torch's heading
