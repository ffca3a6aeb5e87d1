# SPDX-License-Identifier: Apache-2.0
"""Whatever an image, a caption or a tar holds: good samples, counted bad ones or a named refusal, nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(800)
@pytest.mark.parametrize(
    "seconds", [pytest.param(5, id="short"), pytest.param(60, id="long", marks=pytest.mark.exhaustive)]
)
def test_fuzz(tmp_path: Path, seconds: int) -> None:
    at_work = tmp_path / "seed"
    command = [sys.executable, "-m", "tests.data.fuzz", "0", str(seconds), str(at_work)]
    limit_s = 240 + 9 * seconds  # they are seconds of the processor, which others may use too
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=limit_s)
    except subprocess.TimeoutExpired:
        pytest.fail(f"seed {at_work.read_text().strip()}: does not end")
    seed = at_work.read_text().strip() if at_work.exists() else "none"
    again = f"again with: python -m tests.data.fuzz {seed} 1 /dev/null"
    assert done.returncode == 0, f"seed {seed} ({again}), exit code {done.returncode}\n{done.stderr[-4000:]}"
    assert int(done.stdout) > 50 * seconds, "too few cases to mean anything"
