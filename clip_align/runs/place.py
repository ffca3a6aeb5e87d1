# SPDX-License-Identifier: Apache-2.0
"""Whether a run's folder can be made, found out without making anything."""

from __future__ import annotations

import os
from pathlib import Path

from clip_align.errors import Problem
from clip_align.runs.folder import RunFolder, is_run, used_name

LONGEST_BYTES = 255  # of a file's name, on the file systems in use


def unusable_run(runs: Path, name: str | None) -> Problem | None:
    """The problem of a folder where no new run can be made, None where one can; ``name`` None: a generated one."""
    folder = runs / name if name is not None else runs
    if long := next((part for part in folder.parts if len(os.fsencode(part)) > LONGEST_BYTES), None):
        key, size = "name" if part_of(name, long) else "paths.runs", len(os.fsencode(long))
        return Problem(key, f"{long[:20]}… is {size} bytes long; a folder's name has at most {LONGEST_BYTES}")
    if problem := unwritable(folder, runs):
        return problem
    if name is None:
        return None
    for parent in folder.parents:
        if parent == runs:
            break
        if is_run(parent):
            return Problem("name", f"{parent} is a run, and holds no others; choose another name=…")
    return used_name(RunFolder(folder), name) if RunFolder(folder).has_steps else None


def part_of(name: str | None, part: str) -> bool:
    """Whether ``part`` is one of the folders that ``name`` names."""
    return name is not None and part in name.split("/")


def unwritable(folder: Path, runs: Path) -> Problem | None:
    """The problem of a folder that is there and cannot be written, or cannot be made."""
    # the nearest that exists: the others would be made in it; lexists, since a dangling link is in the way too
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(p))
    key = "name" if runs.absolute() in there.parents else "paths.runs"  # below paths.runs only the name chooses
    instead = "choose another name=…" if key == "name" else "set paths.runs=…"
    if not there.is_dir():
        return Problem(key, f"{there} is not a folder; {instead}")
    if not os.access(there, os.W_OK | os.X_OK):  # asked, since trying would make the folder
        return Problem(key, f"{there} cannot be written; {instead}")
    return None
