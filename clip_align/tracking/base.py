# SPDX-License-Identifier: Apache-2.0
"""The base class of trackers. A tracker is one module here and one yaml of its name in ``conf/tracker``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from clip_align.config import TrackerConfig
from clip_align.record.record import History, Mirror
from clip_align.runs.folder import RunFolder


@dataclass(frozen=True, eq=False)
class TrackedRun:
    """The run that a tracker mirrors.

    past: the record of a resumed run so far, empty for a new one. settings: keys common to all trackers, such as
    ``tracker.project``. config: the whole configuration in plain values. notify: shows a line to the user.
    """

    folder: RunFolder
    past: History
    settings: TrackerConfig
    config: Mapping[str, Any]
    notify: Callable[[str], None]


class Tracker(ABC):
    """A kind of mirror. The arguments of its constructor are its options: ``tracker.<kind>.<option>``.

    Its yaml switches it on: ``<kind>: true``, or a mapping of its options.
    """

    @abstractmethod
    def mirror(self, run: TrackedRun) -> Mirror | None:
        """The mirror of a run's record; None if there is nothing to do. An exception becomes a warning."""
