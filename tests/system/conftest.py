# SPDX-License-Identifier: Apache-2.0
"""What the tests of the command as a process share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from training_runs import SMALL


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all runs: the small world is rendered once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def small(tmp_path: Path, cache: Path) -> list[str]:
    return [*SMALL, f"paths.runs={tmp_path}", f"paths.cache={cache}"]
