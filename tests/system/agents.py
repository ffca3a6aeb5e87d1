# SPDX-License-Identifier: Apache-2.0
"""Two torchrun agents that stand for two machines: each with its own working folder, cache and output."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training_runs import ROOT


@dataclass
class Agent:
    """One machine: its folder, and its torchrun."""

    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def text(self) -> str:
        """What its ranks and torchrun have printed."""
        return (self.folder / "out").read_text()

    def ranks(self) -> list[int]:
        """Process ids of its ranks, in their order."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(p) for p in children if b"train.py" in Path(f"/proc/{p}/cmdline").read_bytes()]

    def kill(self) -> None:
        """End it and all that it has started."""
        ranks = self.ranks() if self.process.poll() is None else []
        for pid in (self.process.pid, *ranks):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def start(
    folder: Path, node: int, ranks: int, master: tuple[str, int], arguments: Sequence[str], before: Sequence[str] = ()
) -> Agent:
    """The agent of machine ``node`` of two.

    Args:
        folder: of the machine; its working folder, with its runs and its cache.
        node: its number.
        ranks: on this machine.
        master: address and port at which the ranks meet.
        arguments: of ``train.py``.
        before: words in front of the command, as of ``ip netns exec``.
    """
    folder.mkdir(exist_ok=True)
    agent = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", f"--node-rank={node}"]
    agent += [f"--nproc-per-node={ranks}", f"--master-addr={master[0]}", f"--master-port={master[1]}"]
    typed = [str(ROOT / "train.py"), *arguments, f"paths.cache={folder / 'cache'}"]
    with (folder / "out").open("wb") as output:
        process = subprocess.Popen(
            [*before, *agent, *typed],
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        )
    return Agent(folder, process)
