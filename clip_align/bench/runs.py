# SPDX-License-Identifier: Apache-2.0
"""Runs of ``train`` in processes of their own, for what only a whole run can show."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from clip_align.errors import RunError
from clip_align.record.record import History, read

NAME = "bench"


def trained(arguments: Sequence[str], place: Path, cache: Path) -> History:
    """The record of a run; RunError with its last line where it does not end well.

    Args:
        arguments: of ``train``, beside name and paths.
        place: folder for its folder.
        cache: folder of rendered worlds and stimuli.
    """
    paths = [f"name={NAME}", f"paths.runs={place}", f"paths.cache={cache}", "tracker=none"]
    # the ranks share the cores, unless a number of threads was asked for
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RANK", "WORLD_SIZE", "LOCAL_"))}
    done = subprocess.run(
        [sys.executable, "-m", "clip_align", "train", *paths, *arguments],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        last = (done.stdout + done.stderr).strip().splitlines()[-1:]
        raise RunError(f"train {' '.join(arguments)}: ended with {done.returncode}: {''.join(last)}")
    return read(place / NAME)
