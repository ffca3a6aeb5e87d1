# SPDX-License-Identifier: Apache-2.0
"""What a dry run says of the cost: steps, evaluations, time, memory, disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clip_align.config import Config, ModelConfig
from clip_align.errors import Problem, UserError

if TYPE_CHECKING:
    from clip_align.callbacks.base import PerceptualCallback
    from clip_align.commands.cost import Cost
    from clip_align.models.build import ClipModel
    from clip_align.training.launch_ranks import RankLayout
    from clip_align.training.resume import RunStart

GIB = 2**30
AVERAGE_BYTES = 4  # of a parameter: float32


def costs(what: str, about: str) -> None:
    """Print one line of the cost."""
    print(f"cost     {what}: {about}", flush=True)


def shape_of(model: ModelConfig, words: Sequence[str] | None = None) -> ClipModel:
    """The model without memory for its weights; ``words``: of the tiny model, one where not given."""
    from clip_align.models.build import build_model

    return build_model(model, (words or ["word"]) if model.has_words else None, device="meta")


def print_cost(
    start: RunStart,
    layout: RankLayout,
    samples: int | None,
    workers: int,
    cache: Path,
    callbacks: Sequence[PerceptualCallback],
    missing: list[Problem],
    elsewhere: bool,
    left_out: Sequence[str],
) -> None:
    """Print what the run will take.

    Args:
        start: with the configuration and the run's length.
        layout: the ranks.
        samples: of an epoch; None where they are not known.
        workers: of each rank.
        cache: folder of indexes and rendered worlds.
        callbacks: those that can be built.
        missing: grows where the model cannot be built.
        elsewhere: the run needs a GPU that is not here: what a step takes cannot be tried.
        left_out: names of the callbacks that cannot be built, whose images are not counted.
    """
    from clip_align.commands.overheads import duration, sample_seconds, saving, waiting
    from clip_align.evaluation.weights import EMA
    from clip_align.training.kept_steps import kept_steps

    config, data = start.config, start.config.data
    steps, batch = start.max_steps - start.step, start.global_batch
    epochs = f", {steps * batch / samples:.3g} epochs" if samples else ""
    each = f"{steps:,} of {batch:,} samples (each contrasted with {start.contrastive_batch:,})"
    costs("steps", f"{each}, {steps * batch:,} samples in all{epochs}")
    try:
        found = _cost(config, layout, elsewhere)
    except UserError as error:
        missing.extend(error.problems)
        return
    encoded = _evaluations(start, callbacks, found.size_px, left_out)
    # on every rank, as far as it holds the weights, and in every checkpoint
    averages = AVERAGE_BYTES if EMA in config.evaluation.weights else 0
    memory, checkpoint = found.memory + averages * found.held, found.checkpoint + averages * found.parameters
    divided = config.trainer.kind == "fsdp"
    if found.step_seconds is None or found.image_seconds is None:
        why = f"{_gib(memory)} for the weights and their moments are not free now"
        if divided:
            whole = f"{_gib(found.trial)} for its weights and gradients"
            why = f"a step is tried on the whole model: {whole}, or all ranks' parts, are not free now"
        costs("time", f"not estimated: {'only a GPU could tell' if elsewhere else why}")
    else:
        watching, step_samples = encoded * found.image_seconds / layout.world, batch // layout.world
        a_sample = None if samples is None else sample_seconds(data, shape_of(config.model), config.seed, cache)
        evaluate = watching, f"{duration(watching)} for evaluations"
        wait = waiting(steps, found.step_seconds, step_samples, a_sample, workers, layout.local_world)
        save = saving(start, config.checkpoint, Path(config.paths.runs), checkpoint)
        _time(steps * found.step_seconds, found.tried, evaluate, wait, save)
    counted = f"weights, {'their average, ' if averages else ''}gradients, moments"
    if divided:
        counted += _divided(layout.world, found.gathered)
    counted += "; activations come on top" if found.step_seconds is None else ", activations"
    if config.trainer.accumulate > 1:  # the trial is a step of one micro-batch
        counted += f"; logits of {config.trainer.accumulate} batches together come on top: see loss.chunk"
    costs("memory", f"{_gib(memory)} a rank (estimated: {counted})")
    study = len(kept_steps(config.checkpoint.keep_per_octave, 1, start.max_steps))
    # the last ones and one being written, beside those kept for study
    kept = config.checkpoint.keep_last + 1 + (config.checkpoint.best is not None) + study
    of_them = f", {study} of them kept for study" if study else ""
    costs("disk", f"{_gib(kept * checkpoint)} for {kept} checkpoints{of_them} (estimated)")


def _divided(ranks: int, gathered: int) -> str:
    """How the memory of a rank is counted where the model is divided over ``ranks``.

    Args:
        ranks: that are known here.
        gathered: bytes of weights that are whole on a rank at a time.
    """
    if ranks == 1:  # a run that needs GPUs, on a machine without any
        return ", all of the whole model: how many ranks divide it is not known here, try trainer.devices=8"
    return f", divided over {ranks} ranks, and {_gib(gathered)} of weights that are gathered at a time"


def _cost(config: Config, layout: RankLayout, elsewhere: bool) -> Cost:
    """Of a step: tried, but for a run that needs a GPU which is not here; UserError where it cannot be built."""
    from clip_align.commands.cost import cost, untried

    trainer = config.trainer
    parts = layout.world if trainer.kind == "fsdp" else 1
    if elsewhere:
        return untried(config.model, config.loss, parts, trainer.reshard_after_forward)
    return cost(
        config.model,
        config.loss,
        trainer.precision,
        config.data.batch_size,
        trainer.accumulate,
        trainer.accumulate_grad_batches,
        layout,
        trainer.activation_checkpointing,
        parts,
        trainer.reshard_after_forward,
    )


def _evaluations(
    start: RunStart, callbacks: Sequence[PerceptualCallback], size_px: int, left_out: Sequence[str]
) -> int:
    """Print how many there are, and return how many images are encoded in all of them.

    Args:
        start: with the configuration and the run's length.
        callbacks: those that can be built.
        size_px: side of the model's images.
        left_out: names of the others.
    """
    from clip_align.evaluation.prepare import images_per_event
    from clip_align.evaluation.schedule import Schedule, event_steps

    done, evaluation = start.step if start.checkpoint is not None else -1, start.config.evaluation
    schedule, sets = Schedule(evaluation.per_octave, evaluation.early_steps), len(evaluation.weights)

    def events(some: Sequence[PerceptualCallback]) -> int:
        return sum(step > done for step in event_steps(some, schedule, start.max_steps))

    most, each = images_per_event(callbacks, size_px), f", each with {sets} sets of weights" if sets > 1 else ""
    largest = f"{events(callbacks)}, the largest of {most:,} images at {size_px} px, tiles counted{each}"
    parts = [largest] if callbacks or not left_out else []
    parts += [f"not counted: {', '.join(left_out)}"] if left_out else []
    costs("evaluations", "; ".join(parts))
    return sets * sum(events([one]) * images_per_event([one], size_px) for one in callbacks)


def _time(step_seconds: float, tried: int, *parts: tuple[float, str]) -> None:
    """Print the run's time.

    Args:
        step_seconds: of all its steps.
        tried: samples in the trial that they are estimated from.
        *parts: seconds of what comes on top, each with its words.
    """
    from clip_align.commands.overheads import duration

    total = duration(step_seconds + sum(seconds for seconds, _ in parts))
    of_it = ", ".join(text for _, text in parts)
    estimated = f"{total} (estimated from a step of {tried} samples)"
    costs("time", f"{estimated}, of it {of_it}; making images and scores comes on top")


def _gib(number: float) -> str:
    if number < 0.1 * GIB:
        return f"{number / 2**20:,.0f} MiB"
    return f"{number / GIB:.1f} GiB"
