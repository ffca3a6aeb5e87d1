# SPDX-License-Identifier: Apache-2.0
"""Whether torchrun has started this process, and which of its ranks it is.

``RANK`` and ``WORLD_SIZE`` alone say nothing: schedulers and container images set them too. A task of SLURM's is not a
rank either.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

TORCHRUN = "TORCHELASTIC_RUN_ID"  # set by torchrun, and by nothing else
OURS = "CLIP_ALIGN_RANK"  # set in a rank that another process of ours has started


def under_torchrun(environment: Mapping[str, str] | None = None) -> bool:
    """Whether torchrun has started this process (``environment``: this process's when not given)."""
    return TORCHRUN in (os.environ if environment is None else environment)


def started(environment: Mapping[str, str] | None = None) -> bool:
    """Whether this process is a rank of several that torchrun, or a process of ours, has started."""
    of = os.environ if environment is None else environment
    return TORCHRUN in of or OURS in of


def rank(environment: Mapping[str, str] | None = None) -> int:
    """This process's rank among those that torchrun, or a process of ours, has started; 0 without them."""
    of = os.environ if environment is None else environment
    return int(of["RANK"]) if started(of) else 0


def problem(environment: Mapping[str, str] | None = None) -> str | None:
    """The line for ranks that were not started by torchrun (each would train on its own), or None."""
    of = os.environ if environment is None else environment
    if started(of):
        return None
    tasks = _number(of, "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS") if "SLURM_PROCID" in of else 1
    if tasks > 1:
        return (
            f"SLURM: {tasks} tasks without torchrun, each would be a run of its own; start one task a machine: "
            "srun --ntasks-per-node=1 torchrun --nnodes=$SLURM_NNODES --nproc-per-node=<GPUs> --rdzv-backend=c10d "
            "--rdzv-endpoint=<first machine>:29500 train.py …, or on one machine: srun --ntasks=1 python train.py "
            "trainer=ddp …"
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
