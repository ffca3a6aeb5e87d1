# SPDX-License-Identifier: Apache-2.0
"""Ranks as processes, with the environment that a launcher gives them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path


def run_ranks(script: str, world: int, *arguments: object) -> list[tuple[int, str]]:
    """Exit code and output of each rank; what they write to standard error is in the test's.

    Args:
        script: file name of a script beside this one, which every rank runs.
        world: number of ranks.
        arguments: of the script.
    """
    here = Path(__file__).parent
    command = [sys.executable, here / "forked_ranks.py", str(world), here / script, *map(str, arguments)]
    ranks = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        output, _ = ranks.communicate(timeout=600)
    finally:
        if ranks.poll() is None:
            os.killpg(ranks.pid, signal.SIGKILL)
    assert ranks.returncode == 0
    return [(code, text) for code, text in json.loads(output)]
