# SPDX-License-Identifier: Apache-2.0
"""Where stimuli are kept between runs: once per part and size, shared by benchmarks, forgotten when not used.

``<cache>/stimuli/<part>/<view>-<size>-<digest>.npy`` is [N, V, h, w, 3], uint8, or float32 in [0, 1] where the images
are; h and w are the input size, or the images' own where that is smaller. ``….ids.npy`` beside it holds the
fingerprints [N, 16] of its rows, so that a file that has more than a run needs serves it too. The digest is of the
fingerprints; a changed image has another one, and so gets another file.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_align.errors import UserError
from clip_align.evaluation.stimulus import Stimulus, View
from clip_align.evaluation.stimulus_fingerprint import fingerprint

IDS = ".ids.npy"
FOLDER = "stimuli"
UNUSED_DAYS = 60
MOST_BYTES = 30 * 2**30
IN_USE_SECONDS = 3600.0  # used so lately, a file may be another run's that is just starting


@dataclass(frozen=True)
class Job:
    """Images of one part under one view, each once; ``stimuli`` in the order of the rows of a file made for them.

    name: the part, or the benchmark whose own they are. version: of the benchmark, 0 for a part that several share.
    size: side of the model's input in px. tiles: views of each image.
    """

    name: str
    stimuli: tuple[Stimulus, ...]
    view: View
    size: int
    tiles: int
    version: int
    cache: Path

    def __len__(self) -> int:
        return len(self.stimuli)

    @cached_property
    def fingerprints(self) -> tuple[bytes, ...]:
        """Of the stimuli, in their order."""
        return tuple(fingerprint(stimulus, self.version) for stimulus in self.stimuli)

    @property
    def target(self) -> Path:
        """The file that is made for exactly these images."""
        digest = sha256(b"".join(self.fingerprints)).hexdigest()[:16]
        stem = f"{self.view}-{self.size}" + (f"-{self.tiles}" if self.view == "tiles" else "")
        return self.folder / f"{stem}-{digest}.npy"

    @property
    def folder(self) -> Path:
        """Of this part's files."""
        return self.cache / FOLDER / re.sub(r"[^a-z0-9_.]+", "-", self.name.lower()).strip("-.")


def found(job: Job) -> Path | None:
    """A file that has all images of a job: the one made for it, else one that has more; None where there is none.

    OSError where the folder may not be read.
    """
    if job.target.is_file():
        return job.target
    if not job.folder.is_dir():
        return None
    stem = job.target.name.rpartition("-")[0]
    for ids in sorted(job.folder.glob(f"{stem}-*{IDS}")):
        array = ids.with_name(ids.name.removesuffix(IDS) + ".npy")
        if array.is_file() and set(job.fingerprints) <= set(_ids(ids)):
            return array
    return None


def load(job: Job) -> tuple[NDArray[np.generic], NDArray[np.int64]]:
    """The images [N, V, h, w, 3] of the file that has a job's, read from disk as they are used, and its rows in it."""
    path = found(job)
    if path is None:
        raise UserError(f"{job.name}: its images are not in {job.folder}; they are made at the start of a run")
    try:
        array: np.ndarray[Any, Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        ids = _ids(path.with_name(path.name.removesuffix(".npy") + IDS))
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: cannot be read ({error}); delete this file, it is made again") from error
    fits = array.ndim == 5 and array.shape[1] == job.tiles and array.shape[4] == 3 and len(array) == len(ids)
    if not fits or max(array.shape[2:4]) > job.size:
        expected = f"{len(ids)} x {job.tiles} images of up to {job.size} px"
        raise UserError(f"{path}: holds {array.shape}, expected {expected}; delete this file, it is made again")
    with suppress(OSError):  # a cache that cannot be written is not pruned either
        os.utime(path)
    rows = {digest: row for row, digest in enumerate(ids)}
    return array, np.array([rows[digest] for digest in job.fingerprints], np.int64)


def write_ids(job: Job) -> None:
    """The fingerprints beside ``job.target``; to be there before it is."""
    ids = np.frombuffer(b"".join(job.fingerprints), np.uint8).reshape(-1, 16)
    temporary = job.target.with_name(f".{job.target.name}.{secrets.token_hex(4)}")
    with open(temporary, "wb") as file:
        np.save(file, ids)
    os.replace(temporary, job.target.with_name(job.target.name.removesuffix(".npy") + IDS))


def prune(cache: Path, keep: Sequence[Path], notify: Callable[[str], None]) -> None:
    """Remove what no run has used for long, then the least recently used until the rest fits; one line if any.

    Args:
        cache: folder whose ``stimuli/`` is looked at.
        keep: files of this run.
        notify: takes the line.
    """
    now = time.time()
    files = []
    for path in (cache / FOLDER).glob("*/*.npy"):
        with suppress(OSError):
            if not path.name.endswith(IDS):
                files.append((path.stat().st_mtime, path.stat().st_size, path))
    files.sort()
    total = sum(size for _, size, _ in files)
    removed, freed = 0, 0
    for used, size, path in files:
        old = now - used > UNUSED_DAYS * 86400
        if path in keep or now - used < IN_USE_SECONDS or not (old or total - freed > MOST_BYTES):
            continue
        with suppress(OSError):
            path.unlink()
            path.with_name(path.name.removesuffix(".npy") + IDS).unlink(missing_ok=True)
            with suppress(OSError):
                path.parent.rmdir()  # where it is empty now
            removed, freed = removed + 1, freed + size
    if removed:
        notify(
            f"stimuli: removed {removed} file{'s' if removed > 1 else ''} ({freed / 2**30:.1f} GiB) from "
            f"{cache / FOLDER}: not used for {UNUSED_DAYS} days, or beyond {MOST_BYTES / 2**30:.0f} GiB"
        )


def _ids(path: Path) -> list[bytes]:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError):  # damaged: as if it were not there
        return []
    return [row.tobytes() for row in array]
