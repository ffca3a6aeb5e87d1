# SPDX-License-Identifier: Apache-2.0
"""A number that is known from elsewhere, beside the one that this code computes: a row of ``verify``.

A module that has known answers defines, at its top level, one of ::

    def known_answers() -> Iterable[KnownAnswer]: ...              # computed from what is embedded
    def known_answers(root: Path) -> Iterable[KnownAnswer]: ...    # from a data set in the folder root

``python -m clip_align verify <module's name>`` prints its rows, and ``verify all`` those of all modules that need no
data; ``<name>_answers.py`` answers for ``<name>``, a module beside it or a benchmark. Names are unique in the package.
A function with ``root`` raises `UserError` where the data set is not there or damaged. Rows come in the order in which
they are computed. No torch is needed to list them, and none should be to compute them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["KnownAnswer", "count"]


@dataclass(frozen=True)
class KnownAnswer:
    """One row.

    name: what is measured, and of what. measured: by this code; NaN: undefined. expected: published, or derived by
    hand; None where nothing is known of it, as of a file that the user brings. tolerance: largest difference between
    the two, in their unit; for a published number its last digit.
    """

    name: str
    measured: float
    expected: float | None
    tolerance: float = 0.0

    @property
    def within(self) -> bool:
        """Whether the measured value is the expected one within the tolerance; True where nothing is expected."""
        if self.expected is None:
            return True
        # rounding must not decide at the very edge: .0005 is not a binary fraction
        slack = 1e-12 * max(1.0, abs(self.expected))
        return math.isfinite(self.measured) and abs(self.measured - self.expected) <= self.tolerance + slack


def count(name: str, measured: int, expected: int) -> KnownAnswer:
    """A row of whole numbers, which must be equal.

    Args:
        name: what is counted.
        measured: found by this code.
        expected: known.
    """
    return KnownAnswer(name, measured, expected)
