# SPDX-License-Identifier: Apache-2.0
"""``train --multirun hydra/launcher=slurm``: each run of a sweep as a job of SLURM, submitted through submitit.

Not through Hydra's own plug-in for submitit: a job here is a command of ours with ``resume=auto``, which is sent a
signal before its time is over, saves a checkpoint, and resumes once it is requeued.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hydra import compose
from omegaconf import OmegaConf

from clip_align.errors import FAILED, TERMINATED, Problem, RunError, UserError
from clip_align.settings.compose import PRIMARY, hydra
from clip_align.structure import build, key

KEY = "hydra.launcher"
HELD_S = 900.0  # for a job to be requeued, in tasks that must not end before
LOOK_S = 0.5


@dataclass(frozen=True)
class SlurmOptions:
    """The keys of ``conf/hydra/launcher/slurm.yaml``; None leaves an option to the cluster."""

    cluster: Literal["slurm", "local"] = "slurm"
    nodes: int = key(1, low=1)
    tasks_per_node: int = key(1, low=1)
    gpus_per_node: int | None = key(None, low=0)
    cpus_per_task: int | None = key(None, low=1)
    mem_gb: float | None = key(None, above=0.0)
    timeout_min: int = key(1440, low=1)
    signal_delay_s: int = key(180, low=1)
    max_timeouts: int = key(100, low=0)
    array_parallelism: int = key(256, low=1)
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    setup: tuple[str, ...] = ()
    additional_parameters: Mapping[str, Any] = field(default_factory=dict)
    wait: bool = False

    def parameters(self) -> dict[str, Any]:
        """As submitit's executor takes them; those of SLURM alone have its prefix."""
        names = ("timeout_min", "tasks_per_node", "nodes", "gpus_per_node", "cpus_per_task", "mem_gb")
        common: dict[str, Any] = {name: getattr(self, name) for name in names}
        names = ("signal_delay_s", "array_parallelism", "partition", "account", "qos", "constraint")
        own: dict[str, Any] = {name: getattr(self, name) for name in names}
        own |= {"setup": list(self.setup) or None, "additional_parameters": dict(self.additional_parameters) or None}
        own = {f"slurm_{name}": value for name, value in own.items()}
        return {name: value for name, value in {**common, **own}.items() if value is not None}


def options_of(overrides: Sequence[str]) -> SlurmOptions | None:
    """The options of ``hydra/launcher=slurm`` in the overrides of a run; None for another launcher.

    UserError with all that is wrong, also where submitit or SLURM is not there.
    """
    plain = _composed_launcher(overrides)
    if plain.get("_target_") != __name__:
        return None
    problems: list[Problem] = []
    given = {name: value for name, value in plain.items() if name != "_target_"}
    options = build(SlurmOptions, given, KEY, problems)
    if options is None or problems:
        raise UserError(*problems)
    try:
        import submitit  # noqa: F401  # looked for
    except ImportError:
        what = "slurm needs submitit, which is not installed; type pip install 'clip-align[slurm]'"
        raise UserError(Problem("hydra/launcher", what)) from None
    if options.cluster == "slurm" and shutil.which("sbatch") is None:
        what = f"slurm finds no sbatch on this machine; submit from one of the cluster's, or try {KEY}.cluster=local"
        raise UserError(Problem("hydra/launcher", what))
    if options.cluster == "local" and options.nodes * options.tasks_per_node > 1:
        what = f"{options.cluster} runs one task; with trainer=ddp it starts the ranks of this machine"
        raise UserError(Problem(f"{KEY}.cluster", what))
    return options


def _composed_launcher(overrides: Sequence[str]) -> dict[str, Any]:
    """The values under ``hydra.launcher``; none where the overrides do not choose one."""
    of_hydra = [o for o in overrides if o.lstrip("+").startswith(("hydra/", "hydra."))]
    if not of_hydra:
        return {}
    with hydra():
        composed = compose(PRIMARY, of_hydra, return_hydra_config=True)
    found = OmegaConf.to_container(composed.hydra.launcher, resolve=True)
    return {str(name): value for name, value in found.items()} if isinstance(found, dict) else {}


class SlurmRun:
    """One run as submitit calls it, in every task of a job.

    Args:
        command: of the run; the same for the first time and after a requeue.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.command = list(command)
        self._pid: int | None = None

    def __call__(self) -> int:
        """Run the command to its end; RunError where it fails, so that the job fails too."""
        # else every run of the sweep would write into the same one of wandb's
        environment = {name: value for name, value in os.environ.items() if name != "WANDB_RUN_ID"}
        process = subprocess.Popen(self.command, env=environment)
        self._pid = process.pid
        while process.poll() is None:
            time.sleep(LOOK_S)
        self._pid = None
        code = process.returncode
        if code == TERMINATED and os.environ.get("SLURM_PROCID", "0") != "0":
            time.sleep(HELD_S)  # the first task has the job requeued, which one that ends might prevent
        if code:
            raise RunError(f"{' '.join(self.command)}: ended with exit code {code}")
        return code

    def checkpoint(self) -> Any:
        """Called by submitit, in its signal handler, before the job is requeued: end the run in order."""
        import submitit

        if (pid := self._pid) is not None:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGUSR1)
                # not Popen.wait: the interrupted poll may hold its lock. Without reaping: the poll wants the code.
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return submitit.helpers.DelayedSubmission(SlurmRun(self.command))


def launch(options: SlurmOptions, runs: Sequence[tuple[Sequence[str], str]], folder: Path) -> int:
    """Submit a job for each run; returns 0 once they are submitted, or with ``wait`` 1 where one has failed.

    Args:
        options: of the launcher.
        runs: overrides and name of each.
        folder: of the sweep; scripts and output of the jobs go below it.
    """
    import submitit

    output = folder / "slurm"
    executor = submitit.AutoExecutor(
        folder=str(output / "%j"), cluster=options.cluster, slurm_max_num_timeout=options.max_timeouts
    )
    executor.update_parameters(name=folder.name, **options.parameters())
    with executor.batch():  # one array of jobs
        jobs = [executor.submit(SlurmRun(command(overrides, name))) for overrides, name in runs]
    for (_, name), job in zip(runs, jobs, strict=True):
        print(f"sweep: {name}: job {job.job_id}", flush=True)
    print(f"sweep {folder}: submitted; output of the jobs in {output}", flush=True)
    if not options.wait:
        return 0
    failed = [name for (_, name), job in zip(runs, jobs, strict=True) if job.exception() is not None]
    print(f"sweep {folder}: {len(jobs) - len(failed)} of {len(jobs)} done", flush=True)
    if failed:
        print(f"sweep {folder}: failed: {', '.join(failed)}", file=sys.stderr, flush=True)
    return FAILED if failed else 0


def command(overrides: Sequence[str], name: str) -> list[str]:
    """The command line of one run, which starts it or resumes it."""
    return [sys.executable, "-m", "clip_align", "train", *overrides, f"name={name}", "resume=auto"]
