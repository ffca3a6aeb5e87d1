# SPDX-License-Identifier: Apache-2.0
"""The checkpoint that a run is resumed from, on machines that do not share rank 0's folder of runs."""

from __future__ import annotations

import contextlib
import hashlib
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from clip_align.data.progress import Notify
from clip_align.errors import UserError
from clip_align.processes.ranks import Ranks
from clip_align.runs.folder import leftovers, replacing

CHUNK = 2**26  # bytes sent at a time
FOLDER = "resumed"  # of the cache: what was sent, until it has been read
OLD_S = 86400.0  # a file that a killed run has left


@contextlib.contextmanager
def on_every_machine(
    checkpoint: Path | None, cache: Path, first: bool, ranks: Ranks, notify: Notify
) -> Iterator[Path | None]:
    """The path at which this rank finds the checkpoint, inside the block; None for a run that starts.

    A machine that does not have the very file of rank 0 under its path gets a copy in its cache, which is removed
    behind the block.

    Args:
        checkpoint: of the run, as rank 0 has it.
        cache: folder of this machine's cache.
        first: whether this is the first rank of its machine, which receives for all of them.
        ranks: of the run.
        notify: takes a line, on rank 0.
    """
    if checkpoint is None or ranks.world == 1:
        yield checkpoint
        return
    wanted = ranks.broadcast(ranks.together(lambda: fingerprint(checkpoint) if ranks.rank == 0 else ""))
    there = fingerprint(checkpoint) == wanted
    lacking = ranks.broadcast(sum(ranks.gather(first and not there)))
    copy = cache / FOLDER / f"{wanted}.ckpt"
    if lacking:
        machines = "a machine that does" if lacking == 1 else f"{lacking} machines that do"
        notify(f"resume: sending {checkpoint.name} to {machines} not have it")
        _send(checkpoint, copy, first and not there, ranks)
    try:
        yield checkpoint if there else copy
    finally:
        if first and not there:
            copy.unlink(missing_ok=True)


def fingerprint(checkpoint: Path) -> str:
    """Of a checkpoint's content, by the checksums that torch writes for each tensor; empty where there is no file.

    Only the list at the end of the file is read.
    """
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            members = [(member.filename, member.CRC, member.file_size) for member in archive.infolist()]
    except (OSError, zipfile.BadZipFile):
        return ""
    return hashlib.sha256(repr(members).encode()).hexdigest()[:32]


def _send(checkpoint: Path, copy: Path, receives: bool, ranks: Ranks) -> None:
    """Rank 0 sends the file in parts to all; ranks that receive it write it. UserError where one cannot."""
    size = ranks.broadcast(checkpoint.stat().st_size if ranks.rank == 0 else 0)

    def received() -> None:
        with contextlib.ExitStack() as files:
            error: OSError | None = None
            target = None
            source = files.enter_context(checkpoint.open("rb")) if ranks.rank == 0 else None
            if receives:
                try:
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    _remove_old(copy.parent)
                    target = files.enter_context(files.enter_context(replacing(copy)).open("wb"))
                except OSError as failed:
                    error = failed
            for _ in range(0, size, CHUNK):
                part = ranks.broadcast(source.read(CHUNK) if source is not None else b"")
                try:
                    if target is not None and error is None:
                        target.write(part)
                except OSError as failed:  # the other ranks are in the next broadcast: every part is taken
                    error = failed
            if error is not None:
                raise UserError(
                    f"paths.cache: {copy} cannot be written ({error.strerror}); the checkpoint is sent there"
                )

    ranks.together(received, UserError, "sending the checkpoint")


def _remove_old(folder: Path) -> None:
    before = time.time() - OLD_S
    for path in (*folder.glob("*.ckpt"), *leftovers(folder, OLD_S)):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                path.unlink()
