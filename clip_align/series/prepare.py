# SPDX-License-Identifier: Apache-2.0
"""From a command to a subject, its callbacks and the settings of its evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import torch

from clip_align.callbacks.base import PerceptualCallback
from clip_align.callbacks.build import build_callbacks
from clip_align.config import HELD_OUT, Config, TrackerConfig
from clip_align.data.progress import Notify
from clip_align.data.training_data import TrainingData
from clip_align.errors import Problem, UserError
from clip_align.runs.folder import user_cache
from clip_align.series.encoders import encoder
from clip_align.series.evaluate import SeriesSettings
from clip_align.series.find import Foreign, default_name, found_subject
from clip_align.series.observer_series import observer_subject
from clip_align.series.one_model import OneModel
from clip_align.series.own_checkpoints import OwnCheckpoints
from clip_align.series.series_record import series_folder
from clip_align.series.subject import Subject
from clip_align.training.components import held_out_world
from clip_align.training.default_intervals import with_default_intervals
from clip_align.training.trainer import autocast


@dataclass(frozen=True)
class Request:
    """What ``evaluate`` is to do.

    words: that name runs and files. config: composed from the other arguments. typed: the keys of these.
    output: folder of the record. watch: wait for further checkpoints. observer: name of one, in place of words.
    encoder: of timm or torchvision, likewise; weights: its file, or ``pretrained``. foreign: about checkpoints of other
    trainers.
    """

    words: tuple[str, ...]
    config: Config
    typed: frozenset[str]
    output: Path | None = None
    watch: bool = False
    observer: str | None = None
    encoder: str | None = None
    weights: str | None = None
    foreign: Foreign = field(default_factory=Foreign)

    def has(self, section: str) -> bool:
        """Whether a key was typed, or one below it."""
        return any(key == section or key.startswith(f"{section}.") for key in self.typed)


def prepare(request: Request, notify: Notify) -> tuple[Subject, Sequence[PerceptualCallback], SeriesSettings]:
    """Find the subject and build its callbacks; UserError with what is wrong.

    What was not typed is as the run has it whose checkpoints are evaluated: benchmarks, sets of weights, precision,
    batch size and the world that benchmarks show.
    """
    config = request.config
    runs = Path(config.paths.runs)
    subject = _subject(request, runs)
    if request.watch and isinstance(subject, OneModel):
        raise UserError(Problem("watch", f"for checkpoints only; {subject.label} is one model"))
    config = as_trained(request, subject)
    if config.trainer.precision == "16-mixed" and device_of(config).type == "cpu":
        raise UserError(Problem("trainer.precision", "16-mixed needs a GPU; on the CPU type trainer.precision=32"))
    cache, line = user_cache(config.paths.cache)
    if line:
        notify(line)
    data = TrainingData(config.data, None, None, config.seed, 0, 1, cache, progress=notify)
    given = {
        "world": lambda: held_out_world(config.data, config.callbacks, cache, notify),
        HELD_OUT: lambda: data.held_out,
    }
    callbacks = build_callbacks(config.callbacks, given)
    if not callbacks:
        raise UserError(Problem("callbacks", "none is chosen, nothing to evaluate; type callbacks=[tid2013_remade,…]"))
    settings = SeriesSettings(
        run=series_folder(runs, config.name or default_name(subject.label), request.output),
        runs=runs,
        cache=cache,
        context=autocast(config.trainer.precision, device_of(config).type),
        precision=config.trainer.precision,
        batch_size=config.evaluation.batch_size,
        watch=request.watch,
        tracker=config.tracker if request.has("tracker") else TrackerConfig(kinds={}),
        seed=config.seed,
    )
    return subject, callbacks, settings


def _subject(request: Request, runs: Path) -> Subject:
    config, device = request.config, device_of(request.config)
    if request.observer is not None:
        return observer_subject(request.observer, config.model, config.seed, device)
    if request.encoder is not None:
        return encoder(request.encoder, request.weights, config.seed, device)
    weights = config.evaluation.weights if request.has("evaluation.weights") else None
    foreign = request.foreign
    if foreign.architecture is None and request.has("model") and config.model.kind == "open_clip":
        foreign = replace(foreign, architecture=config.model.name)
    return found_subject(request.words, runs, weights, device, request.watch, foreign)


def device_of(config: Config) -> torch.device:
    """A GPU where there is one, unless ``trainer=cpu``."""
    gpu = config.trainer.kind != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if gpu else "cpu")


def as_trained(request: Request, subject: Subject) -> Config:
    """The configuration of the evaluation: what was typed, else what the run of the checkpoints has."""
    config = request.config
    steps = [member.place.step for member in subject.members()[0]]
    every = min((b - a for a, b in pairwise(steps)), default=None)
    look = config.evaluation
    if isinstance(subject, OwnCheckpoints):
        own = subject.config
        every = own.evaluation.every_n_steps
        batch = look.batch_size if request.has("evaluation.batch_size") else own.evaluation.batch_size
        typed = request.has("trainer.precision")
        precision = config.trainer.precision if typed else own.trainer.precision
        config = replace(
            config,
            data=config.data if request.has("data") else own.data,
            callbacks=config.callbacks if request.has("callbacks") else own.callbacks,
            trainer=replace(config.trainer, precision=precision),
            evaluation=replace(look, batch_size=batch),
        )
    every = look.every_n_steps or every or 1
    return with_default_intervals(replace(config, evaluation=replace(config.evaluation, every_n_steps=every)), 1)
