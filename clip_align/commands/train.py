# SPDX-License-Identifier: Apache-2.0
"""``train``: check everything that can be checked without torch, then train; also sweeps, dry runs and help."""

from __future__ import annotations

from collections.abc import Sequence

from clip_align.commands.early_checks import seen
from clip_align.errors import UserError
from clip_align.processes import torchrun
from clip_align.settings.load_config import load_with_problems

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

        return multirun(overrides)
    config, problems = load_with_problems(overrides)
    if config is not None and config.dry_run and all(problem.missing for problem in problems):
        from clip_align.commands.dry_run import dry_run

        return dry_run(config, problems)
    # The first rank alone looks at folders and files: the others may come when it has begun to write.
    if config is not None and torchrun.rank() == 0:
        problems += seen(config, problems)
    if problems or config is None:
        raise UserError(*problems)
    from clip_align.training.run import run  # torch and Lightning: seconds

    return run(config, ["clip-align", "train", *arguments])
