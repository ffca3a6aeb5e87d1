# SPDX-License-Identifier: Apache-2.0
"""Shards for one rank, fetched ahead by a process of its own (`shard_fetcher`)."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Sequence

from clip_align.data.progress import Notify, Progress
from clip_align.data.streaming.shard_fetcher import FetchedShard, FetchSettings, fetched_of
from clip_align.errors import Problem, RunError
from clip_align.processes.all_cores import environment, pipe_of

WAITING_SECONDS = 5.0  # before waiting for shards is reported, and between two reports
_LOOK_S = 0.5  # between two looks whether the run is to end
_END_S = 2.0  # for the process to end


class ShardSupply:
    """Fetches shards that are asked for, in their order, and keeps them until they are released.

    Args:
        urls: paths or addresses of all shards.
        settings: of the process that fetches; it is started by the first request.
        notify: receives progress while the run waits.
    """

    def __init__(self, urls: Sequence[str], settings: FetchSettings, notify: Notify) -> None:
        self.urls, self.settings, self._notify = urls, settings, notify
        self._process: subprocess.Popen[str] | None = None
        self._held = Counter[int]()
        self._fetched: dict[int, FetchedShard] = {}
        self._news = threading.Condition()
        self._ended = False
        self.interrupted: Callable[[], bool] = lambda: False  # whether the run is to end, so that waiting is in vain

    def hold(self, shards: Sequence[int]) -> None:
        """Ask for shards; each stays until it was released as often as it was held."""
        for shard in shards:
            self._held[shard] += 1
            if self._held[shard] == 1:
                self._ask(shard)

    def release(self, shards: Sequence[int]) -> None:
        """These shards are not needed any more."""
        for shard in shards:
            self._held[shard] -= 1
            if not self._held[shard]:
                del self._held[shard]
                with self._news:
                    self._fetched.pop(shard, None)
                self._send({"release": shard})

    def wait(self, shards: Sequence[int]) -> list[FetchedShard]:
        """The shards, all of them held, once they are there. RunError with the first that cannot be used."""
        again = set[int]()
        reported = time.monotonic()
        while True:
            with self._news:
                found = [self._fetched.get(shard) for shard in shards]
                if self._ended and None in found:
                    raise RunError(Problem("data", "the process that fetches shards has ended; resume the run"))
                if None in found:
                    if self.interrupted():
                        raise RunError(Problem("data", "a signal came while the run waited for shards"))
                    self._news.wait(_LOOK_S)
            for one in found:
                if one is not None and one.full and one.number not in again:
                    again.add(one.number)  # it was asked for ahead; since then others may have been released
                    with self._news:
                        self._fetched.pop(one.number, None)
                    self._ask(one.number)
                elif one is not None and one.error:
                    raise RunError(_problem(one, self.settings.limit))
            whole = [one for one in found if one is not None and not one.error]
            if len(whole) == len(shards):
                return whole
            if time.monotonic() - reported > WAITING_SECONDS:
                reported = time.monotonic()
                self._notify(Progress("fetching shards", len(whole), len(shards)))

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            _end(self._process, os.getpid())

    def _ask(self, shard: int) -> None:
        self._send({"fetch": [shard, self.urls[shard]]})

    def _send(self, request: dict[str, object]) -> None:
        if self._process is None:
            self._process = self._started()
        with contextlib.suppress(BrokenPipeError):  # it has ended, which waiting for it reports
            stdin = pipe_of(self._process.stdin)
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()

    def _started(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", "from clip_align.data.streaming.shard_fetcher import main; main()"],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        weakref.finalize(self, _end, process, os.getpid())
        threading.Thread(target=_listen, args=(process, weakref.ref(self)), daemon=True).start()
        stdin = pipe_of(process.stdin)
        stdin.write(self.settings.line() + "\n")
        stdin.flush()
        return process

    def _hear(self, line: str | None) -> None:
        """In the thread that listens: an answer, or None: the process has ended."""
        with self._news:
            if line is None:
                self._ended = True
            else:
                shard = fetched_of(line)
                if shard.number in self._held:
                    self._fetched[shard.number] = shard
            self._news.notify_all()


def _listen(process: subprocess.Popen[str], supply: weakref.ref[ShardSupply]) -> None:
    for line in pipe_of(process.stdout):
        if (living := supply()) is not None:
            living._hear(line)
        del living
    if (living := supply()) is not None:
        living._hear(None)


def _end(process: subprocess.Popen[str], owner: int) -> None:
    if os.getpid() != owner:  # a forked worker: the process is not its own
        return
    with contextlib.suppress(OSError, ValueError):  # it has ended already
        stdin = pipe_of(process.stdin)
        stdin.write('{"end": true}\n')
        stdin.close()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _problem(shard: FetchedShard, limit: int) -> Problem:
    if not shard.full:
        return Problem("data.shards", f"{shard.error}; {shard.advice}")
    what = f"data.cache_gb={limit / 1e9:g} is too small for the shards in use: {shard.error}"
    return Problem("data.cache_gb", f"{what}; raise it, or take a smaller data.window_shards", shown="")
