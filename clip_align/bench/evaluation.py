# SPDX-License-Identifier: Apache-2.0
"""``bench evaluation``: the fraction of a run that evaluations take, and an event's cost over bare forward passes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import torch

from clip_align.bench.options import Evaluation
from clip_align.bench.result import Result
from clip_align.bench.runs import trained
from clip_align.callbacks.build import build_callbacks
from clip_align.config import HELD_OUT, Config
from clip_align.data.training_data import TrainingData
from clip_align.data.worker_count import usable_cores
from clip_align.errors import RunError
from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.evaluation.evaluator import EvaluationSettings, Evaluator
from clip_align.evaluation.event_cost import EventCost, event_cost
from clip_align.models.build import build_model
from clip_align.processes.ranks import Ranks
from clip_align.record.record import Position, Record
from clip_align.runs.folder import user_cache
from clip_align.settings.load_config import load
from clip_align.training.components import held_out_world, tiny_words
from clip_align.training.default_intervals import with_default_intervals
from clip_align.training.step_seeds import seed_everything
from clip_align.training.trainer import autocast


def measure(options: Evaluation, notify: Callable[[str], None]) -> Result:
    """A run of each model, then events in turn with their bare forward passes; a ratio above ``require`` is missed.

    Args:
        options: see there.
        notify: takes lines of progress.
    """
    torch.set_num_threads(options.threads or usable_cores())
    cases, lines, missed = [], [], []
    for model in options.model:
        case, cost = _of_model(model, options, notify)
        cases.append(case)
        lines.append(
            f"{model}: {case['events']} events in {case['steps']} steps take {case['fraction']:.1%} of the run "
            f"(time/evaluation_fraction), {case['seconds']:.1f} s"
        )
        lines.append(f"  {cost}")
        if options.require is not None and case["ratio"] > options.require:
            missed.append(
                f"{model}: {case['ratio']:.3f} x bare forward passes is more than require={options.require:g}"
            )
    return Result(cases, lines, missed)


def _of_model(model: str, options: Evaluation, notify: Callable[[str], None]) -> tuple[dict[str, Any], EventCost]:
    steps = [] if options.steps is None else [f"trainer.max_steps={options.steps}"]
    arguments = [f"model={model}", f"callbacks=[{','.join(options.callbacks)}]", f"seed={options.seed}", *steps]
    arguments += options.train
    config = load(arguments)
    cache, _ = user_cache(config.paths.cache)
    with tempfile.TemporaryDirectory() as place:
        notify(f"{model}: a run with evaluations")
        evaluations: list[Any] = list(trained(arguments, Path(place), cache).evaluations)
        if not evaluations:
            raise RunError(f"train {' '.join(arguments)}: no callback was evaluated; give others with callbacks=")
        seconds = sum(line["time/evaluation_seconds"] for line in evaluations)
        estimate = 2 * (options.pairs + 1) * seconds / len(evaluations)
        notify(f"{model}: {options.pairs + 1} events in turn with bare forward passes, about {estimate:,.0f} s")
        # a callback is built with a number, also where its interval follows the length of the run
        numbered = with_default_intervals(config, evaluations[-1]["global_step"])
        cost = _cost(numbered, options.pairs, cache, Path(place))
    return {
        "name": model, "unit": "s", "callbacks": list(options.callbacks), "steps": evaluations[-1]["global_step"],
        "events": len(evaluations), "fraction": evaluations[-1]["time/evaluation_fraction"], "seconds": seconds,
        "images": cost.images, "texts": cost.texts, "weights": list(config.evaluation.weights),
        "event_seconds": list(cost.event_seconds), "forward_seconds": list(cost.forward_seconds),
        "ratios": cost.ratios, "ratio": median(cost.ratios),
    }, cost  # fmt: skip


def _cost(config: Config, pairs: int, cache: Path, place: Path) -> EventCost:
    """Cost of an event of all callbacks of a run, with untrained weights in the place of each set of weights.

    Args:
        config: of the run.
        pairs: events that count.
        cache: folder of rendered worlds and stimuli.
        place: folder for a record.
    """
    data = TrainingData(config.data, None, None, config.seed, 0, 1, cache)
    # with the run's own words: a benchmark whose words the tokenizer does not know encodes nothing
    seed_everything(config.seed)
    built = build_model(config.model, tiny_words(config.model, data.captions))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    evaluated = EvaluatedModel(built.model.to(device), built.image_size, built.mean, built.std, built.tokenizer)
    world = held_out_world(config.data, config.callbacks, cache, lambda line: None)
    callbacks = build_callbacks(config.callbacks, {"world": world, HELD_OUT: lambda: data.held_out})
    settings = EvaluationSettings(
        cache,
        Record(place, []),
        config.evaluation.batch_size,
        notify=lambda line: None,
        weights=dict.fromkeys(config.evaluation.weights, nullcontext),
    )
    evaluator = Evaluator(
        [(c, evaluated) for c in callbacks], settings, Ranks(), lambda step: Position(step, 0, 0, 0.0)
    )
    evaluator.prepare()
    return event_cost(evaluator, [c.key for c in callbacks], pairs, autocast(config.trainer.precision, device))
