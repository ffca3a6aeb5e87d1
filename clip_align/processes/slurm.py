# SPDX-License-Identifier: Apache-2.0
"""Ranks that SLURM's ``srun`` has started, one task each: their places in torchrun's names."""

from __future__ import annotations

import re
from collections.abc import Mapping

from clip_align.processes import torchrun

SHELLS = ("bash", "interactive")  # names of jobs in which somebody types commands: one process each
FIRST_PORT, PORTS = 15000, 15000  # below those that systems give to whoever asks for any
_COUNT = re.compile(r"(\d+)(?:\(x(\d+)\))?")


def started(environment: Mapping[str, str]) -> bool:
    """Whether this process is one of several tasks of an ``srun``, and not a rank of another launcher."""
    of_step = "SLURM_PROCID" in environment and environment.get("SLURM_STEP_NUM_TASKS", "1") not in ("", "0", "1")
    shell = "SLURM_PTY_PORT" in environment or environment.get("SLURM_JOB_NAME") in SHELLS
    return of_step and not shell and not torchrun.started(environment)


def as_ranks(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of torchrun for this task; none where `started` does not hold.

    The first machine of the step keeps the store in which the ranks meet, at a port that follows from the numbers of
    job and step; ``MASTER_ADDR`` and ``MASTER_PORT`` are used where they are set.
    """
    if not started(environment):
        return {}
    machines = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_NODELIST", "127.0.0.1")
    node = int(environment.get("SLURM_NODEID", "0"))
    tasks = tasks_per_machine(environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
    world = environment["SLURM_STEP_NUM_TASKS"]
    job, step = (_number(environment.get(name, "")) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    return {
        "RANK": environment["SLURM_PROCID"],
        "LOCAL_RANK": environment.get("SLURM_LOCALID", "0"),
        "WORLD_SIZE": world,
        "LOCAL_WORLD_SIZE": str(tasks[node]) if node < len(tasks) else world,
        "GROUP_RANK": str(node),
        "GROUP_WORLD_SIZE": environment.get("SLURM_STEP_NUM_NODES") or str(max(1, len(tasks))),
        "MASTER_ADDR": environment.get("MASTER_ADDR") or first_machine(machines),
        "MASTER_PORT": environment.get("MASTER_PORT") or str(FIRST_PORT + (job + 997 * step) % PORTS),
        torchrun.OURS: "1",
    }


def first_machine(machines: str) -> str:
    """The first name of a list in SLURM's form: ``gpu07`` of ``gpu[07-09,12],big1``."""
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", machines).split(",")[0].strip()


def tasks_per_machine(text: str) -> list[int]:
    """Tasks on each machine of a step, from SLURM's form: 2, 2, 1 of ``2(x2),1``."""
    found: list[int] = []
    for count, times in _COUNT.findall(text):
        found += [int(count)] * int(times or 1)
    return found


def one_gpu_each(environment: Mapping[str, str], gpus: int, local_world: int) -> bool:
    """Whether SLURM shows each task a GPU of its own (``--gpus-per-task``, ``--gpu-bind``), as its only one.

    Args:
        environment: of the task.
        gpus: number of GPUs that this task sees.
        local_world: tasks on this machine.
    """
    if gpus != 1 or "SLURM_PROCID" not in environment:
        return False
    each = environment.get("SLURM_GPUS_PER_TASK", "").rpartition(":")[2]
    return each == "1" or _number(environment.get("SLURM_GPUS_ON_NODE", "")) >= local_world


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
