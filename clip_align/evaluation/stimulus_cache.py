# SPDX-License-Identifier: Apache-2.0
"""The cache of stimuli: one file per part and input size, used by all benchmarks and runs, removed when unused.

``<cache>/stimuli/<part>/<view>-<size>-<digest>.npy`` is [N, V, h, w, 3], uint8, or float32 in [0, 1] for float images;
h and w are the input size, or the images' own size if that is smaller. ``….ids.npy`` beside it holds the fingerprints
[N, 16] of its rows, so that a file with more images than a run needs can be used too. The digest is that of the
fingerprints: a changed image leads to another file.
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
MOST_BYTES = 30 * 2**30  # 30 GiB
IN_USE_SECONDS = 3600.0  # a file used so recently may belong to another run that is starting


@dataclass(frozen=True)
class Job:
    """The images of one part under one view, each once, in the order of the rows of their file.

    name: of the part, or key of the benchmark for its own images. version: of the benchmark, 0 for a part.
    size: side of the model's input in px. tiles: V, the number of tiles per image, else 1.
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
        """16 bytes for each stimulus, in order."""
        return tuple(fingerprint(stimulus, self.version) for stimulus in self.stimuli)

    @property
    def target(self) -> Path:
        """The file with exactly these images."""
        digest = sha256(b"".join(self.fingerprints)).hexdigest()[:16]
        stem = f"{self.view}-{self.size}" + (f"-{self.tiles}" if self.view == "tiles" else "")
        return self.folder / f"{stem}-{digest}.npy"

    @property
    def folder(self) -> Path:
        """The folder of this part's files."""
        return self.cache / FOLDER / re.sub(r"[^a-z0-9_.]+", "-", self.name.lower()).strip("-.")


def found(job: Job) -> Path | None:
    """A file with all images of a job: its ``target``, else one that contains further images; None if there is none.

    OSError if the folder cannot be read.
    """
    if job.target.is_file():
        return job.target
    if not job.folder.is_dir():
        return None
    stem = job.target.name.rpartition("-")[0]  # view, size and tiles, without the digest
    # sorted: every rank opens the same file
    for ids in sorted(job.folder.glob(f"{stem}-*{IDS}")):
        array = ids.with_name(ids.name.removesuffix(IDS) + ".npy")
        if array.is_file() and set(job.fingerprints) <= set(_ids(ids)):
            return array
    return None


def load(job: Job) -> tuple[NDArray[np.generic], NDArray[np.int64]]:
    """A memory map [N, V, h, w, 3] of a file with all images of the job, and their rows; UserError if unreadable."""
    path = found(job)
    if path is None:
        raise UserError(f"{job.name}: its images are not in {job.folder}; they are made at the start of a run")
    try:
        # a memory map: ranks of a machine have the pages in common; pickles could run code
        array: np.ndarray[Any, Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        ids = _ids(path.with_name(path.name.removesuffix(".npy") + IDS))
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: cannot be read ({error}); delete this file, it is made again") from error
    # [N, V, h, w, 3]; other shapes come from files that were put there by hand
    fits = array.ndim == 5 and array.shape[1] == job.tiles and array.shape[4] == 3 and len(array) == len(ids)
    if not fits or max(array.shape[2:4]) > job.size:
        expected = f"{len(ids)} x {job.tiles} images of up to {job.size} px"
        raise UserError(f"{path}: holds {array.shape}, expected {expected}; delete this file, it is made again")
    with suppress(OSError):  # the time of use; a read-only cache is not pruned either
        os.utime(path)
    rows = {digest: row for row, digest in enumerate(ids)}
    return array, np.array([rows[digest] for digest in job.fingerprints], np.int64)


def write_ids(job: Job) -> None:
    """Write the fingerprints beside ``job.target``; call before the target is renamed into place."""
    ids = np.frombuffer(b"".join(job.fingerprints), np.uint8).reshape(-1, 16)  # [N, 16]
    temporary = job.target.with_name(f".{job.target.name}.{secrets.token_hex(4)}")
    with open(temporary, "wb") as file:
        np.save(file, ids)
    os.replace(temporary, job.target.with_name(job.target.name.removesuffix(".npy") + IDS))


def prune(cache: Path, keep: Sequence[Path], notify: Callable[[str], None]) -> None:
    """Remove files that were not used for `UNUSED_DAYS`, then the least recently used ones beyond `MOST_BYTES`.

    Args:
        cache: folder that contains ``stimuli/``.
        keep: files of this run, which are never removed.
        notify: receives one line if anything was removed.
    """
    now = time.time()
    files = []
    for path in (cache / FOLDER).glob("*/*.npy"):
        with suppress(OSError):  # another run may prune at the same time
            if not path.name.endswith(IDS):
                files.append((path.stat().st_mtime, path.stat().st_size, path))
    files.sort()  # the least recently used first
    total = sum(size for _, size, _ in files)
    removed, freed = 0, 0
    for used, size, path in files:
        old = now - used > UNUSED_DAYS * 86400
        if path in keep or now - used < IN_USE_SECONDS or not (old or total - freed > MOST_BYTES):
            continue
        with suppress(OSError):
            path.unlink()  # a run that has it mapped keeps its pages
            path.with_name(path.name.removesuffix(".npy") + IDS).unlink(missing_ok=True)
            with suppress(OSError):
                path.parent.rmdir()  # fails unless empty
            removed, freed = removed + 1, freed + size
    if removed:
        notify(
            f"stimuli: removed {removed} file{'s' if removed > 1 else ''} ({freed / 2**30:.1f} GiB) from "
            f"{cache / FOLDER}: not used for {UNUSED_DAYS} days, or beyond {MOST_BYTES / 2**30:.0f} GiB"
        )


def _ids(path: Path) -> list[bytes]:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError):  # damaged: treated as absent
        return []
    return [row.tobytes() for row in array]
