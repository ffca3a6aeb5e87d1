# SPDX-License-Identifier: Apache-2.0
"""``train``: check everything that can be checked without torch, then train; also sweeps, dry runs and help."""

from __future__ import annotations

from collections.abc import Sequence

from clip_align.commands.early_checks import cache_problems, data_problems, place_problem
from clip_align.config import Config
from clip_align.errors import UserError
from clip_align.processes import torchrun
from clip_align.runs.provenance import remember_sweep, typed_command
from clip_align.settings.load_config import load_with_missing

MULTIRUN = ("--multirun", "-m")
HELP = ("--help", "-h")


def main(arguments: Sequence[str]) -> int:
    """Train as the ``key=value`` arguments say; returns the exit code."""
    if any(a in HELP for a in arguments):
        from clip_align.commands.train_help import text

        print(text())
        return 0
    if problem := torchrun.problem():
        raise UserError(problem)
    overrides = [a for a in arguments if a not in MULTIRUN]
    if len(overrides) < len(arguments):
        from clip_align.commands.multirun import multirun

        remember_sweep(typed_command(arguments))
        return multirun(overrides)
    config, missing = load_with_missing(overrides)
    if config.dry_run:
        from clip_align.commands.dry_run import dry_run

        return dry_run(config, missing)
    refuse_early(config)
    from clip_align.training.run import run  # torch and Lightning: seconds

    return run(config, typed_command(arguments))


def refuse_early(config: Config) -> None:
    """Raise UserError for data, a run or a cache that cannot be used, before anything slow is imported.

    On the first rank only: the others may come when it has begun to write.
    """
    if torchrun.rank() != 0:
        return
    errors = [*data_problems(config), *filter(None, [place_problem(config)]), *cache_problems(config)]
    if errors:
        raise UserError(*errors)
