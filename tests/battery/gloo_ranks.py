# SPDX-License-Identifier: Apache-2.0
"""Functions on several gloo ranks, for tests: forked in a script of its own, after its slow imports.

A test runs the script as a process (``run``), since pytest's own has computed with torch and must not fork; the script
calls ``on_ranks``. ``load`` imports the script in the test, for the values that the ranks are compared with.
"""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from clip_align.processes.ranks import Ranks

ROOT = Path(__file__).resolve().parents[2]


def load(script: Path) -> ModuleType:
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(script.stem, script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(script: Path, *arguments: object, timeout_s: float = 240) -> Any:
    """The JSON that a script prints; fails with the end of its errors."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "battery")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": path}
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def on_ranks(world: int, work: Callable[[Ranks], Any]) -> list[Any]:
    """What ``work`` returns on each of ``world`` gloo ranks, or the text of what it raised.

    Forks: call it before torch has computed anything in this process.
    """
    with tempfile.TemporaryDirectory() as folder:
        context = multiprocessing.get_context("fork")
        processes = [context.Process(target=_rank, args=(rank, world, Path(folder), work)) for rank in range(world)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(120)
            if process.is_alive():
                process.kill()
                process.join()
        answers = [Path(folder) / f"{rank}.json" for rank in range(world)]
        return [json.loads(a.read_text()) if a.exists() else "hung" for a in answers]


def _rank(rank: int, world: int, folder: Path, work: Callable[[Ranks], Any]) -> None:
    torch.set_num_threads(1)
    try:
        if world > 1:
            torch.distributed.init_process_group(
                "gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=world
            )
        answer = work(Ranks())
    except Exception as error:
        answer = {"raised": f"{type(error).__name__}: {error}", "where": traceback.format_exc()}
    (folder / f"{rank}.tmp").write_text(json.dumps(answer))
    os.replace(folder / f"{rank}.tmp", folder / f"{rank}.json")
