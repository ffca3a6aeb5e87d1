# SPDX-License-Identifier: Apache-2.0
"""Functions on several gloo ranks, for tests: forked in a script of its own, after its slow imports.

A test runs the script as a process (``run``), since pytest's own has computed with torch and must not fork; the script
calls ``on_ranks``. ``load`` imports the script in the test, for the values that the ranks are compared with.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from clip_align.testing.gloo_ranks import on_ranks as on_ranks

ROOT = Path(__file__).resolve().parents[2]


def load(script: Path) -> ModuleType:
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(script.stem, script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(script: Path, *arguments: object, timeout_s: float = 600) -> Any:
    """The JSON that a script prints; fails with the end of its errors."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "battery")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": path}
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)
