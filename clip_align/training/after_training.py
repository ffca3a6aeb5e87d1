# SPDX-License-Identifier: Apache-2.0
"""After the last step, on rank 0: what untrained models score, and the verdicts about rise and fall."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from clip_align.analysis.verdict import verdicts
from clip_align.callbacks.base import PerceptualCallback
from clip_align.config import Config, to_plain
from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.evaluation.evaluator import EvaluationSettings
from clip_align.models.build import build_model
from clip_align.record.record import Position, read, read_items
from clip_align.training import untrained_baseline as untrained
from clip_align.training.components import RunComponents
from clip_align.training.open_run import OpenedRun
from clip_align.training.signals import Signals
from clip_align.training.trainer import autocast

FRACTION = 0.25  # of the run's time that untrained models may cost; a run of a few steps does without


def after_training(
    config: Config,
    components: RunComponents,
    opened: OpenedRun,
    device: torch.device,
    run_position: Position,
    signals: Signals,
) -> None:
    """Complete the record; stops where a signal comes.

    Args:
        config: of the run.
        components: its callbacks, words, cache and the model under evaluation.
        opened: its folder and record.
        device: of the training, whose model Lightning has put away.
        run_position: the last position, for the lines of the record.
        signals: one that has come ends this after the batch under way.
    """

    def stopped() -> bool:
        return signals.received is not None

    for callback in untrained.with_untrained_baseline(components.callbacks):
        if not stopped():
            _add_untrained(callback, config, components, opened, device, run_position, stopped)
    if components.callbacks and not stopped():
        history = read(opened.run.path)
        for verdict in verdicts(history, lambda key: read_items(opened.run.path, key)):
            opened.record.append("verdict", run_position, verdict)


def add_cached_untrained(config: Config, components: RunComponents) -> None:
    """Before the first step: the baselines that an earlier run has left in the cache, drawn at once."""
    for callback in untrained.with_untrained_baseline(components.callbacks):
        found = untrained.cached(callback, _built_from(config, components), components.cache)
        if found:
            untrained.carry(callback, found)


def _add_untrained(
    callback: PerceptualCallback,
    config: Config,
    components: RunComponents,
    opened: OpenedRun,
    device: torch.device,
    run_position: Position,
    stopped: Callable[[], bool],
) -> None:
    if untrained.carried(callback):
        return
    cost = untrained.INITIALISATIONS * opened.evaluation_costs.mean_s
    if cost > FRACTION * run_position.wall_seconds:
        message = f"{callback.key}: untrained models not measured, it would take {cost:.0f} s; a longer run does it"
        opened.record.append("event", run_position, {"event": "untrained", "message": message})
        return

    def make(seed: int) -> EvaluatedModel:
        torch.manual_seed(seed)
        clip = build_model(config.model, components.words)
        return replace(components.evaluated_model, model=clip.model.to(device))

    settings = EvaluationSettings(components.cache, batch_size=config.evaluation.batch_size, notify=opened.notify)
    context = autocast(config.trainer.precision, device.type)
    found = untrained.measure(callback, make, settings, stopped, context)
    if found is not None:
        _keep(callback, config, components, opened, run_position, found)
    if found:
        described = read(opened.run.path).benchmarks.get(callback.key)
        n = described["n"] if described else None
        opened.record.append("benchmark", run_position, untrained.line_with(callback, found, n))


def _keep(
    callback: PerceptualCallback,
    config: Config,
    components: RunComponents,
    opened: OpenedRun,
    run_position: Position,
    found: untrained.Baselines,
) -> None:
    """Into the cache; one that cannot be written any more costs the next run its time, and this one nothing."""
    try:
        untrained.keep(callback, _built_from(config, components), components.cache, found)
    except OSError as error:
        reason = error.strerror or str(error)
        message = (
            f"{callback.key}: what untrained models score is not kept for the next run ({components.cache}: {reason})"
        )
        opened.record.append("event", run_position, {"event": "warning", "message": message})


def _built_from(config: Config, components: RunComponents) -> Mapping[str, Any]:
    """What an untrained model's scores depend on: its configuration, the number of its words, and the precision."""
    words = None if components.words is None else len(components.words)
    plain: dict[str, Any] = to_plain(config)["model"]
    return {**plain, "words": words, "precision": config.trainer.precision}
