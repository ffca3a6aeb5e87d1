# SPDX-License-Identifier: Apache-2.0
"""A training run from its configuration to its exit code, on every rank."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist

from clip_align.callbacks.base import attach
from clip_align.config import Config, from_plain, to_plain
from clip_align.data.progress import Notify, Progress
from clip_align.data.shared_memory import batch_bytes, shared_memory_problem
from clip_align.errors import UserError
from clip_align.evaluation.evaluator import EvaluationSettings
from clip_align.evaluation.schedule import event_steps
from clip_align.kinds import INTERVENTIONS, LOSSES
from clip_align.processes.ranks import Ranks
from clip_align.processes.stop_signals import exit_code
from clip_align.runs.folder import user_cache
from clip_align.tracking.console_lines import Lines
from clip_align.training.after_training import add_cached_untrained, after_training
from clip_align.training.clip_module import CLIPModule
from clip_align.training.components import RunComponents, prepare, seed_everything
from clip_align.training.launch_ranks import (
    ChildRanks,
    RankLayout,
    environment_of,
    free_port,
    join_process_group,
    rank_layout,
)
from clip_align.training.open_run import OpenedRun, folder_of, open_run
from clip_align.training.resume import RunStart, global_batch, resume_command, run_start
from clip_align.training.run_end import RunEnd
from clip_align.training.stall_watch import Limits, Watch
from clip_align.training.train_log import EvaluationCosts, RunPosition
from clip_align.training.trainer import compile_towers
from clip_align.training.training_loop import LoopContext, TrainingLoop, build_loop

OTHERS_LATER_S = 30.0  # the first rank ends a run that waits too long: it can save, and say why


def run(config: Config, argv: Sequence[str]) -> int:
    """Train as configured. Returns the exit code: 0 done, 1 failed, 2 refused, 130 Ctrl-C, 143 other signals.

    Errors are printed, a line each. ``argv``: the command as typed, for the provenance. Every rank that
    torchrun starts calls this too.
    """
    run_end = RunEnd()
    with run_end.signals.installed(), run_end.followed():
        _run(config, argv, run_end)
    return run_end.code


def run_child() -> int:
    """A rank that another process of ours has started; the configuration comes on standard input."""
    return run(from_plain(json.load(sys.stdin)), [])


def _run(config: Config, argv: Sequence[str], run_end: RunEnd) -> None:
    layout = rank_layout(config.trainer, torch.cuda.device_count(), os.environ)
    run_end.rank, run_end.world = layout.rank, layout.world
    start, components = _begun(config, layout, run_end) if layout.rank == 0 else (None, None)
    if start is not None and start.done and layout.children:
        return
    limit_s = config.trainer.stall_limit_seconds
    peers = join_process_group(
        layout, limit_s
    )  # the other ranks wait here until the first one has made what is made once
    ranks = Ranks()
    start = ranks.broadcast(start)
    if start is None or start.done:
        return
    components = ranks.together(lambda: components or _ready(start, layout, _silent), UserError, "preparation")
    opened = ranks.together(lambda: _opened(start, components, layout, argv, run_end), UserError, "run folder")
    folder = ranks.broadcast(opened.run.checkpoints if opened else Path())
    watch = Watch(
        Limits(config.trainer.stall_warning_seconds, limit_s + (OTHERS_LATER_S if layout.rank else 0.0)),
        run_end.signals,
        peers,
        opened.notify if opened else _silent,
        components.loader.workers.kill,
        run_end.stuck,
    )
    run_end.watch, run_end.workers = watch, components.loader.workers
    loop = _trained(start, components, layout, ranks, opened, folder, run_end, watch)
    watch.stop()
    if run_end.children is not None:
        run_end.children.may_end()
    run_end.code = exit_code(loop.stop_check.stopping)
    if layout.world > 1:
        dist.destroy_process_group()
    if opened is not None and run_end.code == 0:
        after_training(start.config, components, opened, layout.device, loop.run_position.position(), run_end.signals)
        run_end.code = run_end.signals.exit_code


def _begun(config: Config, layout: RankLayout, run_end: RunEnd) -> tuple[RunStart, RunComponents | None]:
    """The first rank alone: decide where to start, start the others, make what is made once."""
    start = run_start(config, layout.world)
    notify = Lines()
    for line in start.lines:
        notify(line)
    if start.done:
        return start, None
    if layout.children:
        port = free_port()
        os.environ.update(environment_of(0, layout.world, port))
        run_end.children = ChildRanks(to_plain(config), layout.world, port, run_end.lost)
    return start, _ready(start, layout, notify)


def _ready(start: RunStart, layout: RankLayout, notify: Notify) -> RunComponents:
    cache, line = user_cache(start.config.paths.cache)
    if line:
        notify(line)
    components = prepare(start, layout, cache, notify)
    loader = components.loader
    context = components.clip.tokenizer(["a"]).shape[1]
    one = batch_bytes(start.config.data.batch_size, components.clip.image_size, context)
    if problem := shared_memory_problem(one, loader.num_workers, layout.local_world):
        raise UserError(problem)
    return components


def _opened(
    start: RunStart, components: RunComponents, layout: RankLayout, argv: Sequence[str], run_end: RunEnd
) -> OpenedRun | None:
    if layout.rank != 0:
        return None
    add_cached_untrained(start.config, components)
    run = folder_of(start)
    run_end.folder = run.path
    opened = open_run(run, start, components, layout, argv)
    run_end.record = opened.record
    return opened


def _trained(
    start: RunStart,
    components: RunComponents,
    layout: RankLayout,
    ranks: Ranks,
    opened: OpenedRun | None,
    folder: Path,
    run_end: RunEnd,
    watch: Watch,
) -> TrainingLoop:
    """Train to the last step, or until a signal."""
    config, clip = start.config, components.clip
    fused = config.trainer.precision != "16-mixed"
    loss = LOSSES.build(config.loss.kind, config.loss.options)
    intervention = INTERVENTIONS.build(config.intervention.kind, config.intervention.options)
    module = CLIPModule(clip.model, clip.mean, clip.std, start.optimizer, start.max_steps, fused, loss, intervention)
    if config.trainer.compile:
        compile_towers(clip.model)
    batch = global_batch(config.data.batch_size, layout.world, config.trainer.accumulate)
    run_position = RunPosition(batch, components.cursor, start.wall_seconds, start.step)
    carried = {
        "config": to_plain(replace(config, resume=None, dry_run=False)),
        "words": components.words,
        "data_fingerprint": components.data.found.fingerprint,
    }
    record, evaluation_costs = (opened.record, opened.evaluation_costs) if opened else (None, EvaluationCosts())
    events = event_steps(components.callbacks, config.evaluation.early_steps, start.max_steps)
    resume_with = resume_command(opened.run, config.paths) if opened else ""
    context = LoopContext(
        ranks,
        run_end.signals,
        record,
        evaluation_costs,
        tuple(events),
        components.higher_is_better,
        resume_with,
        watch,
    )
    loop = build_loop(config, module, components.loader, run_position, start.max_steps, context, folder, carried)

    def interrupted() -> bool:
        watch.progress()
        return loop.stop_check.interrupted()

    settings = EvaluationSettings(
        cache=components.cache,
        record=record,
        batch_size=config.evaluation.batch_size,
        early_steps=config.evaluation.early_steps,
        max_steps=start.max_steps,
        evaluated_model=components.evaluated_model,
        position=lambda step: run_position.position(),
        interrupted=interrupted,
        notify=opened.notify if opened else _silent,
        log=opened.log if opened else _silent,
        listeners=(loop.checkpoints.evaluated,),
    )
    attach(components.callbacks, settings)
    seed_everything(config.seed + (layout.rank + 1) * 1_000_003)  # the weights are drawn; from here on ranks differ
    run_end.position, run_end.rescue = run_position.position, loop.rescue.save
    loop.run(config, layout, start.max_steps, components.callbacks, start.checkpoint)
    return loop


def _silent(what: str | Progress) -> None:
    """What rank 0 says is said once."""
