# SPDX-License-Identifier: Apache-2.0
"""Many shards: once a machine, on all cores, and the same as one by one."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from clip_align.data.indexed import indexing as module
from clip_align.data.indexed.indexing import ensure_indexed
from clip_align.data.progress import Progress, seconds_left
from clip_align.data.shard_index import CacheError, is_indexed, read_index, shard_index
from tests.data.stream import Make


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other processes are started without waiting whether they are worth it."""
    monkeypatch.setattr(module, "ALONE_SECONDS", -1.0)
    monkeypatch.setattr("clip_align.data.progress.SECONDS", -1)
    monkeypatch.setattr(module, "_cores", lambda: 2)


def test_processes_fill_the_cache(shards: Any, tmp_path: Path, at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(path) for path in shards.good(3, 4, 5, 6)]
    (shards.folder / "zero.tar").touch()
    paths.insert(2, str(shards.folder / "zero.tar"))
    lines: list[str | Progress] = []
    monkeypatch.setattr(module, "_index", lambda cache, path: pytest.fail("indexed in this process"))
    ensure_indexed(paths, tmp_path / "cache", lines.append)
    assert list(map(str, lines)) == [f"indexing shards: {n} of 5" for n in range(1, 6)]
    assert [is_indexed(path, tmp_path / "cache") for path in paths] == [True, True, False, True, True]
    for path in (*paths[:2], *paths[3:]):
        made, expected = shard_index(path, tmp_path / "cache"), read_index(path)
        assert (made.keys == expected.keys).all()
        assert (made.image == expected.image).all()
    lines.clear()
    ensure_indexed([paths[0], *paths[3:]], tmp_path / "cache", lines.append)
    assert lines == []  # all there


def test_the_process_imports_no_torch() -> None:
    code = "import sys, clip_align.data.indexed.indexing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_is_wrong_with_shards_is_reported_of_all(shards: Any, make: Make, at_once: None) -> None:
    shards.good(3, 4)
    for name in ("x.tar", "y.tar"):
        (shards.folder / name).touch()
    os.mkfifo(shards.folder / "pipe.tar")
    with pytest.raises(module.UserError) as error:
        make(shards.folder).check()
    assert error.value.lines == (
        f"data.shards: cannot read {shards.folder}/pipe.tar: it is a named pipe, not a file; make it readable or leave "
        "it out",
        f"data.shards: {shards.folder}/x.tar is a file of 0 bytes; fetch it again or leave it out",
        f"data.shards: {shards.folder}/y.tar is a file of 0 bytes; fetch it again or leave it out",
    )


def test_a_process_that_dies_costs_time_only(
    shards: Any, make: Make, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards.good(3, 4)
    monkeypatch.setattr(module.sys, "executable", "/bin/false")
    data = make(shards.folder)
    assert data.check()[-1].startswith("data: 7 samples in 2 shards")


def test_a_cache_that_cannot_be_written(shards: Any, tmp_path: Path, at_once: None) -> None:
    paths = [str(path) for path in shards.good(3, 4)]
    (tmp_path / "cache").write_text("in the way")
    ensure_indexed(paths, tmp_path / "cache", lambda line: None)  # in processes: left to who reads the indexes
    module.ALONE_SECONDS = 60.0
    with pytest.raises(CacheError, match=r"^paths\.cache: "):
        ensure_indexed(paths, tmp_path / "cache", lambda line: None)


def test_another_rank_waits_with_a_word_and_finds_all_made(shards: Any, tmp_path: Path) -> None:
    paths, cache = [str(path) for path in shards.good(3, 4)], tmp_path / "cache"
    (cache / "index").mkdir(parents=True)
    lines: list[str | Progress] = []
    with open(cache / "index" / "lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        other = threading.Thread(target=ensure_indexed, args=(paths, cache, lines.append))
        other.start()
        deadline = time.monotonic() + 120
        while not lines and time.monotonic() < deadline:
            time.sleep(0.01)
        assert lines == ["indexing shards: waiting for another process of this machine, which is at it"]
        for path in paths:
            shard_index(path, cache)
        before = {file: file.stat().st_mtime_ns for file in (cache / "index").glob("*.npz")}
    other.join(120)
    assert not other.is_alive()
    assert {file: file.stat().st_mtime_ns for file in (cache / "index").glob("*.npz")} == before
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("done", "total", "seconds", "message"),
    [
        (1, 100, 5.0, ""),
        (10, 100, 20.0, ", about 3 min left"),
        (50, 100, 30.0, ", about 30 s left"),
        (1, 1000, 60.0, ", about 17 h left"),
        (100, 100, 60.0, ""),
        (0, 100, 60.0, ""),
    ],
)
def test_time_left(done: int, total: int, seconds: float, message: str) -> None:
    report = Progress("a", done, total, left_seconds=seconds_left(done, total, seconds))
    assert str(report) == f"a: {done:,} of {total:,}{message}"
