# SPDX-License-Identifier: Apache-2.0
"""``train --multirun``: check every combination first, then one subprocess a job, started by Hydra's launcher.

A job is a separate command, ``python -m clip_align train … name=<name>/<number>``, so that random state, process
group, tracker and signal handlers of one do not reach the next, and so that other launchers can start it elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from clip_align.commands import slurm_launcher
from clip_align.commands.early_checks import seen
from clip_align.config import Config
from clip_align.errors import FAILED, TERMINATED, Problem, UserError
from clip_align.processes import torchrun
from clip_align.processes.stop_signals import handled
from clip_align.runs.folder import bad_name
from clip_align.runs.place import unusable_run
from clip_align.settings.compose import PRIMARY, Sweep, hydra, sweep
from clip_align.settings.load_config import load_with_problems

# seconds; the terminal has sent Ctrl-C to the job too, and a second one at once would be a hard stop
AFTER_CTRL_C_S = 1.5


def multirun(overrides: Sequence[str]) -> int:
    """Run every combination; returns 0 if all succeeded, else 1. UserError before the first one starts."""
    found = sweep(overrides)
    jobs, configs = found.jobs, _checked(found)
    runs = Path(configs[0].paths.runs)  # one for the whole sweep, as its name is
    name = configs[0].name or time.strftime(f"{configs[0].experiment}-%Y%m%d-%H%M%S")
    _refuse_name(name, runs, len(jobs))
    chosen = slurm_launcher.options_of(jobs[0])
    how = "each a job" if chosen else "one after the other"
    print(f"sweep {runs / name}: {len(jobs)} run{'s' if len(jobs) > 1 else ''}, {how}", flush=True)
    settings = [o for o in found.typed if _key(o) != "name"]
    if "WANDB_RUN_ID" in os.environ:
        print(f"sweep {runs / name}: WANDB_RUN_ID is ignored: each run has its own wandb run", flush=True)
    if all(config.dry_run for config in configs):  # nothing is trained, so no folder is created
        unnamed = [[o for o in overrides if _key(o) != "name"] for overrides in jobs]
        # one after the other; the highest exit code
        return max(_run(overrides, f"{name}/{number}") for number, overrides in enumerate(unnamed))
    if chosen is not None:
        return slurm_launcher.launch(chosen, [(_of_run(o), f"{name}/{n}") for n, o in enumerate(jobs)], runs / name)
    with hydra():
        # Hydra's multirun with its launcher and sweeper, without its decorator, which would parse sys.argv
        entered = GlobalHydra.instance().hydra
        if entered is None:
            raise RuntimeError("Hydra is not initialised")  # cannot be: hydra() has initialized it
        results = entered.multirun(PRIMARY, job, [*settings, f"name={name}"], with_log_configuration=False)
    codes = [result.return_value for result in _flat(results)]
    failed = [f"{name}/{n} (exit code {code})" for n, code in enumerate(codes) if code]
    print(f"sweep {runs / name}: {len(codes) - len(failed)} of {len(codes)} done", flush=True)
    if failed:
        print(f"sweep {runs / name}: failed: {', '.join(failed)}", file=sys.stderr, flush=True)
    return FAILED if failed else 0


def job(config: DictConfig) -> int:
    """One run of a sweep in a separate process; returns its exit code. Called by Hydra, possibly on another machine."""
    settings = HydraConfig.get()
    number, name = int(settings.job.num), str(config.name)
    # the sweep's own name: each run gets another
    overrides = [str(o) for o in settings.overrides.task if _key(str(o)) != "name"]
    return _run(overrides, f"{name}/{number}")


def _run(overrides: Sequence[str], name: str) -> int:
    print(f"sweep: {name}: {' '.join(overrides)}", flush=True)
    # else every run would write into the same one of wandb's
    environment = {key: value for key, value in os.environ.items() if key != "WANDB_RUN_ID"}
    process = subprocess.Popen(command(overrides, name), env=environment)
    with _forwarded(process):
        return process.wait()


def command(overrides: Sequence[str], name: str) -> list[str]:
    """The command line of one run."""
    return [sys.executable, "-m", "clip_align", "train", *overrides, f"name={name}"]


@contextlib.contextmanager
def _forwarded(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """While a job runs, forward signals to it; after the job has ended in order, the sweep ends."""

    def terminated(number: int, frame: object) -> None:
        raise SystemExit(TERMINATED)

    # Ctrl-C keeps its KeyboardInterrupt
    before = {n: signal.signal(n, terminated) for n in handled() if n != signal.SIGINT}
    try:
        yield
    except KeyboardInterrupt:
        _end(process)
        raise
    except SystemExit:
        process.send_signal(signal.SIGTERM)  # whichever came: the job ends in order for each alike
        process.wait()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for an interrupted job; forward Ctrl-C if the terminal has not sent it to the job."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(AFTER_CTRL_C_S)
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(KeyboardInterrupt):  # a further Ctrl-C is forwarded in the next round
            process.wait()


def _checked(found: Sweep) -> list[Config]:
    """The configurations of all combinations; UserError with all their problems, each once."""
    errors: list[Problem] = []
    configs = []
    if torchrun.started():
        launcher = "torchrun" if torchrun.under_torchrun() else "srun"
        what = f"not under {launcher}; a sweep starts the ranks of each run itself (trainer=ddp)"
        errors.append(Problem("--multirun", what))
    if any(_key(o) == "resume" for o in found.typed):
        errors.append(Problem("resume", "not with --multirun; continue with one run at a time: resume=<name>/<number>"))
    for key in sorted({"name", "paths.runs"}.intersection(found.swept)):
        errors.append(Problem(key, "one value for a whole sweep; its runs are <name>/0, <name>/1, …"))
    for overrides in found.jobs:
        config, problems = load_with_problems(overrides)
        # a dry run reports itself what is missing
        errors += [p for p in problems if not (p.missing and config is not None and config.dry_run)]
        if config is not None:
            configs.append(config)
            # place=False: the folders are those of the whole sweep
            errors += [] if config.dry_run else seen(config, problems, place=False)
    if errors:
        raise UserError(*dict.fromkeys(errors))
    return configs


def _refuse_name(name: str, runs: Path, jobs: int) -> None:
    """UserError if a sweep of this name, or one of its runs, cannot have a folder."""
    if problem := bad_name(name):
        raise UserError(problem)
    for path in (name, *(f"{name}/{n}" for n in range(jobs))):
        if problem := unusable_run(runs, path):
            raise UserError(problem)


def _of_run(overrides: Sequence[str]) -> list[str]:
    """The overrides that a run of a sweep is started with: not the sweep's name, and not those of Hydra."""
    return [o for o in overrides if _key(o) != "name" and _key(o).split("/")[0].split(".")[0] != "hydra"]


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _flat(results: Any) -> Iterator[Any]:
    """Job results, whether the sweeper returns them in batches, in a row, or not at all."""
    if isinstance(results, Iterable):
        for result in results:
            yield from _flat(result)
    elif hasattr(results, "return_value"):
        yield results
