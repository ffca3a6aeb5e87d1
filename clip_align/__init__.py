# SPDX-License-Identifier: Apache-2.0
"""Train CLIP models from scratch and watch their agreement with human vision evolve.

``import clip_align as ca`` gives `evaluate`, `read`, `report` and `train` (`clip_align.api`); what they need is
imported when they are first used.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clip_align.api import evaluate, read, report, train

__all__ = ["evaluate", "read", "report", "train"]


def __getattr__(name: str) -> Any:
    """A function of `clip_align.api`; it is imported at the first use, because finding a callback imports this."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from clip_align import api

    return getattr(api, name)


class _Report(ModuleType):
    """The package ``clip_align.report``, which has the name of a function, and can be called like it."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        from clip_align import api

        return api.report(*arguments, **options)


class _Package(ModuleType):
    """This package: Python binds a sub-package to its name here when the first of its modules is imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "report" and type(value) is ModuleType:
            value.__class__ = _Report
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
