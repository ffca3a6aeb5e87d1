# SPDX-License-Identifier: Apache-2.0
"""Lets the tests here, and the processes they start, import the stubs of the battery."""

from __future__ import annotations

import sys
from pathlib import Path

BATTERY = str(Path(__file__).resolve().parent.parent / "battery")
if BATTERY not in sys.path:
    sys.path.insert(0, BATTERY)
