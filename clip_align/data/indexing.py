# SPDX-License-Identifier: Apache-2.0
"""Indexes of many shards: made once a machine, on all its cores, and kept in the cache.

``python -c "from clip_align.data.indexing import main; main()" <cache>`` is a process of its own that takes a JSON list
of paths on standard input and fills the cache; it prints a line for each shard. It never imports the caller's script,
nor torch, so its workers can be forked. Whatever goes wrong in it is left to the caller, who reads every index in the
end and makes what is missing himself.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from typing import IO

from clip_align.data.progress import Follower, Notify
from clip_align.data.shard_index import CacheError, is_indexed, shard_index
from clip_align.errors import UserError
from clip_align.processes.parent import end_with_parent

ALONE_SECONDS = 2.0  # of work in this process before others are started: what is done by then needs none
WAITING_SECONDS = 15.0  # between two lines about waiting
WHAT = "indexing shards"


def ensure_indexed(paths: Sequence[str], cache: Path, progress: Notify) -> None:
    """Make the indexes that are not in the cache yet; what is wrong with a shard shows when its index is read.

    Other ranks of this machine that come here meanwhile wait, and find them made. CacheError when the cache cannot be
    written.
    """
    if not _missing(paths, cache):
        return
    with _alone(cache / "index", progress):
        missing = _missing(paths, cache)
        follower = Follower(WHAT, len(missing), progress)
        began = time.monotonic()
        for number, path in enumerate(missing):
            if time.monotonic() - began > ALONE_SECONDS and len(missing) - number > 1 and _cores() > 1:
                _in_processes(missing[number:], cache, follower)
                return
            _index(cache, path)
            follower.step()


def _missing(paths: Sequence[str], cache: Path) -> list[str]:
    return [path for path in paths if not is_indexed(path, cache)]


def _index(cache: Path, path: str) -> None:
    try:
        shard_index(path, cache)
    except CacheError:
        raise
    except (UserError, OSError):  # said by who reads the index, about all shards at once
        return


@contextmanager
def _alone(folder: Path, progress: Notify) -> Iterator[None]:
    """No other process of this machine is inside for the same folder; where there are no locks, perhaps one is."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / "lock", "a")  # noqa: SIM115  # held while inside
    except OSError:  # the cache cannot be written: the first index says so
        yield
        return
    with lock:
        told = -WAITING_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() - told > WAITING_SECONDS:
                    told = time.monotonic()
                    progress(f"{WHAT}: waiting for another process of this machine, which is at it")
                time.sleep(0.2)
            except OSError:
                break
        yield


def _in_processes(paths: Sequence[str], cache: Path, follower: Follower) -> None:
    """Index the shards in our own command, on all cores."""
    package = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, "-c", "from clip_align.data.indexing import main; main()", str(cache)],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        with suppress(BrokenPipeError), _pipe(process.stdin) as stdin:
            stdin.write(json.dumps(list(paths)))
        for _ in _pipe(process.stdout):
            follower.step()
        process.wait()
    finally:
        if process.poll() is None:  # a signal came, or a line could not be said
            process.kill()  # its workers end with it; an index is whole or absent
            process.wait()
        _pipe(process.stdout).close()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None  # asked for
    return pipe


def main() -> None:
    """The process: index what standard input names, a line for each that is done."""
    end_with_parent(os.getppid())
    paths, cache = json.load(sys.stdin), Path(sys.argv[1])
    context = get_context("fork")  # numpy and the standard library are all that is loaded
    start = partial(_start_worker, os.getpid())
    with ProcessPoolExecutor(min(_cores(), len(paths)), context, initializer=start) as pool:
        for done in as_completed([pool.submit(_index, cache, path) for path in paths]):
            if isinstance(done.exception(), CacheError):
                os._exit(2)  # the caller finds that out by himself
            print("done", flush=True)


def _start_worker(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    end_with_parent(parent)


def _cores() -> int:
    if "fork" not in get_all_start_methods():
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
