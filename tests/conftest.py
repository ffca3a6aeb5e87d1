# SPDX-License-Identifier: Apache-2.0
"""Fixtures shared by all tests."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path
from types import ModuleType

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command itself: see clip_align/__main__.py
# A suite started in the background, or under nohup, inherits ignored signals and would hand them on to the commands
# that it starts: what they do on Ctrl-C or a closed terminal could not be tested.
for _number, _default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _default)

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "battery"))  # its stubs serve others too, and the processes they start


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Small real data beside the repository; tests that need it skip where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("small real data (../shared/data) are not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def synthetic() -> ModuleType:
    """``tests/report/synthetic.py``: the made-up record that tests of figures, pages and trackers share."""
    spec = importlib.util.spec_from_file_location("synthetic", ROOT / "tests" / "report" / "synthetic.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
