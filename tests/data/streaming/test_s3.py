# SPDX-License-Identifier: Apache-2.0
"""Shards in an S3-compatible store on the loopback, behind a proxy that injects faults. Needs s3fs and moto[server]."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from clip_align.config import Source
from clip_align.data.sources.streaming import StreamingData
from clip_align.data.training_data import TrainingData
from clip_align.errors import RunError, UserError
from tests.data.stream import same, take

pytest.importorskip("s3fs", reason="s3fs, which s3:// needs, is not installed")
pytestmark = pytest.mark.slow
moto = pytest.importorskip("moto.server", reason="moto[server], a local S3-compatible server, is not installed")


class Proxy(ThreadingHTTPServer):
    """Passes requests on to the store; the first ``times`` requests for an object in ``kinds`` have its fault."""

    daemon_threads = True

    def __init__(self, store: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.store, self.times = store, 10**9
        self.kinds: dict[str, str] = {}
        self.requests: Counter[str] = Counter()
        self.over = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle of an answer is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def _pass(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        store = HTTPConnection(*self.server.store)
        store.request(self.command, self.path, self.rfile.read(size), dict(self.headers))
        answer = store.getresponse()
        data = answer.read()
        name = self.path.partition("?")[0].rpartition("/")[2]
        if self.command == "GET":
            self.server.requests[name] += 1
        kind = self.server.kinds.get(name) if self.server.requests[name] <= self.server.times else None
        kind = kind if self.command == "GET" else None
        self.send_response(500 if kind == "500" else answer.status)
        for key, value in answer.getheaders():
            if key.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(key, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", "0" if kind == "500" else length or "0")
        self.end_headers()
        if kind == "slow":
            self.server.over.wait(60)
        elif kind != "500" and self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if kind == "cut" else data)
        self.close_connection = kind is not None

    do_GET = do_HEAD = do_PUT = do_POST = _pass  # noqa: N815  # names of http.server

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def bucket(shards: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A bucket with five shards of 31 good samples in all, below ``s3://bucket/a/``."""
    import s3fs

    shards.good(6, 9, 4, 7, 5)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    proxy = Proxy(server.get_host_and_port())
    threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.server_address[1]}",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem()
    if not files.exists("bucket"):  # the store's content outlives its server
        files.mkdir("bucket")
    for path in shards.folder.glob("*.tar"):
        files.put(str(path), f"bucket/a/{path.name}")
    yield proxy
    proxy.over.set()
    proxy.shutdown()
    proxy.server_close()
    server.stop()
    s3fs.S3FileSystem.clear_instance_cache()


def stream(pattern: object, cache: Path, tokenizer: Any, timeout_s: float = 30.0) -> TrainingData:
    facts = {"batch_size": 4, "flip": False, "window_shards": 2, "retries": 1, "timeout_s": timeout_s}
    data = StreamingData(shards=(Source(str(pattern)),), **facts)  # type: ignore[arg-type]
    return TrainingData(data, 8, tokenizer, 0, 0, 1, cache)


@pytest.mark.parametrize("pattern", ["s3://bucket/a/*.tar", "s3://bucket/a/", "s3://bucket/a/{0..4}.tar"])
def test_the_stream_is_that_of_the_same_shards_in_a_folder(
    bucket: Proxy, shards: Any, tmp_path: Path, tokenizer: Any, pattern: str
) -> None:
    local = take(stream(shards.folder, tmp_path / "local", tokenizer), 14)
    batches = take(stream(pattern, tmp_path / "cache", tokenizer), 14)
    assert same(batches, local)
    assert len({key for batch in batches[:7] for key in batch["keys"]}) == 28
    assert [bucket.requests[f"{n}.tar"] for n in range(5)] == [1] * 5


@pytest.mark.parametrize("kind", ["500", "cut", "slow"])
def test_faults(bucket: Proxy, tmp_path: Path, tokenizer: Any, kind: str) -> None:
    """That pass cost nothing; that stay stop the run with the shard's name."""
    # a slow one costs the time-out, which has to leave the others time to answer
    shards, timeout_s = ((0, 3), 3.0) if kind == "slow" else (range(5), 30.0)
    bucket.kinds, bucket.times = {f"{n}.tar": kind for n in shards}, 1
    batches = take(stream("s3://bucket/a/*.tar", tmp_path / "once", tokenizer, timeout_s), 7)
    assert len({key for batch in batches for key in batch["keys"]}) == 28
    bucket.kinds, bucket.times = {"3.tar": kind}, 10**9
    with pytest.raises((RunError, UserError)) as error:
        take(stream("s3://bucket/a/*.tar", tmp_path / "always", tokenizer, timeout_s), 7)
    (line,) = error.value.lines
    assert line.startswith("data.shards: s3://bucket/a/3.tar cannot be fetched: ")
    assert line.endswith("given up after 2 attempts; repair it, or leave it out")


def test_what_is_not_there(bucket: Proxy, tmp_path: Path, tokenizer: Any) -> None:
    with pytest.raises(UserError) as error:
        stream("s3://bucket/b/*.tar", tmp_path, tokenizer).check()
    assert error.value.lines == ("data.shards: nothing matches s3://bucket/b/*.tar; name shards that exist",)
    with pytest.raises((RunError, UserError)) as error:
        take(stream("s3://bucket/a/{4..5}.tar", tmp_path, tokenizer), 7)
    assert error.value.lines == ("data.shards: s3://bucket/a/5.tar does not exist; repair it, or leave it out",)
