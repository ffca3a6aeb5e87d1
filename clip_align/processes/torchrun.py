# SPDX-License-Identifier: Apache-2.0
"""Whether torchrun has started this process, and which of its ranks it is.

``RANK`` and ``WORLD_SIZE`` alone say nothing: schedulers and container images set them too. Tasks of SLURM's become
ranks by `slurm.as_ranks`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

TORCHRUN = "TORCHELASTIC_RUN_ID"  # set by torchrun, and by nothing else
OURS = "CLIP_ALIGN_RANK"  # set in a rank that another process of ours has started, or SLURM
CHILD = "CLIP_ALIGN_CHILD"  # set in the former alone: the first rank hands it its configuration


def under_torchrun(environment: Mapping[str, str] | None = None) -> bool:
    """Whether torchrun has started this process (``environment``: this process's when not given)."""
    return TORCHRUN in (os.environ if environment is None else environment)


def started(environment: Mapping[str, str] | None = None) -> bool:
    """Whether this process is a rank of several that torchrun, SLURM, or a process of ours, has started."""
    of = os.environ if environment is None else environment
    return TORCHRUN in of or OURS in of


def started_outside(environment: Mapping[str, str] | None = None) -> bool:
    """Whether it is one of several that torchrun or SLURM has started: each has typed arguments of its own."""
    of = os.environ if environment is None else environment
    return started(of) and CHILD not in of and _number(of, "WORLD_SIZE") > 1


def rank(environment: Mapping[str, str] | None = None) -> int:
    """This process's rank among those that torchrun, SLURM, or a process of ours, has started; 0 without them."""
    of = os.environ if environment is None else environment
    return int(of["RANK"]) if started(of) else 0


def machine(environment: Mapping[str, str] | None = None) -> int:
    """The number of this process's machine among those of the run; 0 where there is one."""
    of = os.environ if environment is None else environment
    return _number(of, "GROUP_RANK") if started(of) and "GROUP_RANK" in of else 0


def first_on_machine(environment: Mapping[str, str] | None = None) -> bool:
    """Whether this process is the first rank of its machine, or the only process."""
    of = os.environ if environment is None else environment
    return not started(of) or of.get("LOCAL_RANK", of["RANK"]) == "0"


def problem(environment: Mapping[str, str] | None = None) -> str | None:
    """The line for ranks that were not started by torchrun (each would train on its own), or None."""
    of = os.environ if environment is None else environment
    if started(of):
        return None
    tasks = _number(of, "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS") if "SLURM_PROCID" in of else 1
    if tasks > 1:
        return (
            f"SLURM: {tasks} tasks, and this process was not started by srun, so that it would train alone; type "
            "srun python train.py …, or ask for one task"
        )
    world = _number(of, "WORLD_SIZE")
    if world < 2:
        return None
    return (
        f"WORLD_SIZE: {world} without torchrun; start the ranks by torchrun --nproc-per-node=<n> train.py …, "
        "or unset WORLD_SIZE and let trainer=ddp start them"
    )


def _number(environment: Mapping[str, str], *names: str) -> int:
    """The first of the variables that holds a whole number; 1 where none does."""
    return next((int(environment[name]) for name in names if environment.get(name, "").isdigit()), 1)
