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
from clip_align.evaluation.session import EvaluationSettings
from clip_align.evaluation.subject import Subject
from clip_align.models.build import build_model
from clip_align.record import Position, read, read_items
from clip_align.training import untrained
from clip_align.training.lightning import autocast
from clip_align.training.opening import Opened
from clip_align.training.prepare import Ready
from clip_align.training.signals import Signals

SHARE = 0.25  # of the run's time that untrained models may cost; a run of a few steps does without


def finish(
    config: Config, ready: Ready, opened: Opened, device: torch.device, where: Position, signals: Signals
) -> None:
    """Complete the record; stops where a signal comes. device: of the training, whose model Lightning has put away."""

    def stopped() -> bool:
        return signals.received is not None

    for callback in untrained.asked_about(ready.callbacks):
        if not stopped():
            _add_untrained(callback, config, ready, opened, device, where, stopped)
    if ready.callbacks and not stopped():
        history = read(opened.run.path)
        for verdict in verdicts(history, lambda key: read_items(opened.run.path, key)):
            opened.record.append("verdict", where, verdict)


def known_untrained(config: Config, ready: Ready) -> None:
    """Before the first step: the baselines that an earlier run has left in the cache, drawn at once."""
    for callback in untrained.asked_about(ready.callbacks):
        found = untrained.cached(callback, _built_from(config, ready), ready.cache)
        if found:
            untrained.carry(callback, found)


def _add_untrained(
    callback: PerceptualCallback,
    config: Config,
    ready: Ready,
    opened: Opened,
    device: torch.device,
    where: Position,
    stopped: Callable[[], bool],
) -> None:
    if untrained.carried(callback):
        return
    cost = untrained.INITIALISATIONS * opened.costs.mean_s
    if cost > SHARE * where.wall_seconds:
        message = f"{callback.key}: untrained models not measured, it would take {cost:.0f} s; a longer run does it"
        opened.record.append("event", where, {"event": "untrained", "message": message})
        return

    def make(seed: int) -> Subject:
        torch.manual_seed(seed)
        clip = build_model(config.model, ready.words)
        return replace(ready.subject, model=clip.model.to(device))

    settings = EvaluationSettings(ready.cache, batch_size=config.evaluation.batch_size, say=opened.say)
    context = autocast(config.trainer.precision, device.type)
    found = untrained.measure(callback, make, settings, stopped, context)
    if found is not None:
        _keep(callback, config, ready, opened, where, found)
    if found:
        n = read(opened.run.path).benchmarks.get(callback.key, {}).get("n")
        opened.record.append("benchmark", where, untrained.line_with(callback, found, n))


def _keep(
    callback: PerceptualCallback,
    config: Config,
    ready: Ready,
    opened: Opened,
    where: Position,
    found: untrained.Baselines,
) -> None:
    """Into the cache; one that cannot be written any more costs the next run its time, and this one nothing."""
    try:
        untrained.keep(callback, _built_from(config, ready), ready.cache, found)
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"{callback.key}: what untrained models score is not kept for the next run ({ready.cache}: {reason})"
        opened.record.append("event", where, {"event": "warning", "message": message})


def _built_from(config: Config, ready: Ready) -> Mapping[str, Any]:
    """What an untrained model's scores depend on: its configuration, the number of its words, and the precision."""
    words = None if ready.words is None else len(ready.words)
    plain: dict[str, Any] = to_plain(config)["model"]
    return {**plain, "words": words, "precision": config.trainer.precision}
