# SPDX-License-Identifier: Apache-2.0
"""A run's folder with its configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from clip_align.config_plain import to_plain
from clip_align.settings.load_config import load
from tests.settings.started_run import STARTED


@pytest.fixture
def runs(tmp_path: Path) -> str:
    stored = load([*STARTED, f"paths.runs={tmp_path}"])
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.yaml").write_text(yaml.safe_dump(to_plain(stored)))
    return f"paths.runs={tmp_path}"
