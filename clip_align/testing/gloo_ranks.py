# SPDX-License-Identifier: Apache-2.0
"""Functions on several gloo ranks of one machine, and ports for ranks, for tests."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from clip_align.processes.ranks import Ranks


def on_ranks(world: int, work: Callable[[Ranks], Any]) -> list[Any]:
    """What ``work`` returns on each of ``world`` gloo ranks; ``{"raised": …}`` for a rank that failed.

    Forks: call it before torch has computed anything in this process.
    """
    with tempfile.TemporaryDirectory() as folder:
        context = multiprocessing.get_context("fork")  # ``work`` need not be picklable
        processes = [context.Process(target=_rank, args=(rank, world, Path(folder), work)) for rank in range(world)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(600)  # seconds; one rank that failed leaves the others in a collective
            if process.is_alive():
                process.kill()
                process.join()
        results = [Path(folder) / f"{rank}.json" for rank in range(world)]
        return [json.loads(r.read_text()) if r.exists() else {"raised": "it hung, or was killed"} for r in results]


def _rank(rank: int, world: int, folder: Path, work: Callable[[Ranks], Any]) -> None:
    torch.set_num_threads(1)  # ranks compete for the same cores
    try:
        if world > 1:
            torch.distributed.init_process_group(
                # a file instead of a port, which another test may hold
                "gloo",
                init_method=f"file://{folder / 'meet'}",
                rank=rank,
                world_size=world,
            )
        result = work(Ranks())
    except Exception as error:  # passed to the parent as a result
        result = {"raised": f"{type(error).__name__}: {error}", "where": traceback.format_exc()}
    (folder / f"{rank}.tmp").write_text(json.dumps(result))
    # a rename: the parent never reads half a file
    os.replace(folder / f"{rank}.tmp", folder / f"{rank}.json")


def free_port() -> int:
    """A port of this machine that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
