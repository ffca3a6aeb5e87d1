# SPDX-License-Identifier: Apache-2.0
"""Numbers of samples of shards, as far as they are known without reading the shards.

From earlier reading (kept in the cache), from a ``sizes.json`` beside the shards (``{"00000.tar": 9876, …}``, as
open_clip reads it), or from the ``00000_stats.json`` that img2dataset writes beside ``00000.tar``. They are for the
user alone: batches follow from what the shards hold.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from clip_align.data.file_reader import open_file
from clip_align.data.streaming.remote import Transfer, TransferError, read_whole, scheme_of

SIZES = "sizes.json"
LEARNT = "shard_counts.jsonl"
MOST_BYTES = 2**26  # of a sizes.json
MOST_REQUESTS = 256  # for the statistics of remote shards: more would take minutes
_AT_ONCE = 16


class LearntCounts:
    """Numbers of samples that reading has shown, in the cache. Lost lines do no harm.

    Args:
        cache: folder of the cache.
    """

    def __init__(self, cache: Path) -> None:
        self._path = cache / LEARNT
        self._known: dict[str, int] = {}
        with suppress(OSError), self._path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                with suppress(ValueError, TypeError):  # a line that was cut
                    url, samples = json.loads(line)
                    self._known[str(url)] = int(samples)

    def get(self, url: str) -> int | None:
        """The number of samples of a shard; None if it is not known."""
        return self._known.get(url)

    def learn(self, url: str, samples: int) -> None:
        """Keep the number of samples of a shard."""
        if self._known.get(url) == samples:
            return
        self._known[url] = samples
        with suppress(OSError), self._path.open("a", encoding="utf-8") as lines:  # read again where it is not kept
            lines.write(json.dumps([url, samples]) + "\n")  # one write of a short line: other processes append too


def known_counts(urls: Sequence[str], learnt: LearntCounts, transfer: Transfer) -> list[int | None]:
    """The number of samples of each shard, None where it is not known.

    Args:
        urls: paths or addresses of the shards.
        learnt: from earlier reading.
        transfer: attempts and times for remote files.
    """
    counts = {url: learnt.get(url) for url in urls}
    folders: dict[str, list[str]] = {}
    for url, count in counts.items():
        if count is None:
            folders.setdefault(_folder(url), []).append(url)
    for folder, inside in folders.items():
        sizes = _numbers(_beside(folder, SIZES), transfer)
        counts.update((url, sizes.get(_name(url))) for url in inside)
    unknown = [url for url, count in counts.items() if count is None]
    if sum(bool(scheme_of(url)) for url in unknown) > MOST_REQUESTS:
        unknown = [url for url in unknown if not scheme_of(url)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        stats = pool.map(lambda url: _numbers(_stats(url), transfer).get("successes"), unknown)
        counts.update(zip(unknown, stats, strict=True))
    return [counts[url] for url in urls]


def _numbers(url: str, transfer: Transfer) -> Mapping[str, int]:
    """The whole numbers of a json object; none where the file is missing or is something else."""
    try:
        if scheme_of(url):
            raw = read_whole(url, transfer, MOST_BYTES)
        else:
            with open_file(url) as file:
                raw = file.read(MOST_BYTES)
        found = json.loads(raw or b"{}")
    except (OSError, TransferError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {str(name): value for name, value in found.items() if type(value) is int and value >= 0}


def _folder(url: str) -> str:
    return _beside(url, "")


def _name(url: str) -> str:
    return os.path.basename(urlsplit(url).path if scheme_of(url) else url)


def _stats(url: str) -> str:
    return _beside(url, _name(url).removesuffix(".tar") + "_stats.json")


def _beside(url: str, name: str) -> str:
    """The address of another file in the folder of a shard, with the same query."""
    if not scheme_of(url):
        return os.path.join(os.path.dirname(url), name)
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rpartition('/')[0]}/{name}"))
