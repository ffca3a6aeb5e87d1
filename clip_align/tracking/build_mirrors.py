# SPDX-License-Identifier: Apache-2.0
"""Build the mirrors of a run's record: console and live report always, trackers by config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clip_align.config import TrackerConfig
from clip_align.kinds import TRACKERS
from clip_align.record.record import History, Mirror
from clip_align.report.live_report import LiveReport
from clip_align.runs.folder import RunFolder
from clip_align.tracking.base import TrackedRun, Tracker
from clip_align.tracking.console import ConsoleMirror


def mirrors(
    folder: RunFolder, trackers: TrackerConfig, config: Mapping[str, Any], past: History, interactive: bool
) -> list[Mirror]:
    """The mirrors of a run in ``folder``; the last one is the ``ConsoleMirror``, whose ``notify`` prints a line.

    A tracker that cannot even be started costs one warning.

    Args:
        folder: the run's, with its provenance written.
        trackers: those that are chosen, and their options.
        config: the whole configuration in plain values, for trackers that keep it.
        past: what the record holds of a resumed run, empty for a new one.
        interactive: standard output is a terminal that can redraw.
    """
    console = ConsoleMirror(folder.path, interactive, past)
    chosen: list[Mirror] = [LiveReport(folder.path, console.show)]  # before wandb, which logs its last figure
    run = TrackedRun(folder, past, trackers, config, console.show)
    for name, options in trackers.kinds.items():
        own = {key: value for key, value in options.items() if key != "kind"}
        try:
            tracker: Tracker = TRACKERS.build(str(options.get("kind", name)), own)
            mirror = tracker.mirror(run)
        except Exception as error:  # a tracker may fail in any way; training continues without it
            console.show(f"warning: tracker {name} is off ({' '.join(str(error).split()) or type(error).__name__})")
            continue
        chosen += [] if mirror is None else [mirror]
    return [*chosen, console]
