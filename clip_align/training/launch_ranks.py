# SPDX-License-Identifier: Apache-2.0
"""Which processes train: this one alone, those that torchrun or srun has started, or this one and its children."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import IO, Any

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]  # documented there

from clip_align.config import TrainerConfig
from clip_align.errors import Problem, UserError
from clip_align.processes import slurm, torchrun
from clip_align.processes.lifeline import FAILING_S
from clip_align.settings.config_check import HALF_WITHOUT_GPU, ONE_SHARD
from clip_align.training.compilers import compiler_problem
from clip_align.training.rendezvous import meet
from clip_align.training.stall_watch import Peers

PATIENCE = timedelta(hours=3)  # rank 0 may render or index while the others wait; who dies is seen otherwise
BACKSTOP_S = 120.0  # training's collectives give up so long after `watch` would have ended the run by itself
LOOK = timedelta(seconds=10)  # for the store to answer a rank's watch
NOT_LAUNCHED = Problem(
    "trainer",
    "multi_node trains on ranks that torchrun or srun has started, one command on each machine (docs/machines.md); on "
    "this machine alone take trainer=ddp",
)


@dataclass(frozen=True)
class RankLayout:
    """How many processes train on how many machines, and which of them this one is.

    gpu: it trains on GPU number ``local_rank``, or on the only one that it sees. children: it starts the other ranks.
    nodes: number of machines, which may have different numbers of ranks; node: which of them this is. one_gpu: it sees
    one GPU, though there are several ranks on this machine.
    """

    rank: int
    local_rank: int
    world: int
    local_world: int
    gpu: bool
    children: bool = False
    node: int = 0
    nodes: int = 1
    one_gpu: bool = False

    @property
    def gpu_number(self) -> int:
        """Of the GPU that this process trains on, among those that it sees."""
        return 0 if self.one_gpu else self.local_rank

    @property
    def device(self) -> torch.device:
        """What this process trains on."""
        return torch.device("cuda", self.gpu_number) if self.gpu else torch.device("cpu")


def rank_layout(config: TrainerConfig, gpus: int, environment: Mapping[str, str]) -> RankLayout:
    """The rank layout of what was configured; UserError where this machine does not have it, or cannot train on it.

    ``auto``: the GPUs where there are any, else the CPU. ``ddp`` and ``fsdp``: the world of torchrun or srun, else one
    rank per GPU, else ``devices`` ranks on the CPU. ``multi_node``: such a world only.

    Args:
        config: kind, devices, precision and compile are looked at.
        gpus: number of GPUs of this machine.
        environment: has torchrun's variables, and names of compilers.
    """
    layout = _rank_layout(config, gpus, environment)
    if config.precision == "16-mixed" and not layout.gpu:  # Lightning would take bf16 without a word
        raise UserError(HALF_WITHOUT_GPU)
    if config.kind == "fsdp" and layout.world == 1:
        raise UserError(ONE_SHARD)
    if config.compile and (problem := compiler_problem(layout.gpu, environment)):
        raise UserError(problem)
    return layout


def _rank_layout(config: TrainerConfig, gpus: int, environment: Mapping[str, str]) -> RankLayout:
    if torchrun.started(environment):
        return _started_layout(config.kind, gpus, environment)
    if config.kind == "multi_node":
        raise UserError(NOT_LAUNCHED)
    if config.kind == "gpu" and not gpus:
        raise UserError("trainer: gpu was asked for and torch finds none; use trainer=cpu, or trainer=auto")
    gpu = config.kind != "cpu" and gpus > 0
    wanted = config.devices or (gpus if gpu else 1)
    if gpu and wanted > gpus:
        raise UserError(f"trainer.devices: {wanted} were asked for and torch finds {gpus} GPUs")
    return RankLayout(0, 0, wanted, wanted, gpu, children=wanted > 1)


def _started_layout(kind: str, gpus: int, environment: Mapping[str, str]) -> RankLayout:
    """As torchrun's variables have it, which may count other ranks on this machine than on others."""
    local, world, local_world = (int(environment[n]) for n in ("LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    nodes = int(environment.get("GROUP_WORLD_SIZE", world // local_world))
    gpu = kind == "gpu" or (kind != "cpu" and gpus > 0)
    alone = gpu and local_world > 1 and slurm.one_gpu_each(environment, gpus, local_world)
    if gpu and local_world > gpus and not alone:
        raise UserError(
            f"trainer: {local_world} ranks on this machine and {gpus} GPUs; start as many ranks as GPUs, "
            "or set trainer=cpu"
        )
    rank, node = torchrun.rank(environment), torchrun.machine(environment)
    return RankLayout(rank, local, world, local_world, gpu, node=node, nodes=nodes, one_gpu=alone)


def join_process_group(
    layout: RankLayout,
    stall_warning_s: float,
    stall_limit_s: float,
    notify: Callable[[str], None],
    store: Store | None = None,
) -> Peers | None:
    """Join the process group of this run; waits for the others. The environment holds the address of their store.

    The wait for the first rank, which prepares what is made once, may be long; collectives of training may not.

    Args:
        layout: this rank among the others.
        stall_warning_s: seconds of waiting until a line says for what.
        stall_limit_s: seconds after which a run that waits is ended.
        notify: takes a line.
        store: of this run, where this rank is connected to it already.

    Returns:
        What the ranks' watches exchange lines over; None where there is one rank.

    Raises:
        RunError: where not all ranks have come in time.
    """
    if layout.world == 1:
        return None
    if not dist.is_initialized():
        if layout.gpu:
            torch.cuda.set_device(layout.gpu_number)
        patience_s = PATIENCE.total_seconds()
        store = meet(layout.rank, layout.world, patience_s, stall_limit_s, stall_warning_s, notify, store)
        dist.init_process_group(
            "nccl" if layout.gpu else "gloo",
            store=PrefixStore("group", store),
            rank=layout.rank,
            world_size=layout.world,
            timeout=timedelta(seconds=stall_limit_s + BACKSTOP_S),
        )
    return Peers(_own_connection(), layout.rank, layout.world)


def _own_connection() -> PrefixStore:
    """To the store that the ranks have met in: one that a collective's wait does not hold."""
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(host, port, is_master=False, timeout=LOOK, wait_for_workers=False)
    return PrefixStore(f"watch/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def environment_of(number: int, world: int, port: int) -> dict[str, str]:
    """The environment of a rank that this process starts, in torchrun's names.

    Args:
        number: of the rank.
        world: how many there are, all on this machine.
        port: of this machine, at which the first one waits for the others.
    """
    places = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
    return {**{k: str(v) for k, v in places.items()}, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


class ChildRanks:
    """The other ranks, where this process starts them. Their output is not shown; it holds the reason of a failure.

    A thread looks for children that have ended, twice a second. A parent sees what no connection between ranks shows
    (`processes.lifeline`): a child that ended before it had one, its exit code and its last output. Children whose
    parent has gone end by themselves (`processes.parent`).

    Args:
        job: the configuration as plain python; too long for an environment, it goes through a pipe.
        world: number of ranks, this one counted.
        port: at which they meet.
        failed: called in a thread, with the reason, when a child has failed and this process has not noticed after a
            while: it waits in a collective for it.
    """

    def __init__(self, job: Mapping[str, Any], world: int, port: int, failed: Callable[[str], None]) -> None:
        self._outputs: list[IO[bytes]] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self._failed, self._ended = failed, threading.Event()
        self._reading = threading.Lock()  # a file has one position for all threads
        for rank in range(1, world):
            output = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as the child
            environment = {**os.environ, **environment_of(rank, world, port), torchrun.OURS: "1", torchrun.CHILD: "1"}
            command = [sys.executable, "-m", "clip_align.training.child_rank", str(os.getpid())]
            self._outputs.append(output)
            # into a file: a pipe that nobody reads would fill up and stop the child
            process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=output, stderr=output)
            self._processes.append(process)
            with contextlib.suppress(BrokenPipeError), process.stdin:  # type: ignore[union-attr]
                process.stdin.write(json.dumps(job).encode())  # type: ignore[union-attr]  # too long for its environment
        threading.Thread(target=self._watch, daemon=True).start()

    def reason(self, wait_s: float = 0.0) -> str | None:
        """The last line of the first failed child's output, waited for up to ``wait_s``; None while none has failed."""
        end = time.monotonic() + wait_s
        while True:
            for rank, process in enumerate(self._processes, 1):
                if process.poll():
                    return f"rank {rank}: {self._last_words(rank).removeprefix(f'rank {rank}: ')}"
            if time.monotonic() >= end:
                return None
            time.sleep(0.05)

    def may_end(self) -> None:
        """Training is over on all ranks: from here on a child's end is no failure, whatever its code."""
        self._ended.set()

    def end(self, patience_s: float) -> None:
        """Wait for the children to end by themselves; then end them."""
        self._ended.set()
        limit = time.monotonic() + patience_s
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=max(0.0, limit - time.monotonic()))
        self.kill()
        for output in self._outputs:
            output.close()

    def kill(self) -> None:
        """End the children at once."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)

    def _watch(self) -> None:
        while not self._ended.wait(0.5):
            reason = self.reason()
            if reason is not None:
                if not self._ended.wait(FAILING_S):
                    self._failed(reason)
                return

    def _last_words(self, rank: int) -> str:
        output = self._outputs[rank - 1]
        with self._reading, contextlib.suppress(OSError, ValueError):
            output.seek(0)
            lines = [line for line in output.read().decode(errors="replace").splitlines() if line.strip()]
            if lines:
                return lines[-1]
        return f"ended with code {self._processes[rank - 1].returncode}"
