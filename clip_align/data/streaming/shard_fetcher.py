# SPDX-License-Identifier: Apache-2.0
"""The process that fetches and indexes shards while the run is under way; one for each rank, without torch.

It reads a line of JSON with its settings and then one for each request: ``{"fetch": [number, address]}``,
``{"release": number}`` or ``{"end": true}``. It answers each fetch with a line (`FetchedShard.line`). A shard that was
fetched stays in the cache until it is released, or this process ends; it ends with the process that started it.
Signals are ignored: shards are needed until the run has ended in order.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from clip_align.data.bad_samples import Causes, as_causes
from clip_align.data.sample_rules import ALL_SAMPLES, SampleRules, rules_of
from clip_align.data.shard_index import (
    CacheError,
    ShardIndex,
    index_file,
    read_index,
    store_index,
    stored_hashes,
    stored_index,
)
from clip_align.data.streaming.remote import Transfer, TransferError, download, scheme_of, shown
from clip_align.data.streaming.shard_cache import PART, CacheFullError, Lease, ShardCache, index_of
from clip_align.data.tar_members import CUT_OR_DAMAGED
from clip_align.errors import UserError
from clip_align.processes.parent import end_with_parent

FOLDER = "shards"  # of downloads, in the cache
_SPACE = "free some space, or choose another folder with paths.cache=…"


@dataclass(frozen=True)
class FetchSettings:
    """What the process needs to know.

    cache: folder of indexes and downloads. limit: bytes of all downloads. transfer: attempts and times. at_once: shards
    that are fetched at the same time. held_out: largest hash of a key that is held out, None: none is. rules: which
    samples are used, and where their captions are.
    """

    cache: str
    limit: int
    transfer: Transfer = field(default_factory=Transfer)
    at_once: int = 8
    held_out: int | None = None
    rules: SampleRules = ALL_SAMPLES

    def shard_cache(self) -> ShardCache:
        """The folder of downloads."""
        return ShardCache(Path(self.cache) / FOLDER, self.limit)

    def files_of(self, url: str) -> tuple[str, Path]:
        """The file of a shard that was fetched, and that of its index."""
        if not scheme_of(url):
            return url, index_file(url, Path(self.cache), self.rules)
        path = self.shard_cache().path(url)
        return str(path), index_of(path, self.rules.of_index)

    def held_out_of(self, url: str, index: ShardIndex) -> tuple[int, ...]:
        """Numbers of the samples of a shard that was fetched, with its index, which are not trained on."""
        if self.held_out is None:
            return ()
        hashes = stored_hashes(*self.files_of(url), index)
        return tuple(np.flatnonzero(hashes <= np.uint64(self.held_out)).tolist())

    def line(self) -> str:
        """As a line of JSON."""
        return json.dumps(asdict(self))


def settings_of(line: str) -> FetchSettings:
    """What `FetchSettings.line` wrote."""
    facts = json.loads(line)
    return FetchSettings(**{**facts, "transfer": Transfer(**facts["transfer"]), "rules": rules_of(facts["rules"])})


@dataclass(frozen=True)
class FetchedShard:
    """The outcome of a fetch.

    samples: usable ones. held_out: numbers of those that are not trained on. bad: samples left out. note: what is wrong
    with the end of the file. size: in bytes. error: why it cannot be used, else empty;
    advice: what to do then. full: the cache's limit was why. out: samples that the condition of the rules leaves out.
    fields: of the json, as far as it was read.
    """

    number: int
    samples: int = 0
    held_out: tuple[int, ...] = ()
    bad: tuple[tuple[str, int, str], ...] = ()  # cause, count, first key
    note: str = ""
    size: int = 0
    error: str = ""
    advice: str = "repair it, or leave it out"
    full: bool = False
    out: tuple[tuple[str, int, str], ...] = ()  # as ``bad``
    fields: tuple[str, ...] = ()

    @property
    def left_out(self) -> Causes:
        """The bad samples by cause."""
        return as_causes({cause: (count, first) for cause, count, first in self.bad})

    @property
    def filtered(self) -> Causes:
        """The samples left out on purpose, by cause."""
        return as_causes({cause: (count, first) for cause, count, first in self.out})

    @property
    def found(self) -> int:
        """Samples in the shard, whether they are used or not."""
        return self.samples + self.left_out.total + self.filtered.total

    def line(self) -> str:
        """As a line of JSON."""
        return json.dumps(asdict(self))


def fetched_of(line: str) -> FetchedShard:
    """What `FetchedShard.line` wrote."""
    facts = json.loads(line)
    facts |= {name: tuple(facts[name]) for name in ("held_out", "fields")}
    facts |= {name: tuple(map(tuple, facts[name])) for name in ("bad", "out")}
    return FetchedShard(**facts)


class Fetcher:
    """Fetches shards and keeps those that were not released.

    Args:
        settings: see `FetchSettings`.
        answer: receives the outcomes, from any thread.
    """

    def __init__(self, settings: FetchSettings, answer: Callable[[FetchedShard], None]) -> None:
        self.settings, self._answer = settings, answer
        self._cache = settings.shard_cache()
        self._leases: dict[int, Lease] = {}
        self._released = set[int]()  # before they were there
        self._lock = threading.Lock()

    def fetch(self, number: int, url: str) -> None:
        """Fetch a shard, and answer."""
        try:
            self._answer(self._fetched(number, url))
        except CacheError as error:
            self._answer(FetchedShard(number, error=str(error), advice="then resume the run"))
        except (UserError, TransferError) as error:
            self._answer(FetchedShard(number, error=self._named(str(error), url)))
        except CacheFullError as error:
            self._answer(FetchedShard(number, error=f"{shown(url)}: {error}", full=True))
        except Exception as error:  # answered in any case: the run waits for it
            reason = f"{type(error).__name__} {' '.join(str(error).split())}"
            text = self._named(f"{shown(url)} cannot be read: {reason}", url)
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                self._answer(FetchedShard(number, error=f"{text} ({self._cache.folder})", advice=_SPACE))
            else:
                self._answer(FetchedShard(number, error=text))

    def release(self, number: int) -> None:
        """The shard may leave the cache."""
        with self._lock:
            lease = self._leases.pop(number, None)
            if lease is None:
                self._released.add(number)
            else:
                lease.release()

    def _fetched(self, number: int, url: str) -> FetchedShard:
        with self._lock:
            self._released.discard(number)
        if scheme_of(url):
            lease = self._cache.lease(url, lambda target, announced: self._download(url, target, announced))
            with self._lock:
                if number in self._released or number in self._leases:  # released meanwhile, or fetched twice
                    lease.release()
                else:
                    self._leases[number] = lease
        index = stored_index(*self.settings.files_of(url), self.settings.rules)
        held_out = self.settings.held_out_of(url, index)
        bad, out = _listed(index.bad), _listed(index.filtered)
        error = f"{shown(url)} has no sample that can be used ({index.bad or index.note})"
        if len(index) or out:
            error = ""
        return FetchedShard(
            number, len(index), held_out, bad, index.note, index.size, error, out=out, fields=index.fields
        )

    def _download(self, url: str, target: BinaryIO, announced: Callable[[int | None], None]) -> None:
        path = self._cache.path(url)

        def complete() -> str:
            """The last check of a download: whether the tar has its end."""
            part = str(path.with_name(path.name + PART))
            try:
                index = read_index(part, self.settings.rules)
            except UserError as error:
                return self._named(str(error), part).removeprefix(part).strip()
            if index.note.startswith(CUT_OR_DAMAGED):
                return index.note
            store_index(index, *self.settings.files_of(url))
            return ""

        download(url, target, self.settings.transfer, announced, complete)

    def _named(self, text: str, url: str) -> str:
        """The message with the shard's address in place of its file in the cache."""
        path = str(self._cache.path(url))
        return text.removeprefix("data.shards: ").replace(path + PART, shown(url)).replace(path, shown(url))


def _listed(causes: Causes) -> tuple[tuple[str, int, str], ...]:
    return tuple((cause, count, causes.first[cause]) for cause, count in causes.counts.items())


def main() -> None:
    """The separate process."""
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(stop, signal.SIG_IGN)
    end_with_parent(os.getppid())
    settings = settings_of(sys.stdin.readline())
    printing = threading.Lock()

    def answer(shard: FetchedShard) -> None:
        with printing:
            print(shard.line(), flush=True)

    fetcher = Fetcher(settings, answer)
    pool = ThreadPoolExecutor(settings.at_once)
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        if "fetch" in request:
            pool.submit(fetcher.fetch, *request["fetch"])
        elif "release" in request:
            fetcher.release(request["release"])
        else:
            break
    os._exit(0)  # without waiting for downloads: each is whole or absent
