# SPDX-License-Identifier: Apache-2.0
"""Checkpoint files: their names, and which of a run's can be trusted to resume from."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from clip_align.errors import UserError
from clip_align.evaluation.weights import EMA, RAW
from clip_align.runs.folder import replacing

OWN = "clip_align"  # our part of the file; everything else but the averages is Lightning's
AVERAGE = "weight_average"  # averaged weights, in a run that is evaluated with them
MODEL = "model."  # before the names of the model's weights in ``state_dict``
STEP_FILE = re.compile(r"step-(\d{9})\.ckpt")
LAST = "last.ckpt"
SET_ASIDE = "damaged-"  # prefix of a file that was given up; it is neither read nor deleted any more
FORBIDDEN = re.compile(r"Unsupported (?:global: GLOBAL|class) (\S+)")  # in the words of torch's unpickler
READ_ERRORS = (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError, MemoryError)


class GivenUp(NamedTuple):
    """A checkpoint that cannot be trusted: its file's name, and why."""

    file: str
    reason: str


class Newest(NamedTuple):
    """The newest checkpoint that is whole, its content, and the newer files that were given up for it."""

    path: Path
    content: dict[str, Any]
    given_up: tuple[GivenUp, ...]


def step_file(step: int) -> str:
    """Name of the checkpoint after ``step`` optimizer steps."""
    return f"step-{step:09d}.ckpt"


def step_of(path: Path) -> int:
    """The step that a file of `step_files` is named after."""
    return int(path.stem.removeprefix("step-"))


def step_files(folder: Path) -> list[Path]:
    """The checkpoints named after their steps, oldest first."""
    return sorted(path for path in folder.glob("step-*.ckpt") if STEP_FILE.fullmatch(path.name))


def point_last(folder: Path, name: str) -> None:
    """``last.ckpt`` becomes ``name``: a second name of the same file, a copy where the file system has none."""
    with replacing(folder / LAST) as temporary:
        temporary.unlink(missing_ok=True)  # os.link refuses a name that is taken
        try:
            os.link(folder / name, temporary)
        except OSError:
            shutil.copyfile(folder / name, temporary)


def load(path: Path, mapped: bool = False) -> dict[str, Any]:
    """A checkpoint, tensors on the CPU. It holds plain python only, so nothing in it is executed.

    ``mapped``: tensors are read from the file when they are used, so that a look at the rest costs little.
    """
    checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    return checkpoint


def weights_of(content: Mapping[str, Any], name: str | None = None) -> dict[str, torch.Tensor]:
    """The model's weights in a checkpoint, by name as in its ``state_dict``.

    Every checkpoint of a run that is evaluated with averaged weights holds both sets, best checkpoints too: the run is
    resumed from the raw ones.

    Args:
        content: of the file.
        name: raw or ema; None: the set that the scores with plain keys are of.

    UserError for a set that the file does not hold.
    """
    # runs of earlier releases know no other than the raw weights
    evaluated = tuple(content[OWN]["config"]["evaluation"].get("weights", (RAW,)))
    chosen = evaluated[0] if name is None else name
    own = {n.removeprefix(MODEL): t for n, t in content["state_dict"].items() if n.startswith(MODEL)}
    if chosen == RAW:
        return own
    if chosen != EMA or AVERAGE not in content:
        held = f"{RAW}, {EMA}" if AVERAGE in content else RAW
        raise UserError(f"weights: the checkpoint holds no set of weights {chosen}; valid: {held}")
    return {**own, **content[AVERAGE]["tensors"]}


def damage(path: Path) -> str | None:
    """Why a file's content is not what was written, None where it is; FileNotFoundError where there is none.

    torch writes a zip with a checksum of each tensor and never reads the checksums itself, so a disk's lost or
    altered pages would be trained on without a word. Here every byte of every member is read once: 0.19 s for a
    file of 600 MB that is in the page cache (zlib's CRC-32 on one core, the median of three), so 0.6 s for a
    ViT-B/32 of 1.8 GB; from a disk it takes what reading the file takes, and once per resume.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.testzip()
    except FileNotFoundError:
        raise
    except (*READ_ERRORS, zipfile.BadZipFile, zlib.error, struct.error) as error:
        return reason_of(error)
    return f"{member} does not have its checksum" if member else None


def newest(folder: Path) -> Newest | None:
    """The newest checkpoint that is whole; None where there is none at all.

    A damaged file (a crash of the machine, a bad disk) costs the steps since the one before it. UserError where
    there are some and none is whole: a new start would lose what may be repaired.
    """
    given_up: list[GivenUp] = []
    for names in _newest_first(folder):
        try:
            reason = damage(names[0])
            content = load(names[0], mapped=True) if reason is None else {}
        except FileNotFoundError:
            continue
        except READ_ERRORS as error:
            reason, content = reason_of(error), {}
        if reason is None and OWN in content:
            return Newest(names[0], content, tuple(given_up))
        # by the name of its step, where it has one
        given_up.append(GivenUp(names[-1].name, reason or "not a checkpoint of clip-align"))
    if given_up:
        first = given_up[0]
        others = f", nor is any of {len(given_up) - 1} older" if len(given_up) > 1 else ""
        raise UserError(
            f"resume: no checkpoint in {folder} is whole ({first.file}: {first.reason}{others}); "
            "bring one back from a copy, or move that folder away to begin again"
        )
    return None


def set_aside(folder: Path, given_up: Iterable[GivenUp], chosen: str) -> None:
    """Rename the files that were given up for ``chosen``, so that none is counted as kept or read again.

    Call it under the run's lock. ``last.ckpt`` becomes ``chosen``.

    Args:
        folder: of the checkpoints.
        given_up: the damaged files.
        chosen: name of the whole file that the run is resumed from.
    """
    for name, _ in given_up:
        if name != LAST:
            with contextlib.suppress(FileNotFoundError):
                os.replace(folder / name, folder / f"{SET_ASIDE}{name}")
    if chosen != LAST:
        point_last(folder, chosen)


def reason_of(error: BaseException) -> str:
    """The system's own reason; torch's writer hides it behind an error of its own."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, pickle.UnpicklingError):  # torch's text advises to turn the safeguard off
        found = FORBIDDEN.search(str(error))
        if found is None:
            return "torch.save has not written it, or it is damaged"
        return f"it holds {found[1]}, and more than tensors and plain python could run code; save the state_dict alone"
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _newest_first(folder: Path) -> list[Sequence[Path]]:
    """The files to resume from, each with its names: ``last.ckpt`` is the second name of a step's file.

    A step's file may be newer than ``last.ckpt``: the process was killed between the two. Where the file system has
    no links ``last.ckpt`` is a copy, and read first.
    """
    steps, last = step_files(folder)[::-1], folder / LAST
    if not last.exists():
        return [(path,) for path in steps]
    twin = next((path for path in steps if path.samefile(last)), None)
    if twin is None:
        return [(last,), *((path,) for path in steps)]
    return [(last, path) if path == twin else (path,) for path in steps]
