# SPDX-License-Identifier: Apache-2.0
"""Several runs on the same axes: one figure and one page."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from clip_align.record.record import History, read
from clip_align.report import sentences
from clip_align.report.draw import NARROW
from clip_align.report.figures import png
from clip_align.report.labels import interval, number
from clip_align.report.page import TEMPLATE, alternative, inline, render
from clip_align.report.panels import Panel, Point, curve_of, note_of, panels
from clip_align.report.score_variants import all_scores
from clip_align.runs.folder import RunFolder, read_provenance, run_status, write_atomic

FOOT = (
    "Horizontal axis: samples seen, linear near 0, then logarithmic. Bands: 95 % intervals of each run by itself "
    "(they say nothing about other seeds). Gaps in a curve: undefined there; the run's own page says why. "
    "Reference lines: those of the first run."
)


@dataclass(frozen=True)
class Run:
    """A run as the comparison sees it."""

    name: str
    folder: Path
    history: History


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """The runs of these folders under the shortest names that tell them apart."""
    parts = [f.resolve().parts for f in folders]
    depth = 1
    while depth < max(map(len, parts)) and len({p[-depth:] for p in parts}) < len(set(parts)):
        depth += 1
    return [Run("/".join(p[-depth:]), f, all_scores(read(f))) for p, f in zip(parts, folders, strict=True)]


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
                version = _version(run.history.benchmarks.get(key, {}))
                place = (panel.name, curve.key, version)
                named = replace(curve, run=run.name, place=index, label=f"{run.name}, {curve.label}")
                if place in merged:
                    merged[place] = replace(merged[place], curves=(*merged[place].curves, named))
                    continue
                lines = tuple(r for r in panel.references if curve.key in r.keys)
                note = f"{note_of([run.history.benchmarks[key]])} · {curve.label}" if version else panel.note
                merged[place] = replace(
                    panel, curves=(named,), references=lines, gaps=(), bound=(), peak=None, note=note
                )
    return _versions_named(merged)


def _version(benchmark: Mapping[str, Any]) -> int:
    return int(benchmark.get("version") or 0)


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
    title = f"{len(runs)} runs: " + ", ".join(r.name for r in runs)
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
            scores=_score_table(runs),
            written=time.strftime("%Y-%m-%d %H:%M:%S"),
        ),
    )


def _run_row(run: Run, output: Path) -> dict[str, Any]:
    provenance = read_provenance(run.folder)
    last = run.history.evaluations[-1] if run.history.evaluations else {}
    report = RunFolder(run.folder).report_html
    return {
        "name": run.name,
        "status": run_status(RunFolder(run.folder)),
        "seed": provenance.get("seed"),
        "step": last.get("global_step"),
        "samples": last.get("samples_seen"),
        "command": " ".join(map(str, provenance.get("command") or ())),
        "link": quote(os.path.relpath(report, output)) if report.is_file() else None,
        "verdicts": sentences.verdict_sentences(run.history),
    }


def _score_table(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Latest values of headline and companion scores, a column per run, a row per version of a benchmark."""
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for index, run in enumerate(runs):
        for benchmark, score in sentences.described(run.history):
            if score.get("role") not in ("headline", "companion"):
                continue
            key = f"{benchmark['key']}/{score['name']}"
            version, label = _version(benchmark), score.get("label") or score["name"]
            empty = {"key": key, "version": version, "label": label, "cells": [("–", "")] * len(runs)}
            row = rows.setdefault((key, version), empty)
            points = curve_of(run.history, benchmark, score).points
            if points:
                row["cells"][index] = _cell(points[-1])
    return list(rows.values())


def _cell(point: Point) -> tuple[str, str]:
    if point.value is None:
        return point.absent, point.reason or ""
    return number(point.value, 3), interval(point.low, point.high, 3)
