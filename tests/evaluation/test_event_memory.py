# SPDX-License-Identifier: Apache-2.0
"""Memory of an event at ViT-L/14's shape: that of a batch and of the reduced pairs, not of the features."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "event_memory.py"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_event_holds_a_batch_and_the_reduced_pairs() -> None:
    """120 pairs in all 24 blocks: their features would take 3.2 GB."""
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[2])}
    command = [sys.executable, str(SCRIPT), "1", "32"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert (found["pairs"], found["layers"]) == (120, 26)
    assert found["all_features_mb"] > 3000
    # what the first use of everything takes is in it, beside some layers of a batch and the reduced pairs
    assert found["peak_own_mb"] < 1000
