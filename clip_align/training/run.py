# SPDX-License-Identifier: Apache-2.0
"""A training run from its configuration to its exit code, on every rank."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import Store  # type: ignore[attr-defined]  # documented there

from clip_align.callbacks.base import attach
from clip_align.config import Config, TrainerConfig
from clip_align.config_plain import from_plain, to_plain
from clip_align.data.progress import Notify, Progress
from clip_align.data.shared_memory import batch_bytes, shared_memory_problem
from clip_align.data.worker_count import usable_cores
from clip_align.errors import UserError
from clip_align.evaluation.evaluator import EvaluationSettings
from clip_align.evaluation.weights import EMA
from clip_align.kinds import INTERVENTIONS, LOSSES
from clip_align.processes import torchrun
from clip_align.processes.ranks import Ranks
from clip_align.processes.stop_signals import exit_code
from clip_align.runs.folder import user_cache
from clip_align.tracking.console_lines import Lines
from clip_align.training.after_training import add_cached_untrained, after_training
from clip_align.training.clip_module import CLIPModule
from clip_align.training.components import RunComponents, prepare
from clip_align.training.launch_ranks import (
    ChildRanks,
    RankLayout,
    environment_of,
    join_process_group,
    rank_layout,
)
from clip_align.training.machines import join_machines
from clip_align.training.open_run import OpenedRun, folder_of, open_run
from clip_align.training.process_state import process_state_kept
from clip_align.training.rendezvous import own_store
from clip_align.training.resume import RunStart, resume_command, run_start
from clip_align.training.run_end import RunEnd
from clip_align.training.same_on_all import check_same, facts_of
from clip_align.training.sent_checkpoint import on_every_machine
from clip_align.training.separate_run import run_separately
from clip_align.training.stall_watch import Limits, Peers, Watch
from clip_align.training.train_log import LogSchedule, RunPosition, faster_data
from clip_align.training.trainer import compile_towers
from clip_align.training.training_loop import TrainingLoop, build_loop
from clip_align.training.weight_average import WeightAverage, span_of, weight_sets

OTHERS_LATER_S = 30.0  # the first rank ends a run that waits too long: it can save, and say why


def run(config: Config, argv: Sequence[str]) -> int:
    """Train as configured. Returns the exit code: 0 done, 1 failed, 2 refused, 130 Ctrl-C, 143 other signals.

    Errors are printed, a line each. ``argv``: the command as typed, for the provenance. Every rank that
    torchrun starts calls this too.
    """
    return _followed(config, argv, RunEnd()).code


def run_inside(config: Config, argv: Sequence[str]) -> RunEnd:
    """Train for somebody's program or notebook: in its process, whose global state is afterwards as it was.

    On several ranks of this machine all of them are other processes. Returns how the run ended: errors are in
    ``reasons``, and not printed. Arguments as of `run`. UserError where this machine does not have the ranks.
    """
    if rank_layout(config.trainer, torch.cuda.device_count(), os.environ).children:
        return run_separately(config, argv)
    with process_state_kept():
        return _followed(config, argv, RunEnd(own_process=False))


def run_first(plain: Mapping[str, Any], argv: Sequence[str], errors: Path) -> int:
    """The first rank of `run_separately`, in a process of its own; returns the exit code.

    Args:
        plain: the configuration as plain python.
        argv: the command as typed.
        errors: file that takes the run's errors, a line each.
    """

    def write(line: str) -> None:
        with errors.open("a", encoding="utf-8") as file:
            print(line, file=file)

    return _followed(from_plain(plain), argv, RunEnd(print_error=write)).code


def run_child() -> int:
    """A rank that another process of ours has started; the configuration comes on standard input."""
    return run(from_plain(json.load(sys.stdin)), [])


def _followed(config: Config, argv: Sequence[str], run_end: RunEnd) -> RunEnd:
    with run_end.signals.installed(), run_end.followed():
        _run(config, argv, run_end)
    return run_end


def _run(config: Config, argv: Sequence[str], run_end: RunEnd) -> None:
    store = None
    if torchrun.started_outside():
        run_end.rank, run_end.world = torchrun.rank(), int(os.environ["WORLD_SIZE"])
        run_end.first_here = torchrun.first_on_machine()
        config, store = join_machines(config, argv, run_end, Lines() if run_end.first_here else _silent)
    layout = rank_layout(config.trainer, torch.cuda.device_count(), os.environ)
    run_end.rank, run_end.world, run_end.first_here = layout.rank, layout.world, layout.local_rank == 0
    notify: Notify = Lines() if layout.rank == 0 else _silent
    start, components = None, None
    if layout.rank == 0:
        start = _decide_start(config, layout, notify)
        if start.done and layout.children:
            return  # none was started that would wait
        if layout.children:
            store = _start_children(config, layout, run_end)
        components = None if start.done else _build_components(start, layout, notify)
    # The other ranks wait here until the first one has made what is made once.
    waiting: Notify = Lines() if layout.local_rank == 0 else _silent  # one voice a machine
    settings = config.trainer
    peers = join_process_group(layout, settings.stall_warning_seconds, settings.stall_limit_seconds, waiting, store)
    ranks = Ranks()
    start = ranks.broadcast(start)
    if start is None or start.done:
        return
    # the cache folder is each machine's own
    start = replace(start, config=replace(start.config, paths=config.paths))
    components = _on_all_ranks(start, components, layout, ranks, notify)
    # a resumed run holds out as many, also of data that have grown
    data = replace(start.config.data, held_out=components.held_out)
    resolved = replace(start, config=replace(start.config, data=data))
    opened = ranks.together(
        lambda: _open_record(resolved, components, layout.world, argv, run_end) if layout.rank == 0 else None,
        UserError,
        "run folder",
    )
    loop = _train(resolved, components, opened, layout, ranks, peers, run_end)
    if run_end.children is not None:
        run_end.children.may_end()
    if run_end.lifeline is not None:
        run_end.lifeline.end()
    run_end.code = exit_code(loop.stop_check.stopping)
    if layout.world > 1:
        # what follows is rank 0's alone: the others end here
        dist.destroy_process_group()
    if opened is not None and run_end.code == 0:
        after_training(
            start.config.model,
            start.config.trainer.precision,
            start.config.evaluation.batch_size,
            components,
            opened,
            layout.device,
            loop.run_position.position(),
            run_end.signals,
        )
        run_end.code = run_end.signals.exit_code


def _decide_start(config: Config, layout: RankLayout, notify: Notify) -> RunStart:
    """On the first rank: read where the run begins."""
    start = run_start(config, layout.world)
    for line in start.lines:
        notify(line)
    return start


def _start_children(config: Config, layout: RankLayout, run_end: RunEnd) -> Store:
    """On the first rank: open the store in which all ranks meet, and start the others, which wait there."""
    store, port = own_store(layout.world)
    os.environ.update(environment_of(0, layout.world, port))
    run_end.children = ChildRanks(to_plain(config), layout.world, port, run_end.lost)
    return store


def _on_all_ranks(
    start: RunStart, components: RunComponents | None, layout: RankLayout, ranks: Ranks, notify: Notify
) -> RunComponents:
    """Build data, model and callbacks on all ranks but the first, which has them. UserError where ranks differ.

    The first rank of each machine comes before the others of it: what is made once lies in that machine's cache then.
    """
    if layout.nodes > 1:
        notify("ranks: all have joined; the other machines prepare what rank 0's has in its cache")
    for first_ones in (True, False):
        now = components is None and (layout.local_rank == 0) == first_ones
        build = partial(_build_components, start, layout, notify) if now else lambda: None
        components = ranks.together(build, UserError, "preparation") or components
    if components is None:
        raise RuntimeError("every rank is the first one of its machine or another")  # cannot be
    check_same(facts_of(components), ranks)
    return components


def _build_components(start: RunStart, layout: RankLayout, notify: Notify) -> RunComponents:
    """On every rank: data, model and callbacks; UserError also where shared memory would not hold the batches."""
    cache, line = user_cache(start.config.paths.cache)
    if line:
        notify(line)
    components = prepare(start, layout, cache, notify)
    model, loader = components.evaluated_model, components.loader
    context = model.tokenizer(["a"]).shape[1] if model.tokenizer is not None else 0
    accumulate = start.config.trainer.accumulate
    one = batch_bytes(start.config.data.batch_size, model.image_size, context)
    if problem := shared_memory_problem(one, loader.num_workers, layout.local_world, accumulate):
        raise UserError(problem)
    return components


def _open_record(
    start: RunStart, components: RunComponents, world: int, argv: Sequence[str], run_end: RunEnd
) -> OpenedRun:
    """On the first rank: the run's folder and record; from here on a failure is noted in them."""
    config = start.config
    add_cached_untrained(components, config.model, config.trainer.precision)
    folder, run_end.lock = folder_of(start)
    run_end.folder = folder.path  # before the record is opened: a failure there is noted in the folder
    opened = open_run(folder, start, components, world, argv)
    run_end.record = opened.record
    return opened


def _train(
    start: RunStart,
    components: RunComponents,
    opened: OpenedRun | None,
    layout: RankLayout,
    ranks: Ranks,
    peers: Peers | None,
    run_end: RunEnd,
) -> TrainingLoop:
    """On every rank: build the loop, hand it to what ends the run, and train to the last step or until a signal."""
    config = start.config
    folder = ranks.broadcast(opened.run.checkpoints if opened else Path())
    watch = _build_watch(config.trainer, components, opened, layout.rank, peers, run_end)
    run_end.watch, run_end.workers = watch, components.loader.workers
    run_position = RunPosition(start.global_batch, components.cursor, start.wall_seconds, start.step)
    advice = faster_data(components.loader.num_workers, usable_cores())
    module = _build_module(start, components)
    loop = build_loop(
        module,
        components.loader,
        run_position,
        LogSchedule(config.trainer.log_every_n_steps, start.max_steps, components.event_steps, advice),
        config.checkpoint,
        folder,
        {
            "config": to_plain(replace(config, resume=None, dry_run=False)),
            "words": components.words,
            "data_fingerprint": components.data_provenance["data_fingerprint"],
            "held_out_limit": components.held_out_limit,
        },
        ranks=ranks,
        signals=run_end.signals,
        record=opened.record if opened else None,
        evaluation_costs=opened.evaluation_costs if opened else None,
        higher_is_better=components.higher_is_better,
        resume_with=resume_command(opened.run, config.paths) if opened else "",
        watch=watch,
        seed=config.seed,
        accumulate=config.trainer.accumulate,
    )

    def interrupted() -> bool:
        watch.progress()
        return loop.stop_check.interrupted()

    average = module.average
    settings = EvaluationSettings(
        cache=components.cache,
        record=opened.record if opened else None,
        batch_size=config.evaluation.batch_size,
        schedule=components.schedule,
        evaluated_model=components.evaluated_model,
        position=lambda step: run_position.position(),
        interrupted=interrupted,
        notify=opened.notify if opened else _silent,
        log=opened.log if opened else _silent,
        # in this order: a best checkpoint knows that the average was evaluated
        listeners=(*([average.evaluated] if average else []), loop.checkpoints.evaluated),
        weights=weight_sets(config.evaluation.weights, average),
        notes=average.notes if average else dict,
    )
    attach(components.callbacks, settings)
    run_end.position, run_end.rescue, run_end.unsaved = run_position.position, loop.rescue.save, loop.rescue.lost
    notify = opened.notify if opened else _silent
    with on_every_machine(start.checkpoint, components.cache, layout.local_rank == 0, ranks, notify) as checkpoint:
        loop.run(config.trainer, layout, components.callbacks, checkpoint)
    watch.stop()
    return loop


def _build_module(start: RunStart, components: RunComponents) -> CLIPModule:
    config, evaluated = start.config, components.evaluated_model
    look = config.evaluation
    average = None
    if EMA in look.weights:
        span = span_of(look.horizon, look.horizon_steps, components.callbacks, components.schedule)
        average = WeightAverage(evaluated.model, span)
    module = CLIPModule(
        evaluated.model,
        evaluated.mean,
        evaluated.std,
        start.optimizer,
        start.max_steps,
        fused=config.trainer.precision != "16-mixed",
        loss=LOSSES.build(config.loss.kind, config.loss.options),
        intervention=INTERVENTIONS.build(config.intervention.kind, config.intervention.options),
        average=average,
        tf32=config.trainer.tf32,
        channels_last=config.trainer.channels_last,
    )
    if components.initial is not None:
        components.initial.load_loss(config.loss.kind, module.loss, evaluated.model)
    if config.trainer.compile:
        compile_towers(evaluated.model, by_block=config.trainer.kind == "fsdp")
    return module


def _build_watch(
    settings: TrainerConfig,
    components: RunComponents,
    opened: OpenedRun | None,
    rank: int,
    peers: Peers | None,
    run_end: RunEnd,
) -> Watch:
    end_s = settings.stall_limit_seconds + (OTHERS_LATER_S if rank else 0.0)
    return Watch(
        Limits(settings.stall_warning_seconds, end_s),
        run_end.signals,
        peers,
        opened.notify if opened else _silent,
        components.loader.workers.kill,
        run_end.stuck,
    )


def _silent(what: str | Progress) -> None:
    """Takes the lines of all ranks but the first, which prints them for all."""
