# SPDX-License-Identifier: Apache-2.0
"""The made-up record that tests of figures, pages and trackers share."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SYNTHETIC = Path(__file__).resolve().parent.parent / "report" / "synthetic.py"


@pytest.fixture(scope="session")
def synthetic() -> ModuleType:
    """``tests/report/synthetic.py``."""
    spec = importlib.util.spec_from_file_location("synthetic", SYNTHETIC)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
