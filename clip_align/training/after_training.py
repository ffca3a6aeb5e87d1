# SPDX-License-Identifier: Apache-2.0
"""After the last step, on rank 0: what untrained models score, and the verdicts about rise and fall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from clip_align.analysis.verdict import verdicts
from clip_align.callbacks.base import PerceptualCallback
from clip_align.config import ModelConfig
from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.evaluation.evaluator import EvaluationSettings
from clip_align.evaluation.weights import RAW
from clip_align.models.build import build_model
from clip_align.record.record import Position, read, read_items
from clip_align.structure import plain
from clip_align.training import untrained_baseline as untrained
from clip_align.training.components import RunComponents
from clip_align.training.open_run import OpenedRun
from clip_align.training.signals import Signals
from clip_align.training.trainer import autocast

TRAINING_ONLY = ("patch_dropout", "pretrained")  # keys of a model that nothing depends on while its weights are random
# that an earlier release did not have: left out where they change nothing, so that what it has kept is found
LATER = ("tokenizer", "context_length")
FRACTION = 0.25  # of the run's time that untrained models may cost; a run of a few steps does without


def after_training(
    model: ModelConfig,
    precision: str,
    batch_size: int,
    components: RunComponents,
    opened: OpenedRun,
    device: torch.device,
    run_position: Position,
    signals: Signals,
) -> None:
    """Complete the record; stops where a signal comes.

    Args:
        model: what untrained models are built from.
        precision: of the training, in which they are evaluated.
        batch_size: images encoded at a time.
        components: the run's callbacks, words, cache and the model under evaluation.
        opened: its folder and record.
        device: of the training, whose model Lightning has put away.
        run_position: the last position, for the lines of the record.
        signals: one that has come ends this after the batch under way.
    """

    def stopped() -> bool:
        return signals.received is not None

    def untrained_model(seed: int) -> EvaluatedModel:
        torch.manual_seed(seed)  # training is over: nobody else draws from it any more
        clip = build_model(model, components.words)
        return replace(components.evaluated_model, model=clip.model.to(device))

    settings = EvaluationSettings(components.cache, batch_size=batch_size, notify=opened.notify)
    context, built_from = autocast(precision, device.type), _built_from(model, precision, components.words)
    for callback in untrained.with_untrained_baseline(components.callbacks):
        if stopped() or untrained.carried(callback):  # carried: found in the cache before the first step
            continue
        # evaluating one takes as long as evaluating the trained model
        cost_s = untrained.INITIALISATIONS * opened.evaluation_costs.mean_s
        if cost_s > FRACTION * run_position.wall_seconds:
            message = (
                f"{callback.key}: untrained models not measured, it would take {cost_s:.0f} s; a longer run does it"
            )
            opened.record.append("event", run_position, {"event": "untrained", "message": message})
            continue
        found = untrained.measure(callback, untrained_model, settings, stopped, context)
        if found is not None and (problem := _keep(callback, built_from, components.cache, found)):
            opened.record.append("event", run_position, {"event": "warning", "message": problem})
        if found:
            benchmark = read(opened.run.path).benchmarks.get(callback.key)
            n = benchmark["n"] if benchmark else None
            weights = benchmark["weights"] if benchmark else RAW
            opened.record.append("benchmark", run_position, untrained.line_with(callback, found, n, weights))
    if components.callbacks and not stopped():
        history = read(opened.run.path)  # again: baselines have been added to it
        for verdict in verdicts(history, lambda key: read_items(opened.run.path, key)):
            opened.record.append("verdict", run_position, verdict)


def add_cached_untrained(components: RunComponents, model: ModelConfig, precision: str) -> None:
    """Before the first step: the baselines that an earlier run has left in the cache, drawn at once.

    Args:
        components: the run's callbacks, words and cache.
        model: what untrained models are built from.
        precision: of the training, in which they were evaluated.
    """
    built_from = _built_from(model, precision, components.words)
    for callback in untrained.with_untrained_baseline(components.callbacks):
        if found := untrained.cached(callback, built_from, components.cache):
            untrained.carry(callback, found)


def _keep(
    callback: PerceptualCallback, built_from: Mapping[str, Any], cache: Path, found: untrained.Baselines
) -> str | None:
    """Into the cache; the line for one that cannot be written: it costs the next run its time, and this one nothing."""
    try:
        untrained.keep(callback, built_from, cache, found)
    except OSError as error:  # a full disk, say
        reason = error.strerror or str(error)
        return f"{callback.key}: what untrained models score is not kept for the next run ({cache}: {reason})"
    return None


def _built_from(model: ModelConfig, precision: str, words: Sequence[str] | None) -> dict[str, Any]:
    """What an untrained model's scores depend on: its configuration, the number of its words, and the precision."""
    default = plain(ModelConfig())
    built = {
        key: value
        for key, value in plain(model).items()
        if key not in TRAINING_ONLY and not (key in LATER and value == default[key])
    }
    return {**built, "words": None if words is None else len(words), "precision": precision}
