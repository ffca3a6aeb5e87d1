# SPDX-License-Identifier: Apache-2.0
"""``bench evaluation``: the fraction of a run that evaluations take, and their cost over bare forward passes."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from clip_align.bench.options import Evaluation
from clip_align.bench.result import Result
from clip_align.bench.runs import trained
from clip_align.callbacks.build import build_callbacks
from clip_align.config import HELD_OUT, Config
from clip_align.data.training_data import TrainingData
from clip_align.data.worker_count import usable_cores
from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.evaluation.prepare import images_per_event, planned
from clip_align.evaluation.schedule import Schedule, event_steps
from clip_align.models.build import ClipModel, build_model
from clip_align.runs.folder import user_cache
from clip_align.settings.load_config import load
from clip_align.training.components import held_out_world, tiny_words
from clip_align.training.resume import first_start

TRIALS = 5  # batches, of which the median counts


def measure(options: Evaluation, notify: Callable[[str], None]) -> Result:
    """A run of each model, then forward passes of as many images; a factor above ``require`` is missed.

    Args:
        options: see there.
        notify: takes lines of progress.
    """
    torch.set_num_threads(options.threads or usable_cores())
    cases, lines, missed = [], [], []
    for model in options.model:
        case = _of_model(model, options, notify)
        cases.append(case)
        lines.append(
            f"{model}: {case['events']} events of {case['steps']} steps take {case['fraction']:.1%} of the run "
            f"(time/evaluation_fraction), {case['seconds']:.1f} s; {case['factor']:.2f} x the bare forward passes of "
            f"their {case['images']:,} images ({case['bare_seconds']:.1f} s)"
        )
        if options.require is not None and case["factor"] > options.require:
            missed.append(f"{model}: {case['factor']:.2f} x bare forward passes is more than {options.require:g}")
    return Result(cases, lines, missed)


def _of_model(model: str, options: Evaluation, notify: Callable[[str], None]) -> dict[str, Any]:
    steps = [] if options.steps is None else [f"trainer.max_steps={options.steps}"]
    arguments = [f"model={model}", f"callbacks=[{','.join(options.callbacks)}]", f"seed={options.seed}", *steps]
    arguments += options.train
    start = first_start(load(arguments), 1)
    config = start.config
    cache, _ = user_cache(config.paths.cache)
    with tempfile.TemporaryDirectory() as place:
        notify(f"{model}: a run of {start.max_steps} steps, with evaluations")
        record = trained(arguments, Path(place), cache)
    evaluations: list[Any] = list(record.evaluations)
    seconds = sum(line["time/evaluation_seconds"] for line in evaluations)
    notify(f"{model}: forward passes alone")
    data = TrainingData(config.data, None, None, config.seed, 0, 1, cache)
    # with the run's own words: a benchmark whose words the tokenizer does not know encodes nothing
    built = build_model(config.model, tiny_words(config.model, data.captions))
    built.model.to("cuda" if torch.cuda.is_available() else "cpu")
    encoded = _images(config, start.max_steps, built, data, cache) * len(config.evaluation.weights)
    bare = encoded * image_seconds(built, config.evaluation.batch_size or 256)
    return {
        "name": model, "unit": "s", "callbacks": list(options.callbacks), "steps": evaluations[-1]["global_step"],
        "events": len(evaluations), "images": encoded, "fraction": evaluations[-1]["time/evaluation_fraction"],
        "seconds": seconds, "bare_seconds": bare, "factor": seconds / bare if bare else float("inf"),
    }  # fmt: skip


def _images(config: Config, max_steps: int, built: ClipModel, data: TrainingData, cache: Path) -> int:
    """Images that all events of the run encode, each once an event.

    Args:
        config: of the run, with its intervals.
        max_steps: optimizer steps of the run.
        built: its model.
        data: its training data, which may hold samples out.
        cache: folder of rendered worlds.
    """
    world = held_out_world(config.data, config.callbacks, cache, lambda line: None)
    callbacks = build_callbacks(config.callbacks, {"world": world, HELD_OUT: lambda: data.held_out})
    evaluated = EvaluatedModel(built.model, built.image_size, built.mean, built.std, built.tokenizer)
    for callback in callbacks:
        planned(callback, evaluated)
    schedule = Schedule(config.evaluation.per_octave, config.evaluation.early_steps)
    due = {callback.key: set(event_steps([callback], schedule, max_steps)) for callback in callbacks}
    every = event_steps(callbacks, schedule, max_steps)
    return sum(images_per_event([c for c in callbacks if step in due[c.key]], built.image_size) for step in every)


def image_seconds(built: ClipModel, batch: int) -> float:
    """Seconds of a forward pass of the image tower, an image."""
    model: Any = built.model.eval()
    device = next(model.parameters()).device
    images, seconds = torch.rand(batch, 3, built.image_size, built.image_size, device=device), []
    for _ in range(TRIALS + 1):  # the first one loads kernels
        began = time.perf_counter()
        with torch.no_grad():
            float(model.encode_image(images).sum())  # a number on the host: the device is done
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:]) / batch
