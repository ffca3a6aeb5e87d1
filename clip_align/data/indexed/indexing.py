# SPDX-License-Identifier: Apache-2.0
"""Index many shards, once per machine and on all its cores; indexes are stored in the cache.

``python -c "from clip_align.data.indexed.indexing import main; main()" <cache>`` is a separate process that takes paths
and rules as JSON on standard input and fills the cache; it prints a line for each shard. It imports neither the
caller's script nor torch, so that its workers can be forked. Its errors are ignored: the caller reads every index
afterwards, makes the missing ones and reports their errors.
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
from dataclasses import asdict
from functools import partial
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path

from clip_align.data.progress import Follower, Notify
from clip_align.data.sample_rules import ALL_SAMPLES, SampleRules, rules_of
from clip_align.data.shard_index import CacheError, is_indexed, shard_index
from clip_align.errors import UserError
from clip_align.processes.all_cores import environment, pipe_of
from clip_align.processes.parent import end_with_parent

ALONE_SECONDS = 2.0  # of indexing in this process before others are started; short work needs none
WAITING_SECONDS = 15.0  # between two progress lines while waiting
WHAT = "indexing shards"


def ensure_indexed(paths: Sequence[str], cache: Path, progress: Notify, rules: SampleRules = ALL_SAMPLES) -> None:
    """Make the indexes that are missing in the cache; errors of shards are raised later, by `shard_index`.

    Args:
        paths: of the shards.
        cache: folder of the cache; CacheError if it cannot be written.
        progress: receives progress and lines.
        rules: which samples are used, and where their captions are.

    Only one process of a machine indexes at a time; the others wait and then find the indexes.
    """
    if not _missing(paths, cache, rules):
        return
    with _alone(cache / "index", progress):
        missing = _missing(paths, cache, rules)
        follower = Follower(WHAT, len(missing), progress)
        began = time.monotonic()
        for number, path in enumerate(missing):
            if time.monotonic() - began > ALONE_SECONDS and len(missing) - number > 1 and _cores() > 1:
                _in_processes(missing[number:], cache, rules, follower)
                return
            _index(cache, rules, path)
            follower.step()


def _missing(paths: Sequence[str], cache: Path, rules: SampleRules) -> list[str]:
    return [path for path in paths if not is_indexed(path, cache, rules)]


def _index(cache: Path, rules: SampleRules, path: str) -> None:
    try:
        shard_index(path, cache, rules)
    except CacheError:
        raise
    except (UserError, OSError):  # reported for all shards at once when their indexes are read
        return


@contextmanager
def _alone(folder: Path, progress: Notify) -> Iterator[None]:
    """Hold the machine's lock for a folder; without effect on file systems without locks."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / "lock", "a")  # noqa: SIM115  # held while inside
    except OSError:  # the cache cannot be written: indexing reports it
        yield
        return
    with lock:
        reported = -WAITING_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() - reported > WAITING_SECONDS:
                    reported = time.monotonic()
                    progress(f"{WHAT}: waiting for another process of this machine, which is at it")
                time.sleep(0.2)
            except OSError:
                break
        yield


def _in_processes(paths: Sequence[str], cache: Path, rules: SampleRules, follower: Follower) -> None:
    """Index the shards in a separate process, on all cores."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from clip_align.data.indexed.indexing import main; main()", str(cache)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        with suppress(BrokenPipeError), pipe_of(process.stdin) as stdin:
            stdin.write(json.dumps([list(paths), asdict(rules)]))
        for _ in pipe_of(process.stdout):
            follower.step()
        process.wait()
    finally:
        if process.poll() is None:  # after a signal, or an error while showing progress
            process.kill()  # its workers end with it; an index is complete or absent
            process.wait()
        pipe_of(process.stdout).close()


def main() -> None:
    """The separate process: index the paths on standard input, printing a line for each."""
    end_with_parent(os.getppid())
    (paths, facts), cache = json.load(sys.stdin), Path(sys.argv[1])
    rules = rules_of(facts)
    context = get_context("fork")  # safe: only numpy and the standard library are loaded
    start = partial(_start_worker, os.getpid())
    with ProcessPoolExecutor(min(_cores(), len(paths)), context, initializer=start) as pool:
        for done in as_completed([pool.submit(_index, cache, rules, path) for path in paths]):
            if isinstance(done.exception(), CacheError):
                os._exit(2)  # the caller gets the same error
            print("done", flush=True)


def _start_worker(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    end_with_parent(parent)


def _cores() -> int:
    if "fork" not in get_all_start_methods():
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
