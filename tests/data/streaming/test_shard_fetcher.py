# SPDX-License-Identifier: Apache-2.0
"""The process that fetches shards: what it answers, and that a full disk is not the store's fault."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from clip_align.data.streaming import shard_fetcher as module
from clip_align.data.streaming.remote import Transfer
from clip_align.data.streaming.shard_fetcher import FetchedShard, Fetcher, FetchSettings, fetched_of, settings_of
from clip_align.data.streaming.shard_supply import ShardSupply
from clip_align.errors import RunError
from tests.data.streaming.http_store import http_store


def test_lines_are_read_back() -> None:
    settings = FetchSettings("/c", 5, Transfer(1.5, 2), 3, 2**63 + 1)
    assert settings_of(settings.line()) == settings
    shard = FetchedShard(3, 9, (1, 4), (("no caption", 2, "k"),), "is cut", 77, "x", "y", True)
    assert fetched_of(shard.line()) == shard
    assert shard.left_out.counts == {"no caption": 2}


def fetched(tmp_path: Path, url: str, number: int = 0) -> FetchedShard:
    answers: list[FetchedShard] = []
    settings = FetchSettings(str(tmp_path / "cache"), 10**9, Transfer(5.0, 0))
    Fetcher(settings, answers.append).fetch(number, url)
    (answer,) = answers
    return answer


def test_a_shard_and_what_is_wrong_with_others(shards: Any, tmp_path: Path) -> None:
    (path,) = shards.good(5)
    mute = shards.tar("mute.tar", [("x.png", shards.image())])
    (shards.folder / "zero.tar").touch()
    assert fetched(tmp_path, str(path)) == FetchedShard(0, 5, size=path.stat().st_size)
    with http_store(shards.folder) as (address, _):
        assert fetched(tmp_path, f"{address}/0.tar", 7) == FetchedShard(7, 5, size=path.stat().st_size)
        for where in (f"{address}/mute.tar", str(mute)):
            error = fetched(tmp_path, where).error
            assert error == f"{where} has no sample that can be used (1 no caption (first: x))"
        error = fetched(tmp_path, f"{address}/zero.tar").error
        assert error.startswith(f"{address}/zero.tar cannot be fetched: is a file of 0 bytes")
    assert fetched(tmp_path, "/nowhere/x.tar").error == (
        "/nowhere/x.tar cannot be read: FileNotFoundError [Errno 2] No such file or directory: '/nowhere/x.tar'"
    )


def test_a_full_disk_is_named(shards: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards.good(5)

    def full(url: str, target: Any, *_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "download", full)
    answer = fetched(tmp_path, "http://a/0.tar")
    folder = tmp_path / "cache" / "shards"
    assert answer.error == f"http://a/0.tar cannot be read: OSError [Errno 28] No space left on device ({folder})"
    assert answer.advice == "free some space, or choose another folder with paths.cache=…"


def test_a_process_that_has_ended_is_noticed(shards: Any, tmp_path: Path) -> None:
    paths = [str(path) for path in shards.good(3, 4)]
    supply = ShardSupply(paths, FetchSettings(str(tmp_path / "cache"), 10**9), lambda line: None)
    supply.hold([0])
    assert [shard.samples for shard in supply.wait([0])] == [3]
    assert supply._process is not None
    supply._process.kill()
    supply._process.wait()
    supply.hold([1])
    with pytest.raises(RunError, match=r"^data: the process that fetches shards has ended; resume the run$"):
        supply.wait([1])
    supply.close()
