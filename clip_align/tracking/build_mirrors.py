# SPDX-License-Identifier: Apache-2.0
"""Which mirrors a run's record has: console and live report always, trackers by config."""

from __future__ import annotations

from collections.abc import Callable

from clip_align.config import Config, to_plain
from clip_align.record.record import History, Mirror
from clip_align.report.live_report import LiveReport
from clip_align.runs.folder import RunFolder
from clip_align.tracking.console import ConsoleMirror


def mirrors(config: Config, folder: RunFolder, past: History, interactive: bool) -> list[Mirror]:
    """The mirrors of a run in ``folder``; the last one is the ``ConsoleMirror``, whose ``notify`` prints a line.

    A tracker that cannot even be started costs one warning.

    Args:
        config: the run's.
        folder: the run's, with its provenance written.
        past: what the record holds of a resumed run, empty for a new one.
        interactive: standard output is a terminal that can redraw.
    """
    console = ConsoleMirror(folder.path, interactive, past)
    chosen: list[Mirror] = [LiveReport(folder.path, console.show)]  # before wandb, which takes its last figure
    for kind in config.tracker.kinds:
        try:
            tracker = _tracker(kind, config, folder, past, console.show)
        except Exception as error:  # a tracker may fail in any way; training continues without it
            console.show(f"warning: tracker {kind} is off ({' '.join(str(error).split()) or type(error).__name__})")
            continue
        chosen += [] if tracker is None else [tracker]
    return [*chosen, console]


def _tracker(
    kind: str, config: Config, folder: RunFolder, past: History, notify: Callable[[str], None]
) -> Mirror | None:
    if kind == "csv":
        from clip_align.tracking.csv import CsvMirror

        return CsvMirror(folder.path)
    if kind == "tensorboard":
        from clip_align.tracking.tensorboard import TensorBoardMirror

        return TensorBoardMirror(folder, to_plain(config), past, notify)
    from clip_align.tracking.wandb_mirror import WandbMirror, mode

    if mode(config.tracker.mode) == "disabled":
        notify("wandb: disabled")
        return None
    return WandbMirror(folder, config.tracker, to_plain(config), notify)
