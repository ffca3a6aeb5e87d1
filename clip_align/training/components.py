# SPDX-License-Identifier: Apache-2.0
"""What a rank needs before its first step: data, model, callbacks. Everything that can be refused is refused here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from clip_align.callbacks.base import PerceptualCallback
from clip_align.callbacks.build import build_callbacks
from clip_align.callbacks.common.held_out_images import without_class_names
from clip_align.callbacks.trainer.best_checkpoint import higher_is_better
from clip_align.config import HELD_OUT, CallbackConfig, CheckpointConfig, DataConfig, ModelConfig
from clip_align.data.loader import Loader
from clip_align.data.progress import Notify
from clip_align.data.shared_memory import batch_bytes
from clip_align.data.sources.base import source
from clip_align.data.training_data import TrainingData
from clip_align.data.worker_count import resolved_workers, usable_cores
from clip_align.data.world.shards import ensure_held_out
from clip_align.errors import both
from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.evaluation.prepare import files_of, jobs_of, planned
from clip_align.evaluation.render_stimuli import ensure
from clip_align.evaluation.schedule import Schedule, event_steps
from clip_align.evaluation.weights import RAW
from clip_align.models.activation_checkpointing import checkpoint_activations
from clip_align.models.build import build_model
from clip_align.models.words import WordTokenizer
from clip_align.processes.torchrun import under_torchrun
from clip_align.training.gradient_cache import batch_norm_line
from clip_align.training.initial_weights import InitialWeights, initial_weights
from clip_align.training.launch_ranks import RankLayout
from clip_align.training.resume import RunStart
from clip_align.training.step_seeds import seed_everything

MOST_CAPTIONS = 200_000  # that the tiny model's vocabulary is counted in


@dataclass(frozen=True, eq=False)
class RunComponents:
    """All that training is made of, on this rank.

    data_provenance: what decides about pixels and samples, ``data_fingerprint`` among it, and the workers of each rank.
    held_out: number of keys that are held out; held_out_limit: see `data.held_out`. cursor: epoch and position of the
    first batch. evaluated_model: the model that is trained, as benchmarks encode with it; model_name: as messages have
    it. event_steps: optimizer steps of the whole run at which a callback is due. stimuli: files of the callbacks'
    images by benchmark, which name what is in them. words: of the tiny model's tokenizer, else None. higher_is_better:
    the direction of ``checkpoint.best``; None where there is no such score. initial: what a new run starts from; None
    for random weights, and in a resumed run.
    """

    data_provenance: Mapping[str, Any]
    held_out: int
    held_out_limit: str | None
    cursor: Sequence[int]
    loader: Loader
    evaluated_model: EvaluatedModel
    model_name: str
    callbacks: Sequence[PerceptualCallback]
    event_steps: Sequence[int]
    schedule: Schedule
    stimuli: Mapping[str, Sequence[str]]
    words: Sequence[str] | None
    cache: Path
    higher_is_better: bool | None = None
    initial: InitialWeights | None = None


def prepare(start: RunStart, layout: RankLayout, cache: Path, notify: Notify) -> RunComponents:
    """Read, check and build everything that ``start`` needs on this rank; UserError with what is wrong.

    Args:
        start: where the run begins, the same on all ranks.
        layout: this rank among the others.
        cache: folder of rendered worlds, indexes and stimuli.
        notify: takes a line for the user.
    """
    config = start.config
    use_threads(config.trainer.threads, layout)
    data = TrainingData(
        config.data,
        None,
        None,
        config.seed,
        layout.rank,
        layout.world,
        cache,
        config.trainer.accumulate,
        notify,
        config.trainer.accumulate_grad_batches,
    )
    lines, callbacks = both(
        data.check,
        lambda: build_callbacks(
            config.callbacks,
            # a function: held-out samples are listed for a callback that takes them
            {"world": held_out_world(config.data, config.callbacks, cache, notify), HELD_OUT: lambda: data.held_out},
        ),
    )
    for line in (*lines, *filter(None, [without_class_names(callbacks)])):
        notify(line)
    cursor, others = start.cursor(data.fingerprint)
    start.check_held_out(data.held_out_limit)
    if others:
        notify(others)
    initial = initial_weights(config) if not start.own else None  # a resumed run has its own
    words = start.words if initial is None else initial.words
    words = words if words is not None else tiny_words(config.model, data.captions)
    seed_everything(config.seed)  # right before the weights are drawn: reading data may have drawn numbers
    clip = build_model(config.model, words)
    if initial is not None:
        initial.load(clip)
        notify(initial.line)
    if config.trainer.activation_checkpointing:
        checkpoint_activations(clip.model, clip.name)
    # known only now: the words are found in the captions, the size may be the architecture's
    data.image_size, data.tokenizer = clip.image_size, clip.tokenizer
    for line in (*data.check_words(), *batch_norm_line(clip.model, config.trainer.accumulate)):
        notify(line)
    one_batch = batch_bytes(config.data.batch_size, clip.image_size, clip.tokenizer(["a"]).shape[1])
    workers, workers_line = resolved_workers(
        config.data.workers, layout.local_world, layout.gpu, one_batch, config.trainer.accumulate
    )
    if workers_line is not None:
        notify(workers_line)
    data.data = replace(data.data, workers=workers)
    loader = data.loader(cursor, pin_memory=layout.gpu)
    evaluated_model = EvaluatedModel(clip.model, clip.image_size, clip.mean, clip.std, clip.tokenizer)
    schedule = Schedule(config.evaluation.per_octave, config.evaluation.early_steps)
    no_stimuli: dict[str, list[str]] = {callback.key: [] for callback in callbacks}
    plans = [planned(callback, evaluated_model) for callback in callbacks]
    # planned: they know their layers and scores
    higher = best_direction(config.checkpoint, callbacks, config.evaluation.weights)
    jobs = jobs_of(plans, cache)
    if layout.local_rank == 0:  # images are made once a machine, while everything can still be refused
        ensure(jobs.values(), notify)
    return RunComponents(
        data_provenance={**data.provenance, "workers": workers},
        held_out=data.held_out_count,
        held_out_limit=data.held_out_limit,
        cursor=cursor,
        loader=loader,
        evaluated_model=evaluated_model,
        model_name=clip.name,
        callbacks=callbacks,
        event_steps=event_steps(callbacks, schedule, start.max_steps),
        schedule=schedule,
        stimuli=no_stimuli | files_of(jobs),
        words=words,
        cache=cache,
        higher_is_better=higher,
        initial=initial,
    )


def best_direction(
    config: CheckpointConfig, callbacks: Sequence[PerceptualCallback], weights: Sequence[str] = (RAW,)
) -> bool | None:
    """Whether the best value of ``checkpoint.best`` is its highest; None where there is nothing to keep.

    The default names a callback that a run may do without; any other key has to be one that the run writes.

    Args:
        config: with the key.
        callbacks: of the run, adapted to its model.
        weights: names of the sets of weights that the run evaluates; keys of the first have no suffix.
    """
    if config.best is None:
        return None
    chosen = {callback.key for callback in callbacks}
    if config.best == CheckpointConfig().best and config.best.rpartition("/")[0] not in chosen:
        return None
    return higher_is_better(config.best, callbacks, "checkpoint.best", weights)


def tiny_words(model: ModelConfig, captions: Callable[[int], Iterable[str]]) -> list[str] | None:
    """The vocabulary of a tokenizer of words, from the captions it will be trained on; others bring their own.

    ``captions``: returns at most so many of them, at equal distances over the data.
    """
    if not model.has_words:
        return None
    return list(WordTokenizer.from_captions(captions(MOST_CAPTIONS), model.vocabulary, 3).words)


def held_out_world(
    data: DataConfig, callbacks: Mapping[str, CallbackConfig], cache: Path, notify: Notify
) -> Path | None:
    """Held-out images of the world that is trained on; else of the default one, where a benchmark shows them.

    Args:
        data: of the training.
        callbacks: that are evaluated.
        cache: folder that the images are rendered into.
        notify: takes progress.
    """
    settings = source(data).world  # rendered by now, where the data are the world
    shown = settings is not None or any("world" in callback.target for callback in callbacks.values())
    return ensure_held_out(cache, settings, progress=notify) if shown else None


def use_threads(threads: int | None, layout: RankLayout) -> None:
    """Share the cores between the ranks of this machine, unless OMP_NUM_THREADS is set (not torchrun's own).

    ``threads`` of this rank, as configured; None shares.
    """
    requested = os.environ.get("OMP_NUM_THREADS", "") if not under_torchrun() else ""
    own = int(requested) if requested.isdigit() and int(requested) > 0 else usable_cores() // layout.local_world
    torch.set_num_threads(threads or max(1, own))
