# SPDX-License-Identifier: Apache-2.0
"""Commands that file permissions bind, even where the tests are run by root."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess

import pytest

_CAPABILITIES = "-dac_override,-dac_read_search,-fowner"


def bound() -> list[str]:
    """What to put before a command so that it obeys permissions; skips where root cannot be made to."""
    if os.geteuid() != 0:
        return []
    prefix = ["setpriv", f"--bounding-set={_CAPABILITIES}", f"--inh-caps={_CAPABILITIES}"]
    if not _works(tuple(prefix)):
        pytest.skip("the tests are run by root, which permissions do not bind, and setpriv does not work here")
    return prefix


@functools.cache
def _works(prefix: tuple[str, ...]) -> bool:
    return shutil.which(prefix[0]) is not None and subprocess.run([*prefix, "true"], timeout=100).returncode == 0
