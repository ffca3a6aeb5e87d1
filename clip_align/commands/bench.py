# SPDX-License-Identifier: Apache-2.0
"""``bench``: measure this machine, in turn with open_clip_train where there is something to compare."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clip_align.bench.options import KINDS, lines_of, parse
from clip_align.errors import Problem, UserError, visible
from clip_align.runs.provenance import hardware, versions
from clip_align.spelling import nearest
from clip_align.structure import plain as plain_of

SUMMARY = "measure speed and memory, in turn with open_clip_train"
HELP = """python -m clip_align bench <benchmark> [key=value ...]

Sides run in turn in one process, with the same model, data, precision and number of threads; ratios are of blocks that
ran one after the other. Exit code 0: measured; 1: a requirement (require=) was missed.
"""


def main(arguments: Sequence[str]) -> int:
    """Run a benchmark, print what it found and write it where asked; returns the exit code."""
    if any(a in ("--help", "-h") for a in arguments):
        print(_help([a for a in arguments if a in KINDS]))
        return 0
    names = [a for a in arguments if "=" not in a]
    if len(names) != 1 or names[0] not in KINDS:
        raise UserError(_which(names))
    (name,) = names
    kind = KINDS[name]
    options = parse(kind.options, dict(a.split("=", 1) for a in arguments if "=" in a))
    if options.threads is not None:  # before torch is loaded: numpy's and torch's pools are made once
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
    began = time.monotonic()
    # torch: only once the arguments are right
    found = importlib.import_module(kind.module).measure(options, _progress)
    from clip_align.bench import result

    print("\n".join(map(visible, (*found.lines, *_machine()))))
    if options.output is not None:
        path = Path(options.output).expanduser()
        result.write(path, result.plain(name, plain_of(options), found, time.monotonic() - began))
        print(visible(f"result: {path}"))
    for line in found.missed:
        print(visible(line), file=sys.stderr)
    return 1 if found.missed else 0


def _which(names: Sequence[str]) -> Problem:
    valid, unknown = f"valid: {', '.join(KINDS)}", [name for name in names if name not in KINDS]
    if len(names) == len(unknown) + 1 > 1:
        return Problem("bench", f"{unknown[0]}: give key=value; --help lists the keys")
    if len(names) != 1:
        return Problem("bench", f"{'one at a time;' if names else 'which benchmark?'} {valid}")
    guess = nearest(names[0], KINDS)
    return Problem("bench", f"{names[0]}: no such benchmark; " + (f"did you mean {guess}? " if guess else "") + valid)


def _help(names: Sequence[str]) -> str:
    """All benchmarks, with the keys of those that were named, of all where none was."""
    found = [HELP]
    for name, kind in KINDS.items():
        if not names or name in names:
            found.append("\n".join([f"{name}: {kind.about}", *lines_of(kind.options)]) + "\n")
    return "\n".join(found).rstrip()


def _progress(line: str) -> None:
    print(visible(line), file=sys.stderr, flush=True)


def _machine() -> list[str]:
    """What the figures depend on."""
    machine: dict[str, Any] = hardware()
    gpus = ", ".join(machine["gpus"]) or "no GPU"
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
    packages = ("python", "torch", "pytorch-lightning", "open_clip_torch", "webdataset")
    known = versions()
    return [
        f"on {machine['processor']}, {machine['cores']} cores, {gpus}, {load}",
        ", ".join(f"{package} {known[package]}" for package in packages),
    ]
