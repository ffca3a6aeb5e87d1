# SPDX-License-Identifier: Apache-2.0
"""Writing checkpoint files: whole or absent, and large ones by a thread while training continues."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io import CheckpointIO

from clip_align.errors import RunError
from clip_align.runs.folder import replacing
from clip_align.training.checkpoint_files import load, reason_of
from clip_align.training.free_memory import free_host_bytes

AT_ONCE = 64 * 2**20  # bytes: a smaller file is on the disk before a thread would have been worth it
SPARE = 1.25  # of a snapshot's size has to be free: its buffer grows by an eighth at a time
CHUNK = 2**26  # bytes handed to the system at a time


class CheckpointError(RunError):
    """A checkpoint could not be written; another attempt would meet the same disk."""


@dataclass(frozen=True)
class Order:
    """What Lightning hands through to the writer beside the content.

    now: return when the file is on the disk. then: called after the file is there, by whoever wrote it.
    """

    now: bool = True
    then: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Written:
    """A file that is on the disk. stalled: seconds that training waited for it; seconds: that writing it took."""

    name: str
    stalled: float
    seconds: float


class CheckpointWriter(CheckpointIO):
    """Files are whole or absent, and hold nothing that ``torch.load(weights_only=True)`` refuses.

    A large file is serialized into host memory (0.5 s for 600 MB, against 0.6 to 1.7 s with a quiet local disk,
    and any time with a busy or a remote one) and written from there by a thread, so that training waits for the
    copy only. The bytes are those that a direct write makes, because it is the same call. One snapshot exists at a
    time: a save that comes while the last one is being written waits for it, which also keeps their order.

    Args:
        background: False writes every file directly.
        free: bytes of host memory that are free now; a snapshot that does not fit is not made.
        at_once: files below this size in bytes are written directly.
    """

    def __init__(
        self, background: bool = True, free: Callable[[], float] = free_host_bytes, at_once: int = AT_ONCE
    ) -> None:
        self.background, self._free, self._at_once = background, free, at_once
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._written: list[Written] = []
        self._failed: list[CheckpointError] = []

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Order | None = None) -> None:
        """Write beside ``path``, flush to the disk, rename.

        Where that fails, an order for now raises CheckpointError; another one is left to `failed`: training continues,
        and the files that are there stay.

        Args:
            checkpoint: the content; tensors may be on any device.
            path: of the file; its folder is made.
            storage_options: an `Order`; None writes directly.
        """
        order, path = storage_options or Order(), Path(path)
        began = time.monotonic()
        self._wait()
        snapshot = None if order.now else self._snapshot(checkpoint)
        if snapshot is None:
            try:
                _write(path, lambda file: torch.save(checkpoint, file), order.then)
            except CheckpointError as error:
                if order.now:
                    raise
                self._failed.append(error)  # not raised: other ranks wait behind the save
                return
            seconds = time.monotonic() - began
            self._written.append(Written(path.name, seconds, seconds))
            return
        stalled = time.monotonic() - began
        self._thread = threading.Thread(target=self._in_background, args=(snapshot, path, order.then, stalled))
        self._thread.daemon = True  # a disk that hangs must not keep a process whose run has ended
        self._thread.start()

    def written(self, wait: bool = False) -> list[Written]:
        """The files that came to the disk since the last call, oldest first.

        wait: until none is being written.
        """
        if wait or (self._thread is not None and not self._thread.is_alive()):
            self._wait()
        found, self._written = self._written, []
        return found

    def failed(self) -> list[CheckpointError]:
        """Those that could not be written since the last call, oldest first; call `written` before."""
        found, self._failed = self._failed, []
        return found

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        """Tensors on the CPU, plain python otherwise."""
        return load(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Delete the file, if it is there."""
        Path(path).unlink(missing_ok=True)

    def teardown(self) -> None:
        """Wait for what is being written."""
        self._wait()

    def _wait(self) -> None:
        if self._thread is not None:
            self._thread.join()  # from here on its error and its file can be read
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _snapshot(self, checkpoint: dict[str, Any]) -> memoryview | None:
        """The file's bytes in host memory; None where it is small, or there is no room for it."""
        size = tensor_bytes(checkpoint)
        if not self.background or size < self._at_once or SPARE * size > self._free():
            return None
        buffer = io.BytesIO()
        try:
            torch.save(checkpoint, buffer)
        except MemoryError:
            return None
        return buffer.getbuffer()

    def _in_background(self, snapshot: memoryview, path: Path, then: Callable[[], None], stalled: float) -> None:
        began = time.monotonic()
        try:
            _write(path, lambda file: _copy(snapshot, file), then)
        except CheckpointError as error:
            self._failed.append(error)
        except BaseException as error:  # raised at the next border of a step
            self._error = error
        else:
            self._written.append(Written(path.name, stalled, time.monotonic() - began))


def tensor_bytes(content: object) -> int:
    """Bytes of all tensors in nested dicts, lists and tuples."""
    if isinstance(content, torch.Tensor):
        return content.nbytes
    if isinstance(content, dict):
        return sum(map(tensor_bytes, content.values()))
    if isinstance(content, (list, tuple)):
        return sum(map(tensor_bytes, content))
    return 0


def _write(path: Path, fill: Callable[[io.BufferedWriter], object], then: Callable[[], None]) -> None:
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        then()  # after the rename: older files go only when this one is there


def _copy(snapshot: memoryview, file: io.BufferedWriter) -> None:
    for start in range(0, len(snapshot), CHUNK):
        file.write(snapshot[start : start + CHUNK])


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        line = f"checkpoint: {path} cannot be written ({reason_of(error)}); free some space"
        raise CheckpointError(line) from error
