# SPDX-License-Identifier: Apache-2.0
"""The folder of downloaded shards: its limit, its accounts, and several processes on it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from clip_align.data.streaming.shard_cache import CacheFullError, ShardCache

Announce = Callable[[int | None], None]


def content(size: int, known: bool = True) -> Callable[[BinaryIO, Announce], None]:
    def fetch(target: BinaryIO, announced: Announce) -> None:
        announced(size if known else None)
        target.write(b"x" * size)

    return fetch


def never(target: BinaryIO, announced: Announce) -> None:
    raise AssertionError("fetched again")


def test_a_shard_is_fetched_once(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "c", 1000)
    lease = cache.lease("http://a/x.tar?sig=1", content(300))
    assert lease.path.read_bytes() == b"x" * 300
    assert lease.path == cache.path("http://a/x.tar?sig=1")
    assert lease.path.name.endswith("-x.tar")
    lease.release()
    assert cache.lease("http://a/x.tar?sig=1", never).path == lease.path
    assert cache.path("http://b/x.tar") != lease.path
    assert cache.used() == 300


def test_the_longest_unused_goes_first_and_its_index_with_it(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 1000)
    for number, name in enumerate("abc"):
        lease = cache.lease(f"http://{name}", content(250))
        lease.path.with_name(lease.path.name + ".npz").write_bytes(b"i" * 50)
        lease.release()
        for path in (lease.path, lease.path.with_name(lease.path.name + ".npz")):
            os.utime(path, (number, number))
    assert cache.used() == 900
    cache.lease("http://a", never).release()  # used again: b is the oldest now
    cache.lease("http://d", content(250)).release()
    assert {entry.path for entry in cache.entries()} == {cache.path(f"http://{name}") for name in "acd"}
    assert cache.used() == 850
    assert len(list(tmp_path.glob("*.npz"))) == 2


@pytest.mark.parametrize("known", [True, False], ids=["announced", "not announced"])
def test_a_shard_in_use_stays_and_the_limit_holds(tmp_path: Path, known: bool) -> None:
    cache = ShardCache(tmp_path, 1000)
    first, second = (cache.lease(f"http://{name}", content(400)) for name in "ab")
    with pytest.raises(CacheFullError) as error:
        cache.lease("http://c", content(300, known))
    assert str(error.value) == "800 of 1,000 bytes are in use, 300 more are needed"
    assert cache.used() == 800
    assert not list(tmp_path.glob("*.part"))
    first.release()
    cache.lease("http://c", content(300, known))
    assert cache.used() == 700
    assert second.path.exists()


def test_a_download_counts_with_its_full_size(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 1000)
    counted: list[int] = []

    def fetch(target: BinaryIO, announced: Announce) -> None:
        announced(700)
        counted.append(cache.used())
        with pytest.raises(CacheFullError):
            ShardCache(tmp_path, 1000).lease("http://b", content(400))
        target.write(b"x" * 700)

    cache.lease("http://a", fetch)
    assert counted == [700]


def test_a_failed_download_leaves_nothing(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 1000)

    def fetch(target: BinaryIO, announced: Announce) -> None:
        announced(500)
        target.write(b"x" * 100)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        cache.lease("http://a", fetch)
    assert cache.entries() == []
    cache.lease("http://a", content(500))


def test_threads_wait_for_one_download(tmp_path: Path) -> None:
    cache, fetched = ShardCache(tmp_path, 1000), list[int]()

    def fetch(target: BinaryIO, announced: Announce) -> None:
        fetched.append(1)
        time.sleep(0.2)
        content(300)(target, announced)

    leases: list[object] = []
    threads = [threading.Thread(target=lambda: leases.append(cache.lease("http://a", fetch))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(leases), len(fetched)) == (5, 1)


PROCESS = """
import sys, time
from pathlib import Path
from clip_align.data.streaming.shard_cache import ShardCache
cache, names, log = ShardCache(Path(sys.argv[1]), 700), sys.argv[3:], open(sys.argv[2], "a")
def fetch(name):
    def inner(target, announced):
        announced(200)
        log.write(f"{name}\\n"); log.flush()
        for _ in range(20):
            target.write(name.encode() * 10)
            time.sleep(.002)
    return inner
for name in names:
    lease = cache.lease("http://" + name, fetch(name))
    assert lease.path.read_bytes() == name.encode() * 200
    assert cache.used() <= 700, cache.used()
    time.sleep(.01)
    assert lease.path.read_bytes() == name.encode() * 200
    lease.release()
"""


def test_several_processes_share_it_within_its_limit(tmp_path: Path) -> None:
    """Three shards fit; each of three processes uses one at a time, while the others' downloads remove unused ones."""
    names = list("abcdefgh")
    processes = [
        subprocess.Popen([sys.executable, "-c", PROCESS, str(tmp_path / "c"), str(tmp_path / "log"), *order])
        for order in (names, names, names)
    ]
    assert [process.wait(240) for process in processes] == [0, 0, 0]
    fetched = (tmp_path / "log").read_text().split()
    assert set(fetched) == set(names)
    assert ShardCache(tmp_path / "c", 0).used() <= 700


def test_what_a_killed_process_leaves_is_removed_when_space_is_needed(tmp_path: Path) -> None:
    code = PROCESS.replace(
        "announced(200)", "announced(200); import os; target.write(b'h'); target.flush(); os._exit(9)"
    )
    args = [sys.executable, "-c", code, str(tmp_path / "c"), str(tmp_path / "log"), "a"]
    assert subprocess.run(args, timeout=600).returncode == 9
    cache = ShardCache(tmp_path / "c", 700)
    assert cache.used() == 200
    cache.lease("http://b", content(600))
    assert [entry.path for entry in cache.entries()] == [cache.path("http://b")]
    whole = ShardCache(tmp_path / "c", 2000)
    assert subprocess.run(args, timeout=600).returncode == 9
    assert whole.lease("http://a", content(300)).path.read_bytes() == b"x" * 300  # started again
