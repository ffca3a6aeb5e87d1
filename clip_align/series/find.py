# SPDX-License-Identifier: Apache-2.0
"""From what was typed to what is evaluated: runs, checkpoint files, folders of them."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from clip_align.errors import Problem, UserError
from clip_align.runs.folder import RunFolder, is_run, resolve_run, run_name
from clip_align.series.own_checkpoints import Files, OwnCheckpoints, is_own, kept
from clip_align.series.subject import Subject
from clip_align.training.checkpoint_files import READ_ERRORS, load

SUFFIXES = (".ckpt", ".pt", ".pth", ".bin", ".safetensors")


def found_subject(
    typed: Sequence[str], runs: Path, weights: Sequence[str] | None, device: torch.device, growing: bool
) -> Subject:
    """The subject that the words name; UserError where there is none.

    Args:
        typed: a run's name or folder, or checkpoint files, globs and folders of them.
        runs: ``paths.runs``.
        weights: sets of weights, where they were typed.
        device: where the model is evaluated.
        growing: whether there may be no checkpoint yet.
    """
    run = _run_of(typed, runs)
    if run is not None:
        name = run_name(run, runs)
        return OwnCheckpoints(name, str(run.path.resolve()), lambda: kept(run.checkpoints), weights, device)
    files = _files_of(typed, growing)
    there = files()
    if any(_is_own(path) for path in there):
        folder = there[0].resolve().parent
        home = folder.parent if folder.name == "checkpoints" else folder
        label = home.name if len(there) > 1 else f"{home.name}-{there[0].stem}"
        return OwnCheckpoints(label, str(home), files, weights, device)
    raise UserError(Problem("evaluate", f"{there[0]}: not a checkpoint of clip-align"))


def default_name(label: str) -> str:
    """The name of a record's folder, from the subject's label."""
    return re.sub(r"[^A-Za-z0-9._/+=-]+", "-", label).strip("-./") + "-evaluated"


def _run_of(typed: Sequence[str], runs: Path) -> RunFolder | None:
    """The run that one word names; None where the words are files or folders of checkpoints."""
    if len(typed) != 1 or glob.has_magic(typed[0]):
        return None
    word = typed[0]
    path = Path(word).expanduser()
    if path.name != "latest" and (path.is_file() or (path.is_dir() and not is_run(path) and _in_folder(path))):
        return None
    if path.suffix in SUFFIXES:
        raise UserError(Problem("evaluate", f"{word}: no such file; give a checkpoint, a glob of them, or a run"))
    return resolve_run(runs, word)


def _files_of(typed: Sequence[str], growing: bool) -> Files:
    """The files that words name, looked up anew at each call; UserError for words that name none."""

    def look() -> list[Path]:
        found: dict[Path, None] = {}
        for word in typed:
            path = Path(word).expanduser()
            matched = [Path(p) for p in glob.glob(str(path))] if glob.has_magic(word) and not path.exists() else [path]
            for match in sorted(matched, key=natural):
                found.update(dict.fromkeys(_in_folder(match) if match.is_dir() else [match] if match.exists() else []))
        return list(found)

    if not look() and not growing:
        raise UserError(Problem("evaluate", f"{' '.join(typed)}: no checkpoint there; {', '.join(SUFFIXES)} are known"))
    return look


def natural(path: Path) -> list[tuple[int, str]]:
    """A key that sorts numbers in names by their value: epoch_2 before epoch_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def _in_folder(folder: Path) -> list[Path]:
    inside = folder / "checkpoints" if (folder / "checkpoints").is_dir() else folder
    return sorted((p for p in inside.iterdir() if p.suffix in SUFFIXES and p.is_file()), key=natural)


def _is_own(path: Path) -> bool:
    if path.suffix == ".safetensors":
        return False
    try:
        return is_own(load(path, mapped=True))
    except READ_ERRORS:
        return False
