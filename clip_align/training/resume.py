# SPDX-License-Identifier: Apache-2.0
"""Where a run starts: a new folder, a checkpoint of an old one, or nowhere because it is done."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from clip_align.config import Config, OptimizerConfig, PathsConfig
from clip_align.config_plain import to_plain
from clip_align.errors import Problem, UserError
from clip_align.record.record import read
from clip_align.runs.folder import RunFolder, read_provenance, run_name, used_name
from clip_align.training.checkpoint_files import OWN, GivenUp, newest
from clip_align.training.default_intervals import with_default_intervals


@dataclass(frozen=True)
class RunStart:
    """What a run begins with, the same on all ranks.

    config: as given, with intervals for the run's length. optimizer: its warm-up cut to fit. max_steps: optimizer steps
    of the whole run. global_batch: samples of one of them, over all ranks and accumulated batches. folder: None until
    it is made. checkpoint: file to resume from; ``own``: our part of it; given_up: newer files that are damaged.
    wall_seconds: taken so far. done: nothing is left to do. lines: for the user.
    """

    config: Config
    optimizer: OptimizerConfig
    max_steps: int
    global_batch: int
    folder: Path | None = None
    checkpoint: Path | None = None
    given_up: tuple[GivenUp, ...] = ()
    own: Mapping[str, Any] = field(default_factory=dict)
    wall_seconds: float = 0.0
    done: bool = False
    lines: tuple[str, ...] = ()

    @property
    def step(self) -> int:
        """Optimizer steps that are behind us."""
        return int(self.own.get("global_step", 0))

    @property
    def contrastive_batch(self) -> int:
        """Samples that each one is contrasted with, itself included."""
        return self.global_batch // self.config.trainer.accumulate_grad_batches

    @property
    def words(self) -> list[str] | None:
        """Words of the tokenizer that the run was begun with; None for a new run, or a model without them."""
        return self.own.get("words")

    def cursor(self, fingerprint: str) -> tuple[list[int], str | None]:
        """Epoch and position of the next batch to train on, with these data; a line where they have moved or changed.

        A position in an epoch means something for the same samples only: with others in the same place the next epoch
        begins. UserError for others in another place, which was typed: that is more likely a mistake.
        """
        cursor = list(self.own.get("cursor", [0, 0]))
        before, moved = self.own.get("data_fingerprint"), self._moved()
        if moved and before != fingerprint:
            raise UserError(
                f"{moved}: not the data that {self.folder} was trained on so far (fingerprint {before or 'unknown'}, "
                f"now {fingerprint}); when a run is resumed its data may lie elsewhere, with the same names, sizes and "
                "order"
            )
        if before in (None, fingerprint):
            return cursor, f"{moved}: the same data as before, in another place" if moved else None
        line = f"data: not what {self.folder} was trained on so far (fingerprint {before}, now {fingerprint})"
        following = cursor[0] + 1
        return [following, 0], f"{line}; continuing with epoch {following} of these"

    def check_held_out(self, limit: str | None) -> None:
        """UserError where samples that the run may have been trained on would be held out from now on.

        ``limit``: `TrainingData.held_out_limit` of the present data.
        """
        before = self.own.get("held_out_limit")
        if self.own and limit is not None and (before is None or limit > before):
            what = f"among these samples are some that {self.folder} may have been trained on so far"
            advice = "keep its data and its data.held_out, or begin a new run"
            raise UserError(Problem("data.held_out", f"{what}; {advice}"))

    def _moved(self) -> str | None:
        """The key of the data's location, where it is not the one that the checkpoint was trained from."""
        if not self.own:
            return None
        now, before = to_plain(self.config)["data"], self.own["config"]["data"]
        return next((f"data.{key}" for key in ("shards", "csv", "root") if now.get(key) != before.get(key)), None)


def run_start(config: Config, world: int) -> RunStart:
    """Where to begin, read from the run's folder; nothing is written. UserError when it cannot be begun so."""
    start = first_start(config, world)
    if config.resume is not None:
        return _resumed(start, RunFolder(Path(config.resume)), world)
    folder = RunFolder(Path(config.paths.runs) / config.name) if config.name else None
    if folder is not None and folder.has_steps:  # refused before anything is prepared; the folder is made later
        raise UserError(used_name(folder, config.name or ""))
    return start


def first_start(config: Config, world: int) -> RunStart:
    """The beginning of a run of ``world`` ranks, whatever its folder holds. Its length is derived here alone."""
    batch = global_batch(config.data.batch_size, world, config.trainer.batches_per_step)
    max_steps = steps_of(config.trainer.max_steps, config.trainer.samples, batch)
    steps, line = warmup(config.optimizer.warmup_steps, max_steps)
    return RunStart(
        with_default_intervals(config, max_steps),
        replace(config.optimizer, warmup_steps=steps),
        max_steps,
        batch,
        lines=(line,) if line else (),
    )


def steps_of(max_steps: int | None, samples: int | None, batch: int) -> int:
    """Optimizer steps of the whole run.

    Args:
        max_steps: as configured; None where the length is given in samples.
        samples: over all ranks, as configured.
        batch: samples of one optimizer step, over all ranks.
    """
    return max_steps if max_steps is not None else math.ceil((samples or 1) / batch)


def global_batch(batch_size: int, world: int, accumulate: int) -> int:
    """Samples of one optimizer step, over all ranks and accumulated batches.

    Args:
        batch_size: samples of one batch on one rank.
        world: number of ranks.
        accumulate: batches of one optimizer step on each rank.
    """
    return batch_size * world * accumulate


def resume_command(run: RunFolder, paths: PathsConfig) -> str:
    """What to type to resume ``run``, as it was found."""
    return " ".join(["python train.py", *map(shlex.quote, resume_overrides(run, paths))])


def resume_overrides(run: RunFolder, paths: PathsConfig) -> list[str]:
    """The overrides that resume ``run``: paths belong to a call, not to the run, so they come again."""
    default, below = PathsConfig(), run.path.resolve().is_relative_to(Path(paths.runs).resolve())
    typed = [f"resume={run_name(run, paths.runs) if below else run.path}"]
    typed += [f"paths.runs={paths.runs}"] if paths.runs != default.runs else []
    typed += [f"paths.cache={paths.cache}"] if paths.cache != default.cache else []
    return typed


def warmup(configured: int, max_steps: int) -> tuple[int, str | None]:
    """Warm-up steps for a run of ``max_steps``, and a line when those configured had to be cut to a tenth of it."""
    if configured <= max_steps:
        return configured, None
    cut = max_steps // 10
    return cut, f"optimizer.warmup_steps: {configured} is longer than the run of {max_steps} steps; cut to {cut}"


def _check_batch(start: RunStart, own: Mapping[str, Any], run: RunFolder, world: int) -> None:
    """UserError where steps would have other samples than so far, or samples be contrasted with others.

    Args:
        start: with the present configuration.
        own: our part of the checkpoint.
        run: that is resumed.
        world: number of ranks now.
    """
    trainer, before = start.config.trainer, own["config"]["trainer"]
    # without the second key it is of an earlier release, where the first one meant that
    together = before["accumulate"] if "accumulate_grad_batches" in before else 1
    contrasted = int(own["config"]["data"]["batch_size"] * own["ranks"] * together)
    batch = contrasted * int(before.get("accumulate_grad_batches", before["accumulate"]))
    if (contrasted, batch) == (start.contrastive_batch, start.global_batch):
        return
    sizes = [n for n, rest in [divmod(contrasted, world * trainer.accumulate)] if n and not rest]
    parts = [n for n, rest in [divmod(contrasted, world * start.config.data.batch_size)] if n and not rest]
    ways = [*(f"data.batch_size={n}" for n in sizes), *(f"trainer.accumulate={n}" for n in parts)]
    raise UserError(
        f"resume: {run.path} was trained by {_ranks(own['ranks'])} in steps of {batch} samples, each contrasted with "
        f"{contrasted}, and would continue with {_ranks(world)}, {start.global_batch} and {start.contrastive_batch}; "
        f"both must stay: {'type ' + ' or '.join(ways) if ways else 'start a number of ranks that divides them'}"
    )


def _ranks(number: int) -> str:
    return f"{number} rank{'s' if number > 1 else ''}"


def _resumed(start: RunStart, run: RunFolder, world: int) -> RunStart:
    found = newest(run.checkpoints)
    if found is None:
        line = f"{run.path} holds no checkpoint: starting again" + (", old record kept aside" if run.has_steps else "")
        return replace(start, folder=run.path, lines=(*start.lines, line))
    path, own = found.path, found.content[OWN]
    step, total = int(own["global_step"]), start.max_steps
    _check_batch(start, own, run, world)
    if step > total:
        raise UserError(
            f"trainer: {run.path} has reached step {step}, beyond the {total} steps asked for; ask for more than {step}"
        )
    if step == total and read_provenance(run).get("status") == "done":
        line = (
            f"{run.path} is finished ({step} steps); nothing to do. To train on: trainer.max_steps=<more than {step}>"
        )
        return replace(start, folder=run.path, done=True, lines=(line,))
    before = own["config"]["trainer"]
    lines = [f"resume: checkpoint {file} is damaged and was given up ({reason})" for file, reason in found.given_up]
    lines.append(f"resuming from step {step} ({path.name})")
    if own["ranks"] != world:
        lines.append(
            f"ranks: {own['ranks']} before, {world} now; each step has the same samples, and losses differ by "
            "rounding, and by what a rank draws itself (dropout, noise)"
        )
    if before["max_steps"] != start.config.trainer.max_steps or before["samples"] != start.config.trainer.samples:
        lines.append(f"learning rate: {start.config.optimizer.schedule} schedule recomputed for {total} steps")
    kind = start.config.trainer.kind
    if (before["kind"] == "fsdp") != (kind == "fsdp"):  # of the others the ranks above say what differs
        lines.append(f"trainer: {kind} where it was {before['kind']}: the same steps, rounded differently")
    past = read(run.path)  # the record may be ahead of the checkpoint: the time of lost steps has passed too
    walls = [line.get("wall_seconds") or 0.0 for line in (*past.events, *past.train, *past.evaluations)]
    wall = float(max([own["wall_seconds"], *walls]))
    return replace(
        start,
        folder=run.path,
        checkpoint=path,
        given_up=found.given_up,
        own=own,
        wall_seconds=wall,
        lines=(*start.lines, *lines),
    )
