# SPDX-License-Identifier: Apache-2.0
"""Downloads from a store that fails in every way: the whole file, or one line with its name after the attempts."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clip_align.data.streaming.remote import (
    Transfer,
    TransferError,
    download,
    filesystem,
    listed,
    read_whole,
    scheme_of,
    shown,
)
from clip_align.errors import UserError
from tests.data.streaming.http_store import Faults, http_store

DATA = bytes(range(256)) * 9000  # more than two chunks
QUICK = Transfer(timeout_s=30.0, retries=2, wait_s=0.01)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[tuple[str, Faults]]:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "x.tar").write_bytes(DATA)
    with http_store(tmp_path / "store") as found:
        yield found


def fetched(url: str, tmp_path: Path, transfer: Transfer = QUICK) -> bytes:
    with open(tmp_path / "target", "w+b") as target:
        assert download(url, target, transfer) == len(DATA)
    return (tmp_path / "target").read_bytes()


def test_a_file_and_its_size(store: tuple[str, Faults], tmp_path: Path) -> None:
    sizes: list[int | None] = []
    with open(tmp_path / "target", "w+b") as target:
        assert download(f"{store[0]}/x.tar", target, QUICK, sizes.append) == len(DATA)
    assert (tmp_path / "target").read_bytes() == DATA
    assert sizes == [len(DATA)]
    assert store[1].requests == {"x.tar": 1}  # nothing but the file is asked for


@pytest.mark.parametrize("kind", ["slow", "trickle", "500", "cut", "long", "loop", "moved"])
def test_after_a_fault_the_next_attempt_has_the_whole_file(
    store: tuple[str, Faults], tmp_path: Path, kind: str
) -> None:
    store[1].kinds["x.tar"], store[1].times = kind, 1
    transfer = replace(QUICK, timeout_s=2.0) if kind in ("slow", "trickle") else QUICK
    assert fetched(f"{store[0]}/x.tar", tmp_path, transfer) == DATA
    assert store[1].requests["x.tar"] == 2


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("slow", "no data for 0.5 s"),
        ("500", "ClientResponseError (HTTP 500)"),
        ("cut", "ClientPayloadError"),
        ("long", "ClientPayloadError"),
        ("loop", "TooManyRedirects;"),
    ],
)
def test_a_fault_that_stays_is_one_line_with_the_name(
    store: tuple[str, Faults], tmp_path: Path, kind: str, reason: str
) -> None:
    store[1].kinds["x.tar"] = kind
    transfer = replace(QUICK, timeout_s=0.5) if kind == "slow" else QUICK
    with pytest.raises(TransferError) as error:
        fetched(f"{store[0]}/x.tar?token=secret", tmp_path, transfer)
    line = str(error.value)
    assert line.startswith(f"{store[0]}/x.tar cannot be fetched: ")
    assert reason in line
    assert line.endswith("given up after 3 attempts")
    assert "\n" not in line
    assert "secret" not in line


def test_a_trickle_is_a_server_that_hangs(store: tuple[str, Faults], tmp_path: Path) -> None:
    store[1].kinds["x.tar"] = "trickle"
    began = time.monotonic()
    with pytest.raises(TransferError, match=r"bytes in \d+ s; given up after 1 attempts"):
        fetched(f"{store[0]}/x.tar", tmp_path, Transfer(timeout_s=0.6, retries=0))
    assert time.monotonic() - began < 60  # all of it takes more than a day


@pytest.mark.parametrize(("name", "reason"), [("none.tar", "does not exist"), ("x.tar", "is refused: .* .HTTP 403.")])
def test_what_no_attempt_changes_is_asked_for_once(
    store: tuple[str, Faults], tmp_path: Path, name: str, reason: str
) -> None:
    store[1].kinds["x.tar"] = "403"
    with pytest.raises(TransferError, match=f"/{name} {reason}"):
        fetched(f"{store[0]}/{name}", tmp_path)
    assert store[1].requests[name] == 1


def test_a_wrong_length_is_found_by_whoever_reads_the_file(store: tuple[str, Faults], tmp_path: Path) -> None:
    """A server that announces half and sends half cannot be noticed by counting."""
    store[1].kinds["x.tar"], store[1].times = "short", 1
    target = tmp_path / "target"

    def complete() -> str:
        return "" if target.stat().st_size == len(DATA) else "is cut"

    with open(target, "w+b") as file:
        assert download(f"{store[0]}/x.tar", file, QUICK, complete=complete) == len(DATA)
    store[1].times = 10
    with open(target, "w+b") as file, pytest.raises(TransferError, match="is cut; given up after 3 attempts"):
        download(f"{store[0]}/x.tar", file, QUICK, complete=complete)


def test_errors_of_the_disk_are_not_the_stores(store: tuple[str, Faults], tmp_path: Path) -> None:
    (tmp_path / "target").touch()
    with open(tmp_path / "target", "rb") as target, pytest.raises(OSError):  # noqa: PT011  # of the operating system
        download(f"{store[0]}/x.tar", target, QUICK)
    assert store[1].requests["x.tar"] == 0

    def full(size: int | None) -> None:
        raise LookupError("full")

    with open(tmp_path / "target", "w+b") as target, pytest.raises(LookupError, match="full"):
        download(f"{store[0]}/x.tar", target, QUICK, full)
    assert store[1].requests["x.tar"] == 1


def test_small_files_are_read_whole(store: tuple[str, Faults]) -> None:
    assert read_whole(f"{store[0]}/x.tar", QUICK, len(DATA)) == DATA
    assert read_whole(f"{store[0]}/none.json", QUICK, 10) is None
    with pytest.raises(TransferError, match=r"x.tar has more than 10 bytes"):
        read_whole(f"{store[0]}/x.tar", QUICK, 10)


def test_what_is_not_supported_or_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError) as error:
        filesystem("ftp://a/x.tar")
    assert error.value.lines == (
        "data.shards: ftp://a/x.tar: ftp is not supported; valid: http://, https://, s3://, gs://, hf://",
    )
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UserError) as error:
        listed("s3://bucket/*.tar", QUICK)
    assert error.value.lines == ("data.shards: s3:// needs the package s3fs, which is not installed; pip install s3fs",)


def test_addresses() -> None:
    assert [scheme_of(path) for path in ("/a/x.tar", "S3://b/x", "pipe:cat x", "x://y", "a b://c")] == [
        "", "s3", "", "x", ""
    ]  # fmt: skip
    assert shown("https://me:word@host:8/a/x.tar?sig=1#z") == "https://host:8/a/x.tar"
    assert shown("/a/x?y.tar") == "/a/x?y.tar"
