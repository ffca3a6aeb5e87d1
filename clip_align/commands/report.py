# SPDX-License-Identifier: Apache-2.0
"""``report``: draw the figure and the page of a run again, or of several runs on the same axes. No torch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from clip_align.config import PathsConfig
from clip_align.errors import Problem, UserError, visible
from clip_align.runs.folder import RunFolder, resolve_run, sweep_runs, unusable
from clip_align.spelling import unknown_options

SUMMARY = "draw the figure and the page of a run again, or compare several runs"
SUFFIXES = (".png", ".svg", ".pdf")  # of a figure alone; as in `report.figures`, which loads matplotlib
KEYS = ("output", "paths.runs", "two_way")
HELP = """python -m clip_align report <run> [<run> ...] [output=<folder or file>] [two_way=true] [paths.runs=<folder>]

A run is a name under paths.runs (default: runs; `latest` is the newest) or a folder.
  one run         writes curves.png and report.html into it, or into output=
                  two_way=true also draws the intervals over other distortions and classes
  a sweep         is its runs
                  output=figure.svg, .pdf or .png writes the figure alone into that file
  several runs    overlays them in output= (default: <paths.runs>/compare-<date>); of those that differ in
                  the seed alone also the mean
A verdict about rise and fall that the record lacks is worked out from the run's items."""


def main(arguments: Sequence[str]) -> int:
    """Write the report and print where it is; returns the exit code."""
    if any(a in ("--help", "-h") for a in arguments):
        print(HELP)
        return 0
    names = [a for a in arguments if "=" not in a or Path(a).exists()]  # a folder may have "=" in its name
    options = dict(a.split("=", 1) for a in arguments if a not in names)
    _refuse(names, options)
    runs_folder = Path(options.get("paths.runs", PathsConfig().runs)).expanduser()
    runs = _resolved(runs_folder, names)
    two_way = options.get("two_way") == "true"
    if two_way and len(runs) > 1:
        raise UserError(Problem("two_way", "for one run only; several are compared by their headline scores"))
    compared = runs_folder / time.strftime("compare-%Y%m%d-%H%M%S")
    output = Path(options.get("output") or (runs[0].path if len(runs) == 1 else compared)).expanduser()
    alone = output.suffix in SUFFIXES and not output.is_dir()
    # before matplotlib is imported, and before a record is read
    if problem := unusable(output.parent if alone else output):
        what = f"{output} cannot be written ({problem}); give another folder: output=<folder>"
        raise UserError(Problem("output", what))
    if len(runs) == 1:
        from clip_align.report import page  # matplotlib: only once the arguments are right

        page.write(runs[0].path, judge=True, output=output, two_way=two_way)
    else:
        from clip_align.report import compare

        compare.write([r.path for r in runs], output)
    print(visible(f"figure: {output}" if alone else f"report: {output / 'report.html'} and {output / 'curves.png'}"))
    return 0


def _refuse(names: Sequence[str], options: dict[str, str]) -> None:
    errors = unknown_options(options, KEYS)
    errors += [Problem(key, "empty; give a folder") for key in ("output", "paths.runs") if options.get(key) == ""]
    if options.get("two_way", "true") not in ("true", "false"):
        errors.append(Problem("two_way", f"{options['two_way']} is neither true nor false"))
    if not names:
        errors.append(Problem("report", "which run? give a name or a folder: python -m clip_align report latest"))
    if errors:
        raise UserError(*errors)


def _resolved(runs: Path, names: Sequence[str]) -> list[RunFolder]:
    """The runs named, of a sweep all, each once; UserError with a line for each that is not there."""
    found: dict[Path, RunFolder] = {}
    errors: list[Problem] = []
    for name in names:
        try:
            for run in sweep_runs(runs, name) or [resolve_run(runs, name)]:
                found.setdefault(run.path.resolve(), run)  # one that is named twice, or by latest too, is drawn once
        except UserError as error:
            errors += error.problems
    if errors:
        raise UserError(*errors)
    return list(found.values())
