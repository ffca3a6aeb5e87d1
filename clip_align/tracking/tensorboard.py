# SPDX-License-Identifier: Apache-2.0
"""TensorBoard event files in ``tensorboard/`` of the run's folder, written without torch.

TensorBoard's "step" is ``samples_seen``, so that runs with other batch sizes lie on one axis.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clip_align.record.record import History
from clip_align.tracking.base import TrackedRun, Tracker
from clip_align.tracking.headline_scores import Headlines

FOLDER = "tensorboard"


class TensorBoardMirror:
    """Mirror of the record: train lines, and of evaluations the headline and companion scores with their bands.

    Its writer has a thread and a queue of its own. A resumed run hides what the older event files hold beyond
    the step it continues from.
    """

    def __init__(self, folder: Path, past: History | None = None) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        place = folder / FOLDER
        self._resumed = place.is_dir() and any(place.iterdir())
        self._writer = EventFileWriter(str(place), max_queue_size=1000, flush_secs=5)
        self._headlines = Headlines(past)

    def line(self, line: Mapping[str, Any]) -> None:
        """Write the scalars of a line."""
        values = self._headlines.values(line)
        if not values:
            return
        if self._resumed:
            self._hide_after(int(line["samples_seen"]))
        self._add(values, int(line["samples_seen"]))
        if line.get("kind") == "evaluation":
            self._writer.flush()

    def close(self, status: str) -> None:
        """Write what is pending."""
        self._writer.close()

    def _add(self, values: Mapping[str, float], samples: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        scalars = [Summary.Value(tag=k, simple_value=v) for k, v in values.items()]
        self._writer.add_event(Event(wall_time=time.time(), step=samples, summary=Summary(value=scalars)))

    def _hide_after(self, samples: int) -> None:
        """Tell readers that what older files hold from here on was overtaken."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        self._resumed = False
        log = SessionLog(status=SessionLog.START)
        self._writer.add_event(Event(wall_time=time.time(), step=samples, session_log=log))


class TensorBoard(Tracker):
    """``tracker=tensorboard``."""

    def mirror(self, run: TrackedRun) -> TensorBoardMirror:
        """Event files in the run's folder."""
        return TensorBoardMirror(run.folder.path, run.past)
