# SPDX-License-Identifier: Apache-2.0
"""``train``: check everything that can be checked without torch, then train; also sweeps, dry runs and help."""

from __future__ import annotations

import os
from collections.abc import Sequence

from clip_align.commands.early_checks import seen
from clip_align.config_plain import to_plain
from clip_align.errors import Problem, UserError
from clip_align.processes import slurm, torchrun
from clip_align.runs.provenance import remember_sweep, typed_command, version
from clip_align.settings.hidden_options import report_hidden
from clip_align.settings.load_config import load, load_with_problems

MULTIRUN = ("--multirun", "-m")
HELP = ("--help", "-h")
SUMMARY = "train a CLIP and watch its agreement with human vision evolve"


def main(arguments: Sequence[str]) -> int:
    """Train with the ``key=value`` arguments; returns the exit code."""
    if any(a in HELP for a in arguments):
        from clip_align.commands.train_help import of_group, text

        groups = [a for a in arguments if a not in HELP]
        print("\n\n".join(map(of_group, groups)) if groups else text())
        return 0
    if "--version" in arguments:
        print(version())
        return 0
    if "--cfg" in arguments:
        return show([a for a in arguments if a not in ("--cfg", "job")])  # Hydra's form: --cfg job
    os.environ.update(slurm.as_ranks(os.environ))
    if problem := torchrun.problem():  # first of all: each of those ranks would report everything else as well
        raise UserError(problem)
    overrides = [a for a in arguments if a not in MULTIRUN]
    if len(overrides) < len(arguments):
        from clip_align.commands.multirun import multirun

        remember_sweep(typed_command(arguments))  # its runs know only their own command
        return multirun(overrides)
    if torchrun.rank() > 0 and torchrun.started_outside():
        return _other_rank(overrides, typed_command(arguments))
    config, problems = load_with_problems(overrides)
    if torchrun.rank() == 0:
        report_hidden(overrides)
    # a dry run reports what is missing together with what it finds
    if config is not None and config.dry_run and all(problem.missing for problem in problems):
        from clip_align.commands.dry_run import dry_run

        return dry_run(config, problems)
    # Only the first rank checks folders and files: later ranks would see what it has begun to write.
    found = len(problems)
    if config is not None and torchrun.rank() == 0:
        problems += seen(config, problems)
    if problems or config is None:
        if len(problems) > found or _without_resume(overrides) != overrides:
            _tell_other_ranks(problems)
        raise UserError(*problems)
    from clip_align.training.run import run  # imports torch and Lightning, which takes seconds

    return run(config, typed_command(arguments))


def _other_rank(overrides: Sequence[str], command: Sequence[str]) -> int:
    """A rank of several that torchrun or srun has started: it takes over rank 0's configuration.

    Its own is read for the paths of its machine and for mistakes; without ``resume``, since the run may lie on rank
    0's machine alone.
    """
    own = _without_resume(overrides)
    config, problems = load_with_problems(own)
    if config is not None and config.dry_run:  # the first rank prints for all
        return 0
    if config is None or (problems and own == overrides):
        raise UserError(*problems)
    from clip_align.training.run import run

    return run(config, command)


def _without_resume(overrides: Sequence[str]) -> list[str]:
    return [o for o in overrides if o.partition("=")[0] != "resume"]


def _tell_other_ranks(problems: Sequence[Problem]) -> None:
    """Let ranks that srun has started end too, where they cannot find these problems; torchrun ends them itself."""
    if torchrun.started_outside() and not torchrun.under_torchrun():
        from clip_align.training.machines import refuse_others

        refuse_others(UserError(*problems).lines)


def show(overrides: Sequence[str]) -> int:
    """Print the configuration with the overrides, in the form of a run's ``config.yaml``."""
    import yaml  # type: ignore[import-untyped]  # Hydra brings it

    print(yaml.safe_dump(to_plain(load(overrides)), sort_keys=False, allow_unicode=True), end="")
    return 0
