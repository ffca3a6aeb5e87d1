# SPDX-License-Identifier: Apache-2.0
"""Several runs in the same panels: their curves on top of each other, and the mean of those that differ in the seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from clip_align.metrics.intervals import t95
from clip_align.record.record import History
from clip_align.report.panels import Panel, note_of, panels
from clip_align.report.score_curves import Curve, Point

FEWEST_SEEDS = 3  # that a band over seeds needs: of two it would be 13 standard errors wide


@dataclass(frozen=True)
class Run:
    """A run as the comparison sees it.

    ``label`` is what differs from the others, ``name`` its folder's, ``seeds`` what those are called together that
    differ from it in the seed alone; empty where there are none.
    """

    label: str
    name: str
    folder: Path
    history: History
    seeds: str = ""


def overlaid(runs: Sequence[Run]) -> list[Panel]:
    """The panels of all runs, each with the runs' leading curves of one score on top of each other.

    A benchmark whose version differs between runs gives one panel per version: the numbers cannot be
    compared. Reference lines are those of the first run that has the panel. Runs that differ in the seed alone have one
    colour, and their mean is drawn before them.
    """
    merged: dict[tuple[str, str, int], Panel] = {}
    colours = list(dict.fromkeys(run.seeds or run.label for run in runs))
    for run in runs:
        place = colours.index(run.seeds or run.label)
        for panel in panels(run.history):
            for curve in panel.curves:
                if not curve.leads:
                    continue
                key = curve.key.rsplit("/", 1)[0]
                version = run.history.benchmarks[key]["version"] or 0 if key in run.history.benchmarks else 0
                here = (panel.name, curve.key, version)
                named = replace(curve, run=run.label, place=place, behind=bool(run.seeds))
                if here in merged:
                    merged[here] = replace(merged[here], curves=(*merged[here].curves, named))
                    continue
                lines = tuple(replace(r, owner="", tag="") for r in panel.references if curve.key in r.keys)
                note = f"{note_of([run.history.benchmarks[key]])} · {curve.label}" if version else panel.note
                title = panel.title.partition(" (")[0]
                merged[here] = Panel(panel.name, title, note, (named,), lines, axis=panel.axis, small=panel.small)
    seeds = {run.label: run.seeds for run in runs if run.seeds}
    with_means = {here: _with_means(panel, seeds) for here, panel in merged.items()}
    return _versions_named(with_means)


def _with_means(panel: Panel, seeds: Mapping[str, str]) -> Panel:
    """The panel with a mean for each group of runs that differ in the seed alone; one that is alone here stands out."""
    groups: dict[str, list[Curve]] = {}
    for curve in panel.curves:
        groups.setdefault(seeds.get(curve.run, ""), []).append(curve)
    curves: list[Curve] = []
    for name, members in groups.items():
        if name and len(members) > 1:
            mean = replace(members[0], run=name, points=tuple(mean_points(members)), behind=False)
            curves += [mean, *members]
        else:
            curves += [replace(curve, behind=False) for curve in members]
    return replace(panel, curves=tuple(curves))


def mean_points(curves: Sequence[Curve]) -> Iterable[Point]:
    """Mean over runs at each step that all of them have; the band is its 95 % interval, t over the runs.

    Undefined where one of them is. No band below `FEWEST_SEEDS`.
    """
    by_step = [{p.step: p for p in curve.points} for curve in curves]
    for step in sorted(set.intersection(*(set(points) for points in by_step))):
        points = [of[step] for of in by_step]
        values = np.array([p.value for p in points if p.value is not None])
        if len(values) < len(points):
            missing = f"undefined in {len(points) - len(values)} of {len(points)} runs"
            yield Point(step, points[0].samples, None, reason=missing)
            continue
        mean, n = float(values.mean()), len(values)
        half = t95(n - 1) * float(values.std(ddof=1)) / n**0.5 if n >= FEWEST_SEEDS else None
        low, high = (None, None) if half is None else (mean - half, mean + half)
        yield Point(step, points[0].samples, mean, low, high)


def _versions_named(merged: Mapping[tuple[str, str, int], Panel]) -> list[Panel]:
    several = {(n, k) for n, k, _ in merged if sum((n, k) == (a, b) for a, b, _ in merged) > 1}
    names = dict.fromkeys(n for n, _, _ in merged)
    order = {
        name: i for i, name in enumerate(sorted(names, key=lambda name: name == "training"))
    }  # as of one run: last
    return [
        replace(panel, note=f"{panel.note} · version {version}") if (name, key) in several else panel
        for (name, key, version), panel in sorted(merged.items(), key=lambda m: order[m[0][0]])
    ]
