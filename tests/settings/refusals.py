# SPDX-License-Identifier: Apache-2.0
"""Messages about overrides that are wrong, and which options there are."""

from __future__ import annotations

import pytest

from clip_align import config
from clip_align.errors import UserError
from clip_align.settings.load_config import load


def options(group: str) -> list[str]:
    return sorted(p.stem for p in (config.conf_dir() / group).glob("*.yaml"))


def errors(*overrides: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        load(overrides)
    assert caught.value.exit_code == 2
    assert all("\n" not in line for line in caught.value.lines)
    return list(caught.value.lines)
