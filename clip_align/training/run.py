# SPDX-License-Identifier: Apache-2.0
"""A training run from its configuration to its exit code, on every rank."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist

from clip_align.callbacks.base import attach
from clip_align.config import Config, from_plain, to_plain
from clip_align.errors import UserError
from clip_align.evaluation.ranks import Ranks
from clip_align.evaluation.schedule import event_steps
from clip_align.evaluation.session import EvaluationSettings
from clip_align.run_folder import user_cache
from clip_align.tracking.lines import Lines
from clip_align.training.ending import Ending
from clip_align.training.finish import finish, known_untrained
from clip_align.training.launch import Children, Place, environment_of, free_port, meet, place
from clip_align.training.lightning import compile_towers
from clip_align.training.loop import Loop, Surroundings, loop_of
from clip_align.training.module import CLIPModule
from clip_align.training.opening import Opened, folder_of, open_run
from clip_align.training.prepare import Ready, prepare, seed_everything
from clip_align.training.progress import Costs, Whereabouts
from clip_align.training.signals import Signals
from clip_align.training.start import Start, global_batch, start_of


def run(config: Config, argv: Sequence[str]) -> int:
    """Train as configured. Returns the exit code: 0 done, 1 failed, 2 refused, 130 Ctrl-C, 143 SIGTERM.

    Errors are printed, a line each. ``argv``: the command as typed, for the provenance. Every rank that
    torchrun starts calls this too.
    """
    ending = Ending(Signals())
    with ending.signals.installed(), ending.followed():
        _run(config, argv, ending)
    return ending.code


def run_child() -> int:
    """A rank that another process of ours has started; the configuration comes on standard input."""
    return run(from_plain(json.load(sys.stdin)), [])


def _run(config: Config, argv: Sequence[str], ending: Ending) -> None:
    here = place(config.trainer, torch.cuda.device_count(), os.environ)
    ending.rank, ending.world = here.rank, here.world
    start, ready = _begun(config, here, ending) if here.rank == 0 else (None, None)
    if start is not None and start.done and here.children:
        return
    meet(here)  # the other ranks wait here until the first one has made what is made once
    ranks = Ranks()
    start = ranks.broadcast(start)
    if start is None or start.done:
        return
    ready = ranks.together(lambda: ready or _ready(start, here, _silent), UserError, "preparation")
    opened = ranks.together(lambda: _opened(start, ready, here, argv, ending), UserError, "run folder")
    folder = ranks.broadcast(opened.run.checkpoints if opened else Path())
    loop = _trained(start, ready, here, ranks, opened, folder, ending)
    if ending.children is not None:
        ending.children.may_end()
    ending.code = 128 + loop.poll.stopping if loop.poll.stopping else 0
    if here.world > 1:
        dist.destroy_process_group()
    if opened is not None and ending.code == 0:
        finish(start.config, ready, opened, here.device, loop.where.position(), ending.signals)
        ending.code = ending.signals.exit_code


def _begun(config: Config, here: Place, ending: Ending) -> tuple[Start, Ready | None]:
    """The first rank alone: decide where to start, start the others, make what is made once."""
    start = start_of(config, here.world)
    say = Lines()
    for line in start.lines:
        say(line)
    if start.done:
        return start, None
    if here.children:
        port = free_port()
        os.environ.update(environment_of(0, here.world, port))
        ending.children = Children(to_plain(config), here.world, port, ending.lost)
    return start, _ready(start, here, say)


def _ready(start: Start, here: Place, say: Callable[[str], None]) -> Ready:
    cache, line = user_cache(start.config.paths.cache)
    if line:
        say(line)
    return prepare(start, here, cache, say)


def _opened(start: Start, ready: Ready, here: Place, argv: Sequence[str], ending: Ending) -> Opened | None:
    if here.rank != 0:
        return None
    known_untrained(start.config, ready)
    run = folder_of(start)
    ending.folder = run.path
    opened = open_run(run, start, ready, here, argv)
    ending.record = opened.record
    return opened


def _trained(
    start: Start, ready: Ready, here: Place, ranks: Ranks, opened: Opened | None, folder: Path, ending: Ending
) -> Loop:
    """Train to the last step, or until a signal."""
    config, clip = start.config, ready.clip
    fused = config.trainer.precision != "16-mixed"
    module = CLIPModule(clip.model, clip.mean, clip.std, start.optimizer, start.max_steps, fused)
    if config.trainer.compile:
        compile_towers(clip.model)
    where = Whereabouts(global_batch(config, here.world), ready.cursor, start.wall_seconds, start.step)
    carried = {
        "config": to_plain(replace(config, resume=None, dry_run=False)),
        "words": ready.words,
        "data_fingerprint": ready.data.found.fingerprint,
    }
    record, costs = (opened.record, opened.costs) if opened else (None, Costs())
    events = event_steps(ready.callbacks, config.evaluation.early_steps, start.max_steps)
    around = Surroundings(ranks, ending.signals, record, costs, tuple(events), ready.higher_is_better)
    loop = loop_of(config, module, ready.loader, where, start.max_steps, around, folder, carried)
    settings = EvaluationSettings(
        cache=ready.cache,
        record=record,
        batch_size=config.evaluation.batch_size,
        early_steps=config.evaluation.early_steps,
        max_steps=start.max_steps,
        subject=ready.subject,
        position=lambda step: where.position(),
        interrupted=loop.poll.interrupted,
        say=opened.say if opened else _silent,
        listeners=(loop.checkpoints.evaluated,),
    )
    attach(ready.callbacks, settings)
    seed_everything(config.seed + (here.rank + 1) * 1_000_003)  # the weights are drawn; from here on ranks differ
    ending.position = where.position
    loop.run(config, here, start.max_steps, ready.callbacks, start.checkpoint)
    return loop


def _silent(line: str) -> None:
    """What rank 0 says is said once."""
