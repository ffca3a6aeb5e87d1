# SPDX-License-Identifier: Apache-2.0
"""``train dry_run=true``: what is found, what is missing, what the run will cost. Nothing is trained.

Only caches may be written (an index of shards). Found and cost go to standard output; what is missing ends the
command like any other refusal, a line each, exit code 2.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clip_align.commands.dry_run_cost import costs, print_cost, shape_of
from clip_align.commands.early_checks import how_to_prepare, place_problems
from clip_align.config import HELD_OUT, CallbackConfig, CheckpointConfig, Config, DataConfig, ModelConfig
from clip_align.data.worker_count import resolved_workers
from clip_align.errors import Problem, UserError
from clip_align.processes import torchrun
from clip_align.runs.folder import user_cache
from clip_align.settings.callback_check import takes

if TYPE_CHECKING:
    import torch

    from clip_align.callbacks.base import PerceptualCallback
    from clip_align.evaluation.evaluated_model import EvaluatedModel
    from clip_align.training.launch_ranks import RankLayout
    from clip_align.training.resume import RunStart


def dry_run(config: Config, absent: Sequence[Problem] = ()) -> int:
    """Print what is found and what the run will cost; UserError with everything that is missing.

    ``absent``: what the configuration names and is not there; it is left out.
    """
    if torchrun.rank() != 0:  # the first rank prints for all
        return 0
    import torch

    from clip_align.training.components import use_threads
    from clip_align.training.launch_ranks import NOT_LAUNCHED, rank_layout

    missing = [*absent, *place_problems(config.name, config.resume, config.paths.runs)]
    chosen, broken = list(config.callbacks), _about("callbacks", absent)  # these cannot be built
    config = replace(config, callbacks={n: c for n, c in config.callbacks.items() if n not in broken})
    print("dry run: nothing is trained", flush=True)
    gpus = torch.cuda.device_count()
    elsewhere = gpus == 0 and (config.trainer.kind == "gpu" or config.trainer.precision == "16-mixed")
    trainer = replace(config.trainer, kind="cpu", precision="32") if elsewhere else config.trainer
    if trainer.kind == "multi_node" and not torchrun.started():
        missing.append(NOT_LAUNCHED)
        trainer = replace(trainer, kind="ddp")  # so that the rest is checked
    try:
        layout = rank_layout(trainer, gpus, os.environ)
    except UserError as error:
        raise UserError(*missing, *error.problems) from None
    use_threads(config.trainer.threads, layout)
    if elsewhere:
        print("note     trainer: the run needs a GPU, and torch finds none on this machine", flush=True)
    else:
        _found("trainer", _ranks_line(layout))
    if layout.gpu and layout.local_world < gpus and torchrun.started():
        print(f"note     trainer: {layout.local_world} of {gpus} GPUs of this machine would be used", flush=True)
    if config.trainer.kind == "ddp" and not layout.gpu and layout.world == 1:
        what = "trainer=ddp finds no GPU on this machine, and counts with one rank on its CPU; with 8 GPUs a step has"
        print(f"note     trainer: {what} 8 times as many samples", flush=True)
    start = _start(config, layout, missing)
    if not start.done:
        with ExitStack() as stack:
            cache = _cache(config.paths.cache, stack, missing)
            data = None if _about("data", absent) else _data(start, layout.world, cache, missing)
            if not _about("model", absent):  # its size, layers and words decide what callbacks show it
                words = _initial_words(start, missing) or _words(start, data)
                if words is None and data is not None and config.model.has_words:
                    print("note     words: not known before the data are read; prompts are not checked", flush=True)
                held_out = data.held_out if data else None
                built = _callbacks(
                    start.config.callbacks, config.model, config.data, words, held_out, cache, stack, missing
                )
                callbacks = list(built.values())
                if len(callbacks) == len(config.callbacks) and not broken:
                    _best(config.checkpoint, callbacks, config.evaluation.weights, missing)
                one_batch = _batch_bytes(config.model, config.data.batch_size)
                gpu = layout.gpu or elsewhere
                workers, line = resolved_workers(
                    config.data.workers, layout.local_world, gpu, one_batch, config.trainer.accumulate
                )
                if line is not None:
                    _found("data.workers", line.removeprefix("data.workers: "))
                samples = data.samples if data else None
                left_out = [name for name in chosen if name not in built]
                print_cost(start, layout, samples, workers, cache, callbacks, missing, elsewhere, left_out)
                _shared_memory(one_batch, workers, layout.local_world, config.trainer.accumulate, missing)
    if missing:
        missing.extend(how_to_prepare(config.preparation, missing))
        raise UserError(*dict.fromkeys(missing))
    return 0


def _ranks_line(layout: RankLayout) -> str:
    """Where the ranks are, and how they meet."""
    line = f"{layout.world} rank{'s' if layout.world > 1 else ''} on the {'GPU' if layout.gpu else 'CPU'}"
    if not torchrun.started_outside():
        return line
    launcher = "torchrun" if torchrun.under_torchrun() else "srun"
    machines = "this machine" if layout.nodes == 1 else f"{layout.nodes} machines, {layout.local_world} on this one"
    at = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    own = "; each machine has a cache of its own, or they share one" if layout.nodes > 1 else ""
    return f"{line}, on {machines}, started by {launcher}; they meet at {at}{own}"


def _about(section: str, problems: Sequence[Problem]) -> list[str]:
    """The names under ``section`` that problems are about: world for callbacks.world.view."""
    keys = [problem.key.split(".") for problem in problems]
    return [key[1] for key in keys if key[0] == section and len(key) > 1]


def _found(what: str, about: str) -> None:
    print(f"found    {what}: {about}", flush=True)


def _start(config: Config, layout: RankLayout, missing: list[Problem]) -> RunStart:
    """Where the run would begin; at its beginning where that is not known, so that the rest is checked."""
    from clip_align.training.resume import first_start, run_start

    try:
        start = run_start(config, layout.world)
    except UserError as error:
        missing.extend(error.problems)
        return first_start(config, layout.world)
    for line in start.lines:
        print(line, flush=True)
    if start.checkpoint is not None:
        _found("run", f"step {start.step:,} of {start.max_steps:,} ({start.checkpoint.name})")
    return start


def _cache(configured: str | None, stack: ExitStack, missing: list[Problem]) -> Path:
    """The cache that the run would use; a temporary one where that cannot be used, so that the rest is checked."""
    try:
        cache, line = user_cache(configured)
    except UserError as error:
        missing.extend(error.problems)
        return Path(stack.enter_context(tempfile.TemporaryDirectory()))
    _found("paths.cache", line or str(cache))
    return cache


@dataclass(frozen=True)
class Found:
    """Data that are in order. samples: of an epoch, None where that is not known yet. captions: some of them; None
    where there are none to read yet.

    held_out: the samples that are not trained on; None where there are none to read yet.
    """

    samples: int | None
    captions: Callable[[int], Iterable[str]] | None
    held_out: Callable[[], object] | None = None


def _data(start: RunStart, world: int, cache: Path, missing: list[Problem]) -> Found | None:
    """The training data; None where they are not in order."""
    from clip_align.data.sources.base import source
    from clip_align.data.training_data import TrainingData

    config = start.config
    if known := source(config.data).described(cache):
        _found("data", known[0])
        return Found(known[1], None)
    data = TrainingData(
        config.data,
        None,
        None,
        config.seed,
        0,
        world,
        cache,
        config.trainer.accumulate,
        lambda line: print(line),
        config.trainer.accumulate_grad_batches,
    )
    try:
        for line in data.check():
            _found("data", line.removeprefix("data: "))
        start.cursor(data.fingerprint)  # whether a resumed run may be trained on these
        start.check_held_out(data.held_out_limit)
    except UserError as error:
        missing.extend(error.problems)
        return None
    if data.data.downloads:
        return Found(data.samples, None)
    return Found(data.samples, data.captions, lambda: data.held_out)


def _initial_words(start: RunStart, missing: list[Problem]) -> Sequence[str] | None:
    """Print what a new run would start from; the words of its tokenizer, None where these are not its own."""
    from clip_align.training.initial_weights import initial_weights

    config = start.config
    if start.own or (config.init_from is None and config.model.pretrained is None):
        return None
    try:
        initial = initial_weights(config, fetch=False)
        if initial is None:
            what = f"{config.model.pretrained} of {config.model.name}, from open_clip's cache"
            print(f"note     model.pretrained: {what}, or downloaded when the run starts", flush=True)
            return None
        initial.load(shape_of(config.model, initial.words))
    except UserError as error:
        missing.extend(error.problems)
        return None
    _found(initial.key, initial.line.removeprefix(f"{initial.key}: "))
    return initial.words


def _words(start: RunStart, data: Found | None) -> list[str] | None:
    """Words that the tiny model's tokenizer would know, from the run or the captions; None where they cannot be had."""
    from clip_align.training.components import tiny_words

    if start.words is not None or not start.config.model.has_words:
        return start.words
    if data is None or data.captions is None:
        return None
    return tiny_words(start.config.model, data.captions)


def _callbacks(
    configured: Mapping[str, CallbackConfig],
    model: ModelConfig,
    data: DataConfig,
    words: Sequence[str] | None,
    held_out: Callable[[], object] | None,
    cache: Path,
    stack: ExitStack,
    missing: list[Problem],
) -> dict[str, PerceptualCallback]:
    """Those that find their data, built as the run would build them, adapted to the model that it would train.

    Args:
        configured: the callbacks by name.
        model: that would be trained.
        data: that it would be trained on: a world may be theirs.
        words: that a tiny model knows, None where they are not known yet.
        held_out: samples that would not be trained on, None where they are not known yet.
        cache: folder in which the world may be rendered already.
        stack: removes what is made for the dry run alone.
        missing: grows by what a callback does not find.
    """
    from clip_align.callbacks.build import build_callbacks
    from clip_align.callbacks.common.held_out_images import without_class_names
    from clip_align.data.sources.base import source
    from clip_align.data.world.shards import ensure_held_out, rendered_held_out
    from clip_align.evaluation.prepare import images_per_event, why_null

    built: dict[str, PerceptualCallback] = {}
    given: dict[str, Any] = {} if held_out is None else {HELD_OUT: held_out}
    evaluated_model = _evaluated_model(model, words)
    for name, callback in configured.items():
        if held_out is None and takes(callback.target, HELD_OUT):
            print(f"note     callbacks.{name}: not checked, as the samples held out are not known yet", flush=True)
            continue
        if "world" in callback.arguments and "world" not in given:  # 2 s to render where there is none yet
            settings = source(data).world
            there = rendered_held_out(cache, settings)
            if there is None:
                there = ensure_held_out(Path(stack.enter_context(tempfile.TemporaryDirectory())), settings)
            given["world"] = there
        try:
            (one,) = build_callbacks({name: callback}, given)
            one.null_reason = why_null(one, evaluated_model)
        except UserError as error:
            missing.extend(error.problems)
            continue
        built[name] = one
        if one.null_reason is not None:
            print(f"null     callbacks.{name}: {one.key} in the whole run: {one.null_reason}", flush=True)
            continue
        images = images_per_event([one], evaluated_model.image_size)
        _found(f"callbacks.{name}", f"{one.key}, {images:,} images an event, every {one.every_n_steps:,} steps")
    if line := without_class_names([*built.values()]):
        print(f"note     {line}", flush=True)
    return built


def _best(
    settings: CheckpointConfig,
    callbacks: Sequence[PerceptualCallback],
    weights: Sequence[str],
    missing: list[Problem],
) -> None:
    """Whether the callbacks write, with these sets of weights, the score whose best checkpoint is kept."""
    from clip_align.training.components import best_direction

    try:
        best_direction(settings, callbacks, weights)
    except UserError as error:
        missing.extend(error.problems)


def _batch_bytes(model: ModelConfig, batch_size: int) -> int:
    """Shared memory that a batch takes; 0 where the model cannot be built, which has its own lines."""
    from clip_align.data.shared_memory import batch_bytes

    try:
        shape = shape_of(model)
    except UserError:
        return 0
    return batch_bytes(batch_size, shape.image_size, shape.tokenizer(["word"]).shape[1])


def _shared_memory(one_batch: int, workers: int, local_world: int, accumulate: int, missing: list[Problem]) -> None:
    """What batches under way take of /dev/shm.

    Args:
        one_batch: bytes of a batch; 0 where they are not known.
        workers: of each rank.
        local_world: ranks on this machine.
        accumulate: batches that are trained on together.
        missing: grows where that is more than is free.
    """
    from clip_align.data.shared_memory import batches_under_way, mib, shared_memory_problem

    if not workers or not one_batch:
        return
    batches = batches_under_way(workers, accumulate) * local_world
    costs("shared memory", f"{mib(one_batch * batches)} for {batches} batches under way")
    missing.extend(filter(None, [shared_memory_problem(one_batch, workers, local_world, accumulate)]))


class _AnyWords:
    """A tokenizer that nobody calls, of a model whose words are not known yet."""

    def __call__(self, texts: list[str]) -> torch.Tensor:
        raise NotImplementedError


def _evaluated_model(model: ModelConfig, words: Sequence[str] | None) -> EvaluatedModel:
    """The model that would be trained, without its weights; where its words are not known it knows all."""
    from clip_align.evaluation.evaluated_model import EvaluatedModel

    clip = shape_of(model, words)
    tokenizer = clip.tokenizer if words is not None or not model.has_words else _AnyWords()
    return EvaluatedModel(clip.model, clip.image_size, clip.mean, clip.std, tokenizer)
