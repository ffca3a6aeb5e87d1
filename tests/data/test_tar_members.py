# SPDX-License-Identifier: Apache-2.0
"""The quick reader of headers against tarfile, which is the reference."""

from __future__ import annotations

import io
import tarfile
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


def read(tmp_path: Path, data: bytes) -> tuple[list[module.Member], str]:
    path = tmp_path / "a.tar"
    path.write_bytes(data)
    with path.open("rb", buffering=0) as file:
        found = tar_members(file)
        file.seek(0)
        assert found == module._any(file, len(data))
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


def test_what_webdataset_writes_needs_no_tarfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time stamps have fractions of a second, so that each file has a second header."""
    path = tmp_path / "a.tar"
    path.write_bytes(tar([("a.jpg", 700), ("n" * 150 + ".txt", 20)], tarfile.PAX_FORMAT, mtime=1700000000.25))
    monkeypatch.setattr(module, "_any", lambda file, length: pytest.fail("left to tarfile"))
    with path.open("rb", buffering=0) as file:
        found, note = tar_members(file)
    assert [(m.name, m.size) for m in found] == [(b"a.jpg", 700), (b"n" * 150 + b".txt", 20)]
    assert note == ""


def test_global_headers_are_left_to_tarfile(tmp_path: Path) -> None:
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
