# SPDX-License-Identifier: Apache-2.0
"""Fixtures shared by all tests."""

from __future__ import annotations

import gc
import importlib.util
import os
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command itself: see clip_align/__main__.py
# A suite started in the background, or under nohup, inherits ignored signals and would hand them on to the commands
# that it starts: what they do on Ctrl-C or a closed terminal could not be tested.
for _number, _default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _default)

# Neither an example nor drawing it has a limit of time: what a busy machine needs says nothing about the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "battery"))  # its stubs serve others too, and the processes they start


@pytest.fixture(autouse=True)
def _process_as_it_was() -> Iterator[None]:
    """Each test draws the same random numbers, and none finds what another one has set, whatever their order.

    Restored: environment, working folder, handlers of signals, garbage collector, torch's threads and default type.
    """
    folder, environment, collecting = Path.cwd(), dict(os.environ), gc.isenabled()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    torch = sys.modules.get("torch")
    threads, dtype = (torch.get_num_threads(), torch.get_default_dtype()) if torch else (None, None)
    random.seed(0)
    np.random.seed(0)
    if torch:
        torch.manual_seed(0)
    yield
    os.chdir(folder)
    environment |= {name: os.environ[name] for name in ("PYTEST_CURRENT_TEST",) if name in os.environ}  # pytest's own
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    for number, handler in handlers.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)
    (gc.enable if collecting else gc.disable)()
    if torch and (torch.get_num_threads(), torch.get_default_dtype()) != (threads, dtype):
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)


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
