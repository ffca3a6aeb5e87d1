# SPDX-License-Identifier: Apache-2.0
"""Work over all cores in a process of its own: started, followed, ended, and with a result that is whole or absent.

The process is a fresh interpreter, so that forking its workers is safe whatever threads the caller has. It ends when it
is terminated, and when its parent has gone; its workers end with it. What it makes has another name until it is whole.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from typing import IO, Any

from clip_align.processes.parent import end_with_parent
from clip_align.processes.stop_signals import STOP_SIGNALS

PACKAGE_PARENT = Path(__file__).resolve().parents[2]  # what has to be importable in the process
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # a process per core
END_S = 5.0  # for a process to remove what is half-made
STALE_SECONDS = 3600.0  # something half-made that old was left by a process that was killed


def cores() -> int:
    """Processes to work with: the usable cores, one where processes cannot be forked."""
    if "fork" not in get_all_start_methods():  # Windows
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def python_path() -> str:
    """PYTHONPATH of a further interpreter: clip_align can be imported there, also from a checkout."""
    return os.pathsep.join(filter(None, [str(PACKAGE_PARENT), os.environ.get("PYTHONPATH", "")]))


def environment() -> dict[str, str]:
    """Of a further interpreter: clip_align can be imported, and numpy has one thread."""
    return {**os.environ, **ONE_THREAD, "PYTHONPATH": python_path()}


def pipe_of(pipe: IO[str] | None) -> IO[str]:
    """The pipe of a process that was started with PIPE."""
    assert pipe is not None  # PIPE was passed
    return pipe


@contextlib.contextmanager
def own_process(
    arguments: Sequence[str],
    stdin: int = subprocess.PIPE,
    stderr: int | IO[Any] = subprocess.STDOUT,
    end_s: float = END_S,
    **more: Any,
) -> Iterator[subprocess.Popen[str]]:
    """Our interpreter with ``arguments``, its output a pipe of text; ended where the block is left before it.

    Args:
        arguments: of the interpreter; clip_align can be imported there.
        stdin: as subprocess has it.
        stderr: likewise; with standard output where not given.
        end_s: seconds that it may take to end in order.
        more: further arguments of subprocess; ``env`` is `environment` where it is not given.
    """
    command = [sys.executable, *arguments]
    given = {"env": environment(), "text": True, "errors": "replace", **more}
    process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr, **given)
    try:
        yield process
    except BaseException:
        process.terminate()  # it removes what is half-made
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(end_s)
        process.kill()  # where it has ended this does nothing
        raise
    finally:
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        if process.stdout is not None:
            process.stdout.close()
        process.wait()


def pool_of_workers(
    processes: int, begin: Callable[..., None] | None = None, given: Sequence[Any] = ()
) -> ProcessPoolExecutor:
    """Forked workers that end with this process, and leave signals to the group to it.

    Args:
        processes: how many.
        begin: called in each before its first job.
        given: its arguments.
    """
    # a fork shares what is loaded, and needs no main module
    context = get_context("fork" if "fork" in get_all_start_methods() else "spawn")
    return ProcessPoolExecutor(processes, context, _begin, (os.getpid(), begin, tuple(given)))


def _begin(parent: int, begin: Callable[..., None] | None, given: Sequence[Any]) -> None:
    end_with_parent(parent)  # else a killed parent's workers would keep its output open, and its reader waiting
    for number in STOP_SIGNALS:
        # SIGTERM is how the pool ends one of them
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
    if begin is not None:
        begin(*given)


def half_made(target: Path) -> Path:
    """A name beside ``target`` for what is not whole, or not any more: drawn, since containers repeat process ids."""
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.rendering")


def remove_stale(folder: Path) -> None:
    """Take away what processes that were killed have left half-made in ``folder``."""
    for left in folder.glob(".*.rendering"):
        with contextlib.suppress(OSError):  # its own process, or another that cleans up, has just taken it away
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink()
