# SPDX-License-Identifier: Apache-2.0
"""MATLAB's files up to version 7: structs as objects, cells and arrays of structs as arrays of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["DamagedMatError", "listed", "read_mat"]


class DamagedMatError(Exception):
    """A file that cannot be read; its text says why."""


def read_mat(path: Path) -> dict[str, Any]:
    """The variables of a file, by name; DamagedMatError where it cannot be read."""
    from scipy.io import loadmat  # here: a quarter of a second that other benchmarks need not pay

    try:
        variables = loadmat(path, squeeze_me=True, struct_as_record=False)
    except Exception as error:  # a damaged file raises anything: ValueError, TypeError, zlib.error, …
        raise DamagedMatError(f"{type(error).__name__}: {error}".rstrip(". ")) from error
    return {name: value for name, value in variables.items() if not name.startswith("__")}


def listed(value: Any) -> list[Any]:
    """The elements of a cell or an array of structs, of which one with a single element is read as that element."""
    return list(np.atleast_1d(np.asarray(value, dtype=object)).ravel())
