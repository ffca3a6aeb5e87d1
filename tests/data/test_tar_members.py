# SPDX-License-Identifier: Apache-2.0
"""The quick reader of headers against tarfile, which is the reference."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_align.data import tar_members as module
from clip_align.data.tar_members import tar_members

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=140).filter(
    lambda name: name not in (".", "..")
)


def tar(files: list[tuple[str, int]], form: int, mtime: float = 0, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, **options) as archive:
        for name, size in files:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = size, mtime
            archive.addfile(info, io.BytesIO(bytes(size)))
    return buffer.getvalue()


def by_tarfile(data: bytes) -> list[module.Member]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return [module.Member(os.fsencode(i.name), i.offset_data, i.size) for i in archive if i.isreg()]


def read(tmp_path: Path, data: bytes) -> tuple[list[module.Member], str]:
    path = tmp_path / "a.tar"
    path.write_bytes(data)
    with path.open("rb", buffering=0) as file:
        found = tar_members(file)
        assert found[0] == by_tarfile(data)
    return found


@settings(max_examples=20, deadline=None)
@given(files=st.lists(st.tuples(NAMES, st.integers(0, 1500)), min_size=1, max_size=5), mtime=st.sampled_from([0, 1.5]))
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_any_name_and_size(
    tmp_path_factory: pytest.TempPathFactory, form: int, files: list[tuple[str, int]], mtime: float
) -> None:
    found, note = read(tmp_path_factory.getbasetemp(), tar(files, form, mtime))
    assert [(m.name.decode(), m.size) for m in found] == files
    assert note == ""


def test_what_webdataset_writes(tmp_path: Path) -> None:
    """Its time stamps have fractions of a second, so that each file has a second header."""
    path = tmp_path / "a.tar"
    path.write_bytes(tar([("a.jpg", 700), ("n" * 150 + ".txt", 20)], tarfile.PAX_FORMAT, mtime=1700000000.25))
    with path.open("rb", buffering=0) as file:
        found, note = tar_members(file)
    assert [(m.name, m.size) for m in found] == [(b"a.jpg", 700), (b"n" * 150 + b".txt", 20)]
    assert note == ""


def test_global_headers_that_concern_no_file(tmp_path: Path) -> None:
    data = tar([("a.jpg", 700)], tarfile.PAX_FORMAT, pax_headers={"comment": "whole"})
    assert [m.name for m in read(tmp_path, data)[0]] == [b"a.jpg"]


def test_a_cut_anywhere_leaves_the_whole_members(tmp_path: Path) -> None:
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        data = tar([("a.jpg", 700), ("n" * 120, 10), ("b.jpg", 600)], form, mtime=0.5)
        whole = read(tmp_path, data)[0]
        path = tmp_path / "cut.tar"
        for end in range(600, whole[-1].at + 600, 211):
            path.write_bytes(data[:end])
            with path.open("rb", buffering=0) as file:
                found, note = tar_members(file)
            assert found == [m for m in whole if m.at + m.size <= end]
            assert note == f"is cut at byte {end:,}"


def block(name: bytes, kind: bytes = b"0", size: bytes = b"0", link: bytes = b"") -> bytes:
    """A header of one block with a right checksum, whatever it contains."""
    data = bytearray(512)
    data[: len(name)], data[124 : 124 + len(size)], data[156:157], data[157 : 157 + len(link)] = name, size, kind, link
    data[257:265] = b"ustar\x0000"
    return summed(data)


def summed(data: bytearray, signed: bool = False) -> bytes:
    """The header with the checksum that it must have."""
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(byte - 256 if signed and byte > 127 else byte for byte in data)
    return bytes(data)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def extended(kind: bytes, content: bytes) -> bytes:
    return block(b"more", kind, b"%o" % len(content)) + padded(content)


def record(key: str, value: str) -> bytes:
    """A line of a pax header."""
    rest = f" {key}={value}\n"
    length = len(rest) + 1
    while len(str(length)) + len(rest) != length:
        length += 1
    return f"{length}{rest}".encode()


END = bytes(1024)
FIRST = block(b"a.txt", size=b"3") + padded(b"abc")


def members_of(tmp_path: Path, data: bytes) -> tuple[list[module.Member], str]:
    path = tmp_path / "a.tar"
    path.write_bytes(data)
    with path.open("rb", buffering=0) as file:
        return tar_members(file)


SIZE = "size that is no number of bytes in the header at byte 1,024"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (block(b"b.txt", size=b"-0000001000"), SIZE),
        (block(b"b.txt", size=b"1_000"), SIZE),
        (block(b"b.txt", size=b"\xff" * 11 + b"\0"), SIZE),
        (block(b"b.txt", size=b"\x80" + b"\xff" * 11), SIZE),
        (extended(b"x", record("size", "9" * 5000)) + FIRST, "size that is no number of bytes in the header at"),
        (extended(b"x", record("size", "-512")) + FIRST, "size that is no number of bytes in the header at"),
        (extended(b"x", b"9" * 5000 + b" path=x\n") + FIRST, "malformed extended header at byte 1,536"),
        (extended(b"x", b"0 path=x\n") + FIRST, "malformed extended header at byte 1,536"),
        (extended(b"x", b"-9 path=x\n") + FIRST, "malformed extended header at byte 1,536"),
        (extended(b"g", record("size", "512")) + FIRST, "global header about size at byte 1,536"),
        (block(b"more", b"x", b"%o" % (1 << 30)) + FIRST, "extended header of 1,073,741,824 bytes at byte 1,024"),
        (block(b"more", b"L", b"%o" % (1 << 21)) + FIRST, "extended header of 2,097,152 bytes at byte 1,024"),
    ],
)
def test_what_no_writer_writes_refuses_the_tar(tmp_path: Path, data: bytes, message: str) -> None:
    """Each of these made the reader go round for ever, fill memory or fail with a traceback."""
    with pytest.raises(module.TarRefusedError, match=f"^has an? {message}"):
        members_of(tmp_path, FIRST + data + END)


def test_many_short_lines_of_an_extended_header_take_little_time(tmp_path: Path) -> None:
    data = extended(b"x", b"6 a=b\n" * (module.MOST_HEADER_BYTES // 6 - 10) + record("path", "long.txt")) + FIRST
    began = time.process_time()
    assert [m.name for m in members_of(tmp_path, data + END)[0]] == [b"long.txt"]
    assert time.process_time() - began < 3  # copying the rest for every line takes some ten times as long


@pytest.mark.parametrize("size", [3, 0o77777777777, 2**40])
def test_sizes_in_base_256(tmp_path: Path, size: int) -> None:
    data = block(b"b.txt", size=b"\x80" + size.to_bytes(11, "big")) + padded(b"xyz") + END
    found, note = members_of(tmp_path, FIRST + data)
    whole = [(b"a.txt", 3), (b"b.txt", 3)] if size == 3 else [(b"a.txt", 3)]
    assert [(m.name, m.size) for m in found] == whole
    assert note == ("" if size == 3 else f"is cut at byte {len(FIRST + data):,}")


def test_hard_links_are_their_earlier_file(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"{number}.txt").write_text(f"caption {number}")
    (tmp_path / "2.txt").hardlink_to(tmp_path / "0.txt")
    long = tmp_path / ("n" * 150 + ".txt")
    long.hardlink_to(tmp_path / "1.txt")
    (tmp_path / "3.txt").hardlink_to(long)
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
            for name in ("0.txt", long.name, "2.txt", "1.txt", "3.txt"):
                archive.add(tmp_path / name, name)
        data = buffer.getvalue()
        found, note = members_of(tmp_path, data)
        texts = {m.name.decode(): data[m.at : m.at + m.size].decode() for m in found}
        one, two = "caption 0", "caption 1"
        assert texts == {"0.txt": one, long.name: two, "2.txt": one, "1.txt": two, "3.txt": two}
        assert note == ""


def test_a_hard_link_to_nothing_is_named(tmp_path: Path) -> None:
    found, note = members_of(tmp_path, FIRST + block(b"b.txt", b"1", link=b"none.txt") + END)
    assert [(m.name, m.problem) for m in found] == [(b"a.txt", ""), (b"b.txt", "hard link to nothing in the tar")]
    assert note == ""


@pytest.mark.parametrize("form", ["gnu", "0.0", "0.1", "1.0"])
def test_sparse_files_are_left_out_and_nothing_behind_them_is_lost(tmp_path: Path, form: str) -> None:
    """As GNU tar writes them: in its old form with more of the map in blocks behind the header, or in pax headers."""
    if form == "gnu":
        head = bytearray(block(b"s.bin", b"S", b"%o" % 700))
        head[482] = 1
        sparse = summed(head) + bytes(504) + b"\1" + bytes(7) + bytes(512) + padded(b"x" * 700)
    else:
        lines = record("GNU.sparse.major", form[0]) + record("GNU.sparse.minor", form[2])
        if form != "0.0":
            lines += record("GNU.sparse.name", "s.bin")
        stored = b"GNUSparseFile.1/s.bin" if form != "0.0" else b"s.bin"
        sparse = extended(b"x", lines) + block(stored, size=b"%o" % 700) + padded(b"x" * 700)
    found, note = members_of(tmp_path, FIRST + sparse + block(b"b.txt", size=b"3") + padded(b"def") + END)
    assert [(m.name, m.problem) for m in found] == [
        (b"a.txt", ""),
        (b"s.bin", "sparse file in the tar"),
        (b"b.txt", ""),
    ]
    assert note == ""


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs the tar command")
@pytest.mark.parametrize("form", ["gnu", "posix"])
def test_what_tar_itself_makes_of_holes(tmp_path: Path, form: str) -> None:
    for name in ("a.txt", "c.txt"):
        (tmp_path / name).write_text("words")
    with (tmp_path / "b.bin").open("wb") as file:
        for place in range(30):  # more pieces than a header has room for
            file.seek(place << 20)
            file.write(b"x" * 5000)
    names = ["a.txt", "b.bin", "c.txt"]
    subprocess.run(["tar", "-S", f"--format={form}", "-cf", "s.tar", *names], cwd=tmp_path, check=True)
    with (tmp_path / "s.tar").open("rb", buffering=0) as file:
        found, note = tar_members(file)
    assert [m.name for m in found] == [name.encode() for name in names]
    assert (found[0].problem, found[2].problem, note) == ("", "", "")
    holes = (tmp_path / "b.bin").stat()
    assert found[1].problem == ("sparse file in the tar" if holes.st_blocks * 512 < holes.st_size else "")
    data = (tmp_path / "s.tar").read_bytes()
    assert data[found[2].at : found[2].at + found[2].size] == b"words"


@pytest.mark.parametrize("between", [0, 512, 9 * 512, 3 << 20])
def test_tars_behind_one_another_are_all_read(tmp_path: Path, between: int) -> None:
    second = tar([("b.jpg", 700)], tarfile.PAX_FORMAT, 0.5)
    found, note = members_of(tmp_path, tar([("a.jpg", 700)], tarfile.GNU_FORMAT) + bytes(between) + second)
    assert [m.name for m in found] == [b"a.jpg", b"b.jpg"]
    assert note == ""
    without_end = tar([("a.jpg", 700)], tarfile.GNU_FORMAT) + bytes(between) + FIRST
    assert members_of(tmp_path, without_end)[1] == f"is cut at byte {len(without_end):,}"


def test_something_else_behind_the_end_is_noted(tmp_path: Path) -> None:
    found, note = members_of(tmp_path, FIRST + END + b"signature".ljust(512, b"x"))
    assert ([m.name for m in found], note) == ([b"a.txt"], "has something else behind its end at byte 2,048")


def test_a_terabyte_of_nothing_takes_no_time(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(FIRST + END)
    try:
        os.truncate(path, 1 << 40)
    except OSError:
        pytest.skip("this disk holds no such file")
    began = time.monotonic()
    with path.open("rb", buffering=0) as file:
        assert tar_members(file)[1] == ""
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "unusual",
    [
        extended(b"g", record("comment", "x")),
        block(b"s.bin", b"S", b"0"),
        block(b"l.txt", b"1", link=b"a.txt"),
        block(b"f", b"6"),
        block(b"v", b"V"),
    ],
    ids=["global", "sparse", "link", "pipe", "volume"],
)
def test_damage_behind_an_unusual_header_is_noted(tmp_path: Path, unusual: bytes) -> None:
    """These were once left to a reader that ended without a word."""
    start = FIRST + unusual
    found, note = members_of(tmp_path, start + b"x" * 512 + FIRST + END)
    assert found[0].name == b"a.txt"
    assert note == f"is damaged at byte {len(start):,}"


def test_checksums_of_old_writers(tmp_path: Path) -> None:
    """Summed over signed bytes: another number as soon as a name is not ASCII."""
    head = summed(bytearray(block("ä.txt".encode("latin-1"), size=b"3")), signed=True)
    found, note = members_of(tmp_path, head + padded(b"abc") + END)
    assert [m.name for m in found] == [b"\xe4.txt"]
    assert note == ""
