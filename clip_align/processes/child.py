# SPDX-License-Identifier: Apache-2.0
"""A child process of a run that may be slow, hang or die without the run noticing.

The parent writes a line into a pipe when the record has grown; the child reads the record itself. The
pipe never blocks: a full one means that the child has unread lines. When the parent dies, the pipe ends
and so does the child, after its last work, or without it `LAST_SECONDS` later. Signals to the run's process group do
not reach it.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from clip_align.processes.all_cores import python_path
from clip_align.processes.parent import when_parent_ends

LAST_SECONDS = 20.0  # for the last work of a child whose parent is gone: nobody is there to end one that hangs
SAID_SECONDS = 4.0  # between two lines about a wait for a child that ends
PARENT = "CLIP_ALIGN_PARENT"  # its number: the child may begin when it has gone


class Child:
    """``python -m module arguments…`` at low priority, one thread, in its own process group.

    Its standard output is read line by line by ``messages``; its standard error goes to ``log``.

    Args:
        module: dotted name of what is run.
        arguments: behind its increment of niceness.
        log: file that its standard error is added to.
        nice: how much lower its priority is than this process's.
    """

    def __init__(self, module: str, arguments: Sequence[str], log: Path, nice: int = 10) -> None:
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(nice), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                process_group=0 if os.name == "posix" else None,  # not a session: priorities count inside one
                env={
                    **os.environ,
                    "PYTHONPATH": python_path(),
                    "OMP_NUM_THREADS": "1",
                    "OPENBLAS_NUM_THREADS": "1",
                    PARENT: str(os.getpid()),
                },
            )
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
        self._unread = b""

    @property
    def alive(self) -> bool:
        """Whether the process is still there."""
        return self._process.poll() is None

    def tell(self, word: str = "") -> bool:
        """Write a line with ``word``: there is something new; False when the child is gone."""
        if self._process.stdin is None or not self.alive:
            return False
        try:
            os.write(self._process.stdin.fileno(), word.encode() + b"\n")
        except BlockingIOError:
            pass  # the pipe is full: the child has unread lines
        except OSError:
            return False
        return True

    def messages(self) -> list[str]:
        """Whole lines that the child has printed since the last call; also once it has ended."""
        self._read()
        *lines, self._unread = self._unread.split(b"\n")
        return [line.decode(errors="replace") for line in lines]

    def end(self, word: str, seconds: float, waited: Callable[[int], object] | None = None) -> bool:
        """Write ``word``, which makes the child finish, and wait for it.

        Args:
            word: for the child.
            seconds: after which it is killed.
            waited: called every `SAID_SECONDS` of the wait with the seconds so far.

        Returns:
            Whether it ended well.
        """
        self.tell(word)
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        began = time.monotonic()
        while (left := seconds - (time.monotonic() - began)) > 0:
            try:
                code = self._process.wait(timeout=min(left, SAID_SECONDS))
                self._close()
                return code == 0
            except subprocess.TimeoutExpired:
                if waited is not None:
                    waited(round(time.monotonic() - began))
        self.kill()
        return False

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
            self._close()

    def why(self) -> str:
        """The last line of what it wrote to its log, for a warning."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else f"exit code {self._process.poll()}"

    def _read(self) -> None:
        if self._process.stdout is not None:
            with contextlib.suppress(OSError, ValueError):  # nothing to read now (BlockingIOError), or closed
                while chunk := os.read(self._process.stdout.fileno(), 65536):  # as much as a pipe holds on Linux
                    self._unread += chunk

    def _close(self) -> None:
        """Close the pipes of a child that has ended: this process may be a notebook, and live on."""
        self._read()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def words(seconds: float | None = None) -> list[str] | None:
    """In the child: wait for lines of the parent; those since the last call, None once the parent is gone.

    After ``seconds`` it waits no longer (where pipes can be waited for), and the list is empty.
    """
    try:
        if seconds is not None and os.name == "posix" and not select.select([0], [], [], seconds)[0]:
            return []
        data = os.read(0, 65536)
    except InterruptedError:
        return []
    return data.decode(errors="replace").splitlines() if data else None


def be_nice(increment: int) -> None:
    """In the child: leave the processor to training."""
    with contextlib.suppress(OSError, AttributeError):
        os.nice(increment)


def end_after_parent(seconds: float = LAST_SECONDS) -> None:
    """In the child: end so many seconds after the parent has gone, whatever this process is at then."""

    def end() -> None:
        time.sleep(seconds)
        os._exit(1)  # not sys.exit: the main thread may hang

    when_parent_ends(int(os.environ.get(PARENT) or os.getppid()), end)
