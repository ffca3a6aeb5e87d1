# SPDX-License-Identifier: Apache-2.0
"""Several runs on the same axes: one figure and one page."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from clip_align.record.items import read_items
from clip_align.record.record import History, read
from clip_align.record.schema import SHOWN, score_key
from clip_align.report import sentences
from clip_align.report.figures import png
from clip_align.report.labels import interval, number
from clip_align.report.page import TEMPLATE, alternative, command_of, inline, render
from clip_align.report.panels import Panel, note_of, panels
from clip_align.report.run_labels import conditions, run_labels, run_names
from clip_align.report.score_curves import Point, curve_of, shown_scores
from clip_align.report.score_variants import all_scores
from clip_align.report.style import NARROW
from clip_align.runs.folder import RunFolder, read_provenance, run_status, write_atomic

FOOT = (
    "Horizontal axis: samples seen, linear near 0, then logarithmic. Bands: 95 % intervals of each run by itself "
    "(not of other seeds). Gaps in a curve: undefined there; the reasons are on the run's own page. "
    "Reference lines: those of the first run."
)


@dataclass(frozen=True)
class Run:
    """A run as the comparison sees it: ``label`` is what differs from the others, ``name`` its folder's."""

    label: str
    name: str
    folder: Path
    history: History


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """The runs of these folders, under labels that tell them apart."""
    labels, names = run_labels(folders), run_names(folders)
    return [Run(*of, all_scores(read(of[2]))) for of in zip(labels, names, folders, strict=True)]


def overlaid(runs: Sequence[Run]) -> list[Panel]:
    """The panels of all runs, each with the runs' headline curves of one benchmark on top of each other.

    A benchmark whose version differs between runs gives one panel per version: the numbers cannot be
    compared. Reference lines are those of the first run that has the panel.
    """
    merged: dict[tuple[str, str, int], Panel] = {}
    for index, run in enumerate(runs):
        for panel in panels(run.history):
            for curve in panel.curves:
                if curve.role != "headline":
                    continue
                key = curve.key.rsplit("/", 1)[0]
                version = run.history.benchmarks[key]["version"] or 0 if key in run.history.benchmarks else 0
                place = (panel.name, curve.key, version)
                named = replace(curve, run=run.label, place=index, label=f"{run.label}, {curve.label}")
                if place in merged:
                    merged[place] = replace(merged[place], curves=(*merged[place].curves, named))
                    continue
                lines = tuple(replace(r, owner="", tag="") for r in panel.references if curve.key in r.keys)
                title = panel.title.partition(" (")[0]
                note = f"{note_of([run.history.benchmarks[key]])} · {curve.label}" if version else panel.note
                merged[place] = Panel(panel.name, title, note, (named,), lines, axis=panel.axis)
    return _versions_named(merged)


def _versions_named(merged: Mapping[tuple[str, str, int], Panel]) -> list[Panel]:
    several = {(n, k) for n, k, _ in merged if sum((n, k) == (a, b) for a, b, _ in merged) > 1}
    order = {name: i for i, name in enumerate(dict.fromkeys(n for n, _, _ in merged))}
    return [
        replace(panel, note=f"{panel.note} · version {version}") if (name, key) in several else panel
        for (name, key, version), panel in sorted(merged.items(), key=lambda m: order[m[0][0]])
    ]


def write(folders: Sequence[Path], output: Path) -> None:
    """Write ``curves.png`` and ``report.html`` of the comparison into ``output``."""
    runs = read_runs(folders)
    built = overlaid(runs)
    title = f"{len(runs)} runs: " + "; ".join(r.label for r in runs)
    wide, narrow = png(built, title=title, foot=FOOT), png(built, title=title, foot=FOOT, layout=NARROW)
    target = RunFolder(output)
    write_atomic(target.curves_png, wide)
    write_atomic(
        target.report_html,
        render(
            TEMPLATE.with_name("compare.html.j2"),
            title=f"{len(runs)} runs compared · clip-align",
            refresh=None,
            runs=[_run_row(r, output) for r in runs],
            wide=inline(wide),
            narrow=inline(narrow),
            alternative=alternative(
                [replace(p, curves=tuple(replace(c, label=c.run) for c in p.curves)) for p in built]
            ),
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
