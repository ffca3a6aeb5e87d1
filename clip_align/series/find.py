# SPDX-License-Identifier: Apache-2.0
"""From what was typed to what is evaluated: runs, checkpoint files, folders of them."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from clip_align.errors import Problem, UserError
from clip_align.evaluation.weights import RAW
from clip_align.runs.folder import RunFolder, is_run, resolve_run, run_name
from clip_align.series.foreign_checkpoints import ForeignCheckpoints
from clip_align.series.own_checkpoints import Files, OwnCheckpoints, is_own, kept
from clip_align.series.pretrained import pretrained
from clip_align.series.subject import Subject
from clip_align.training.checkpoint_files import READ_ERRORS, load

SUFFIXES = (".ckpt", ".pt", ".pth", ".bin", ".safetensors")


@dataclass(frozen=True)
class Foreign:
    """What was typed about checkpoints that are not clip-align's own; None: to be found beside them.

    architecture: open_clip's name, or a json file. samples_per_epoch, global_batch: in samples.
    """

    architecture: str | None = None
    samples_per_epoch: float | None = None
    global_batch: float | None = None


def found_subject(
    typed: Sequence[str],
    runs: Path,
    weights: Sequence[str] | None,
    device: torch.device,
    growing: bool,
    foreign: Foreign,
) -> Subject:
    """The subject that the words name; UserError where there is none.

    Args:
        typed: a run's name or folder, or checkpoint files, globs and folders of them, or a pretrained name.
        runs: ``paths.runs``.
        weights: sets of weights, where they were typed.
        device: where the model is evaluated.
        growing: whether there may be no checkpoint yet.
        foreign: about checkpoints of other trainers.
    """
    if len(typed) == 1 and not Path(typed[0]).exists() and (known := pretrained(typed[0], device)):
        return known
    run = _run_of(typed, runs, growing)
    if run is not None:
        name = run_name(run, runs)
        return OwnCheckpoints(name, str(run.path.resolve()), lambda: kept(run.checkpoints), weights, device)
    files = _files_of(typed, growing)
    there = files()
    first = (there[0] if there else _to_come(typed[0])).resolve()
    folder = first.parent
    home = folder.parent if folder.name == "checkpoints" else folder
    label = f"{home.name}-{first.stem}" if len(there) == 1 and not growing else home.name
    if any(_is_own(path) for path in there):
        return OwnCheckpoints(label, str(home), files, weights, device)
    if weights is not None and tuple(weights) != (RAW,):
        what = f"{', '.join(weights)}; these checkpoints hold one set, evaluation.weights=raw"
        raise UserError(Problem("evaluation.weights", what))
    given = foreign.architecture, foreign.samples_per_epoch, foreign.global_batch
    return ForeignCheckpoints(label, str(home), files, device, *given)


def default_name(label: str) -> str:
    """The name of a record's folder, from the subject's label."""
    return re.sub(r"[^A-Za-z0-9._/+=-]+", "-", label).strip("-./") + "-evaluated"


def _run_of(typed: Sequence[str], runs: Path, growing: bool) -> RunFolder | None:
    """The run that one word names; None where the words are files or folders of checkpoints."""
    if len(typed) != 1 or glob.has_magic(typed[0]):
        return None
    word = typed[0]
    path = Path(word).expanduser()
    if path.name != "latest" and (path.is_file() or (path.is_dir() and not is_run(path) and _in_folder(path))):
        return None
    if path.suffix in SUFFIXES:
        raise UserError(Problem("evaluate", f"{word}: no such file; give a checkpoint, a glob of them, or a run"))
    try:
        return resolve_run(runs, word)
    except UserError:
        if growing and "/" in word:  # a folder that its trainer has not made yet
            return None
        raise


def _files_of(typed: Sequence[str], growing: bool) -> Files:
    """The files that words name, looked up again at each call; UserError for words that name none."""

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


def _to_come(word: str) -> Path:
    """Some file in the folder that a word names, where there is none yet."""
    path = Path(word).expanduser()
    if not glob.has_magic(word):
        return path / "_"
    for folder in path.parents:
        there = [folder] if not glob.has_magic(str(folder)) else sorted(map(Path, glob.glob(str(folder))))
        if there:
            return there[0] / "_"
    raise AssertionError("the last parent, . or /, has no wildcard")


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
