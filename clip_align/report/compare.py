# SPDX-License-Identifier: Apache-2.0
"""Several runs on the same axes: one figure and one page."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from clip_align.record.items import read_items
from clip_align.record.record import read
from clip_align.record.schema import SHOWN, score_key
from clip_align.report import sentences
from clip_align.report.figures import SUFFIXES, write_figure
from clip_align.report.labels import interval, number
from clip_align.report.overlay import Run, overlaid
from clip_align.report.page import TEMPLATE, command_of, render
from clip_align.report.run_labels import conditions, run_labels, run_names, seed_groups
from clip_align.report.score_curves import Point, curve_of, shown_scores
from clip_align.report.score_variants import all_scores
from clip_align.report.svg_figure import svg_cells
from clip_align.runs.folder import RunFolder, read_provenance, run_status, write_atomic

FOOT = (
    "Horizontal axis: samples seen, linear near 0, then logarithmic. Bands: of a mean over at least three seeds the "
    "95 % interval over seeds (t), of a run its own 95 % intervals (not of other seeds). Thin: single runs. Gaps in a "
    "curve: undefined there; the reasons are on the run's own page. Reference lines: those of the first run."
)


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """The runs of these folders, under labels that tell them apart."""
    labels = zip(run_labels(folders), run_names(folders), folders, seed_groups(folders), strict=True)
    return [Run(label, name, folder, all_scores(read(folder)), seeds) for label, name, folder, seeds in labels]


def write(folders: Sequence[Path], output: Path) -> None:
    """Write ``curves.png`` and ``report.html`` of the comparison into ``output``, or the figure into that file."""
    runs = read_runs(folders)
    built, target, alone = overlaid(runs), RunFolder(output), output.suffix in SUFFIXES
    title = f"{len(runs)} runs: " + "; ".join(r.label for r in runs)
    write_figure(output if alone else target.curves_png, built, title=title, foot=FOOT)
    if alone:
        return
    write_atomic(
        target.report_html,
        render(
            TEMPLATE.with_name("compare.html.j2"),
            title=f"{len(runs)} runs compared · clip-align",
            refresh=None,
            runs=[_run_row(r, output) for r in runs],
            cells=svg_cells(built),
            foot=FOOT,
            seeds=_over_seeds(runs),
            scores=_score_table(runs),
            written=time.strftime("%Y-%m-%d %H:%M:%S"),
        ),
    )


def _over_seeds(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """(condition, sentence) of what runs that differ in the seed alone say together; empty with fewer than three."""
    from clip_align.analysis.seed_verdicts import SeededRun, seed_verdicts

    found = conditions([run.folder for run in runs])
    seeded = [
        SeededRun(*of, run.history, partial(read_items, run.folder))
        for run, of in zip(runs, found, strict=True)
        if of is not None
    ]
    return [(" and ".join(verdict.conditions), verdict.sentence) for verdict in seed_verdicts(seeded)]


def _run_row(run: Run, output: Path) -> dict[str, Any]:
    provenance = read_provenance(run.folder)
    last = run.history.evaluations[-1] if run.history.evaluations else None
    report = RunFolder(run.folder).report_html
    return {
        "label": run.label,
        "name": run.name,
        "status": run_status(RunFolder(run.folder)),
        "seed": provenance.get("seed"),
        "step": last["global_step"] if last else None,
        "samples": last["samples_seen"] if last else None,
        "command": command_of(provenance),
        "link": quote(os.path.relpath(report, output)) if report.is_file() else None,
        "verdicts": sentences.verdict_sentences(run.history),
    }


def _score_table(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Latest values of headline and companion scores, a column per run, a row per version of a benchmark."""
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for index, run in enumerate(runs):
        for benchmark, score in shown_scores(run.history):
            if score["role"] not in SHOWN:
                continue
            key, version = score_key(benchmark, score), benchmark["version"] or 0
            empty = {"key": key, "version": version, "label": score["label"], "cells": [("–", "")] * len(runs)}
            row = rows.setdefault((key, version), empty)
            points = curve_of(run.history, benchmark, score).points
            if points:
                row["cells"][index] = _cell(points[-1])
    return list(rows.values())


def _cell(point: Point) -> tuple[str, str]:
    if point.value is None:
        return point.absent, point.reason or ""
    return number(point.value, 3), interval(point.low, point.high, 3)
