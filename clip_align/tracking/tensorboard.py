# SPDX-License-Identifier: Apache-2.0
"""TensorBoard event files in ``tensorboard/`` of the run's folder, written without torch.

TensorBoard's "step" is ``samples_seen``, so that runs with other batch sizes lie on one axis; a text beside the curves
says so. The configuration and the verdicts are texts too, the figure is an image.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

from clip_align.record.record import History, Mirror
from clip_align.record.schema import AnyLine, VerdictLine
from clip_align.runs.folder import RunFolder
from clip_align.tracking.base import TrackedRun, Tracker
from clip_align.tracking.headline_scores import Headlines

FOLDER = "tensorboard"
ABOUT = (
    "The step of every curve is **samples seen** over all ranks, not optimizer steps. `interval/<score>/low` and "
    "`/high` are the ends of 95 % intervals. Details and reasons of undefined scores are in the run's `metrics.jsonl`."
)
IMAGE_SECONDS = 60.0  # between the first two copies of the figure; doubles after each copy, since all are kept


class TensorBoardMirror(Mirror):
    """Mirror of the record: train lines, headline and companion scores with their intervals, figure, configuration.

    The writer has its own thread and queue. A resumed run hides what the older event files hold beyond
    the step from which it continues.
    """

    def __init__(
        self,
        folder: RunFolder,
        config: Mapping[str, Any],
        past: History | None = None,
        notify: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Open an event file.

        Args:
            folder: the run's.
            config: its configuration as plain values.
            past: what the record held before (a resumed run).
            notify: gets the line about how to watch it.
        """
        import yaml  # type: ignore[import-untyped]
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        place = folder.path / FOLDER
        # a thread writes every 5 s: what a crash may cost
        self._writer = EventFileWriter(str(place), max_queue_size=1000, flush_secs=5)
        self._headlines = Headlines(past)
        self._figure = folder.curves_png
        self._image_stamp, self._image_due, self._image_apart = 0.0, float("-inf"), IMAGE_SECONDS
        self._samples = 0
        if past is None or not past.events:  # a resumed run has written them
            self._text("about", ABOUT)
            text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
            self._text("config", "```yaml\n" + text + "```")
        notify(f"tensorboard: watch with: tensorboard --logdir {shlex.quote(str(place))} (its step is samples seen)")

    def line(self, line: AnyLine) -> None:
        """Write the numbers and texts of a line."""
        self._samples = line["samples_seen"]
        if values := self._headlines.values(line):
            from tensorboard.compat.proto.summary_pb2 import Summary

            self._add([Summary.Value(tag=key, simple_value=value) for key, value in values.items()])
        if line["kind"] == "verdict":
            verdict = cast("VerdictLine", line)
            self._text(f"verdict/{verdict['score']}", verdict["sentence"])
        if line["kind"] == "evaluation":
            self._add_figure(final=False)
            self._writer.flush()  # an evaluation is seen at once; train lines may wait

    def rewind(self, step: int, samples: int) -> None:
        """Make readers ignore the content of older files after ``samples``."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        self._headlines.rewind(step)
        # TensorBoard drops events of later steps that precede a session start
        log = SessionLog(status=SessionLog.START)
        self._writer.add_event(Event(wall_time=time.time(), step=samples + 1, session_log=log))

    def close(self, status: str) -> None:
        """Write what is pending, and the last figure."""
        self._add_figure(final=True)
        self._writer.close()

    def _text(self, tag: str, text: str) -> None:
        """Write a text, read as Markdown."""
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
        from tensorboard.compat.proto.types_pb2 import DT_STRING

        metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
        tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()], tensor_shape=shape)
        self._add([Summary.Value(tag=f"{tag}/text_summary", metadata=metadata, tensor=tensor)])

    def _add_figure(self, final: bool) -> None:
        """Write the figure if it was redrawn: at increasing intervals, and at the end."""
        try:
            stamp = self._figure.stat().st_mtime
            if stamp == self._image_stamp or not (final or time.monotonic() >= self._image_due):
                return
            png = self._figure.read_bytes()
        except OSError:  # not drawn yet
            return
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._image_stamp, self._image_due = stamp, time.monotonic() + self._image_apart
        self._image_apart *= 2  # few copies of the figure even in long runs
        width, height = (int.from_bytes(png[at : at + 4]) for at in (16, 20))  # of the PNG's header
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
        self._add([Summary.Value(tag="curves", image=image)])

    def _add(self, values: list[Any]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._writer.add_event(Event(wall_time=time.time(), step=self._samples, summary=Summary(value=values)))


class TensorBoard(Tracker):
    """``tracker=tensorboard``."""

    def mirror(self, run: TrackedRun) -> TensorBoardMirror:
        """Event files in the run's folder."""
        return TensorBoardMirror(run.folder, run.config, run.past, run.notify)
