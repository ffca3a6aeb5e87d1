# SPDX-License-Identifier: Apache-2.0
"""Ranks as processes of their own, as a launcher starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from clip_align.testing.gloo_ranks import free_port
from clip_align.training.launch_ranks import environment_of


def run_ranks(script: str, world: int, *arguments: object) -> list[tuple[int, str]]:
    """Exit code and output of each rank; what they write to standard error is in the test's.

    Args:
        script: file name of a script beside this one, which every rank runs.
        world: number of ranks.
        arguments: of the script.
    """
    command, port = [sys.executable, Path(__file__).with_name(script), *map(str, arguments)], free_port()
    ranks = [
        subprocess.Popen(
            command, env={**os.environ, **environment_of(rank, world, port)}, stdout=subprocess.PIPE, text=True
        )
        for rank in range(world)
    ]
    try:
        outputs = [rank.communicate(timeout=600)[0].strip() for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    return [(rank.returncode, output) for rank, output in zip(ranks, outputs, strict=True)]
