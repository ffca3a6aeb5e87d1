# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clip_align.data import shard_index as module
from clip_align.data.shard_index import read_index, shard_index
from clip_align.errors import UserError, visible


def keys(path: Path) -> list[str]:
    index = read_index(str(path))
    return [index.key(n) for n in range(len(index))]


def test_samples_and_where_their_bytes_are(shards: Any) -> None:
    path = shards.tar("a.tar", shards.members(5))
    index = read_index(str(path))
    assert keys(path) == [f"k0000{n}" for n in range(5)]
    data = path.read_bytes()
    for number, ((at, size), (text_at, text_size)) in enumerate(zip(index.image, index.text, strict=True)):
        assert data[at : at + size] == shards.image(number)
        assert data[text_at : text_at + text_size] == f"image number {number}".encode()
    assert (index.note, index.bad.total, index.found) == ("", 0, 5)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_kind_of_tar_and_of_name(shards: Any, form: int) -> None:
    names = [
        "plain",
        "folder.v1/with.dots",
        "x" * 90 + "/" + "y" * 60,
        "länge" if form != tarfile.USTAR_FORMAT else "l",
    ]
    path = shards.tar(
        "a.tar", [(f"{n}.{e}", d) for n in names for e, d in (("png", shards.image()), ("txt", b"a b"))], form
    )
    assert keys(path) == names


def test_folders_links_and_other_files_are_passed_over(shards: Any) -> None:
    path = shards.folder / "a.tar"
    (shards.folder / "file.txt").write_text("a caption")
    (shards.folder / "file.png").write_bytes(shards.image())
    (shards.folder / "link.png").symlink_to("file.png")
    (shards.folder / "._file.png").write_bytes(b"what some systems leave beside a file")
    (shards.folder / "file.npy").write_bytes(b"1234")
    with tarfile.open(path, "w") as tar:
        tar.add(shards.folder, "f", filter=lambda info: None if info.name.endswith("a.tar") else info)
    assert keys(path) == ["f/file"]
    assert read_index(str(path)).bad.total == 0


def test_upper_case_extensions_and_all_kinds_of_image(shards: Any) -> None:
    kinds = {"jpg": "JPEG", "jpeg": "JPEG", "JPG": "JPEG", "PNG": "PNG", "WebP": "WEBP"}
    path = shards.tar(
        "a.tar", [(f"{k}.{e}", d) for k, f in kinds.items() for e, d in ((k, shards.image(form=f)), ("TXT", b"a"))]
    )
    assert keys(path) == list(kinds)


def test_members_of_a_sample_need_not_be_neighbours(shards: Any) -> None:
    members = [("a.png", shards.image()), ("b.png", shards.image()), ("b.txt", b"b"), ("a.txt", b"a")]
    assert keys(shards.tar("a.tar", members)) == ["a", "b"]


def test_a_key_that_comes_again_is_another_sample(shards: Any) -> None:
    path = shards.tar("a.tar", [*shards.sample(1), *shards.sample(2), *shards.sample(1)])
    assert keys(path) == ["k00001", "k00002", "k00001"]
    assert len(np.unique(read_index(str(path)).image[:, 0])) == 3


def test_captions_from_json_where_there_is_no_txt(shards: Any) -> None:
    image = shards.image()
    both = [("a.png", image), ("a.json", b'{"caption": "from json"}'), ("a.txt", b"from txt")]
    only = [("b.png", image), ("b.json", b'{"caption": "from json"}')]
    broken = [("c.png", image), ("c.json", b"{"), ("c.txt", b"from txt")]
    index = read_index(str(shards.tar("a.tar", [*both, *only, *broken])))
    assert index.from_json.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("members", "cause"),
    [
        ([("a.txt", b"x")], "no image"),
        ([("a.png", None)], "no caption"),
        ([("a.png", None), ("a.txt", b"")], "no caption"),
        ([("a.png", None), ("a.txt", b" \n\t\0")], "no caption"),
        ([("a.png", None), ("a.json", b'{"caption": null}')], "no caption"),
        ([("a.png", None), ("a.json", b"{}")], "no caption"),
        ([("a.png", None), ("a.json", b'{"caption": 3}')], "bad text"),
        ([("a.png", None), ("a.json", b"[1]")], "bad text"),
        ([("a.png", None), ("a.json", b"[" * 100_000)], "bad text"),
        ([("a.png", None), ("a.txt", "Stra\xdfe".encode("latin-1"))], "bad text"),
        ([("a.png", b""), ("a.txt", b"x")], "damaged image"),
        ([("a.png", b"<html>not found</html>"), ("a.txt", b"x")], "not an image"),
    ],
)
def test_bad_samples_are_counted_by_cause(shards: Any, members: list[tuple[str, bytes | None]], cause: str) -> None:
    filled = [(name, shards.image() if data is None else data) for name, data in members]
    path = shards.tar("a.tar", [*shards.members(2), *filled])
    index = read_index(str(path))
    assert len(index) == 2
    assert index.bad.counts == {cause: 1}
    assert index.bad.first == {cause: "a"}
    assert index.found == 3


def test_a_cut_tar_gives_its_whole_samples(shards: Any) -> None:
    whole = shards.tar("a.tar", shards.members(4))
    data, index = whole.read_bytes(), read_index(str(whole))
    for end in (index.image[2].sum() - 3, index.text[2].sum() - 1, index.text[2][0] - 200):
        whole.write_bytes(data[:end])  # in the third image, in its caption, in the header of its caption
        cut = read_index(str(whole))
        assert len(cut) == 2
        assert cut.note == f"is cut at byte {end:,}"
        assert cut.bad.total == 0
    whole.write_bytes(data[: index.text[1].sum()])
    assert len(read_index(str(whole))) == 2


@pytest.mark.parametrize(("caption", "bad"), [(b" ", {"no caption": 1}), (b"\xdf", {"bad text": 1}), (None, {})])
def test_the_last_sample_of_a_cut_tar_is_bad_when_it_is_whole(
    shards: Any, caption: bytes | None, bad: dict[str, int]
) -> None:
    last = [("z.png", shards.image()), *([("z.txt", caption)] if caption else [])]
    path = shards.tar("a.tar", [*shards.members(3), *last])
    data = path.read_bytes().rstrip(b"\0")
    path.write_bytes(data + bytes(-len(data) % 512))  # whole members without the mark of the end
    index = read_index(str(path))
    assert (len(index), index.note) == (3, f"is cut at byte {path.stat().st_size:,}")
    assert index.bad.counts == bad


def test_one_long_name_does_not_lengthen_all(shards: Any) -> None:
    name = "d/" + "x" * 4000
    long = [(f"{name}.png", shards.image()), (f"{name}.txt", b"a")]
    path = shards.tar("a.tar", [*shards.members(50), *long, *shards.sample(50)], tarfile.PAX_FORMAT)
    index = read_index(str(path))
    assert index.keys.nbytes + index.ends.nbytes < 4002 + 52 * 16
    assert [index.key(n) for n in (0, 49, 50, 51)] == ["k00000", "k00049", name, "k00050"]


def test_a_tar_damaged_in_the_middle_gives_what_comes_before(shards: Any) -> None:
    path = shards.tar("a.tar", shards.members(4))
    data, at = bytearray(path.read_bytes()), int(read_index(str(path)).image[2][0]) - 512
    data[at : at + 512] = b"x" * 512
    path.write_bytes(data)
    index = read_index(str(path))
    assert (len(index), index.note) == (2, f"is damaged at byte {at:,}")


def test_a_cut_pax_tar_gives_its_whole_samples(shards: Any) -> None:
    members = [(f"{'n' * 120}{k}.{e}", d) for k in range(3) for e, d in (("png", shards.image(k)), ("txt", b"a"))]
    path = shards.tar("a.tar", members, tarfile.PAX_FORMAT)
    index = read_index(str(path))
    assert len(index) == 3
    path.write_bytes(path.read_bytes()[: int(index.image[2].sum()) - 1])
    cut = read_index(str(path))
    assert len(cut) == 2
    assert cut.note


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is a file of 0 bytes; fetch it again or leave it out"),
        (b"\0" * 10_240, "is an empty tar; leave it out"),
        (b"hello world " * 100, "is not a tar; leave it out"),
        (gzip.compress(b"\0" * 10_240), "is compressed; samples are read by position: unpack it with gunzip"),
        (b"short", "is cut at byte 5, before its first file; fetch it again or leave it out"),
    ],
)
def test_files_that_are_no_shard(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(data)
    with pytest.raises(UserError) as error:
        read_index(str(path))
    assert str(error.value) == f"data.shards: {path} {message}"


def test_the_cache_is_used_until_the_file_changes(shards: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, cache = shards.tar("a.tar", [*shards.members(3), ("bad.txt", b"x")]), tmp_path / "cache"
    first = shard_index(str(path), cache)
    monkeypatch.setattr(module, "read_index", lambda path: pytest.fail("read again"))
    second = shard_index(str(path), cache)
    for name in ("keys", "ends", "image", "text", "from_json"):
        assert np.array_equal(getattr(first, name), getattr(second, name))
    assert (first.bad, first.note, first.size) == (second.bad, second.note, second.size)
    monkeypatch.undo()
    before = path.stat()
    shards.tar("a.tar", [*shards.members(3, "q"), ("bad.txt", b"x")])  # as long as before
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert path.stat().st_size == before.st_size
    assert shard_index(str(path), cache).key(0) == "q00000"
    shards.tar("a.tar", shards.members(60))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as old as before
    assert len(shard_index(str(path), cache)) == 60


def test_a_damaged_cache_file_is_made_anew(shards: Any, tmp_path: Path) -> None:
    path, cache = shards.tar("a.tar", shards.members(3)), tmp_path / "cache"
    shard_index(str(path), cache)
    (file,) = (cache / "index").glob("*.npz")
    whole = file.read_bytes()
    for data in (b"", b"rubbish", whole[: len(whole) // 2]):
        file.write_bytes(data)
        assert len(shard_index(str(path), cache)) == 3
        assert file.read_bytes() == whole


def test_nothing_is_unpickled(shards: Any, tmp_path: Path) -> None:
    path, cache = shards.tar("a.tar", shards.members(3)), tmp_path / "cache"
    shard_index(str(path), cache)
    (file,) = (cache / "index").glob("*.npz")
    arrays = dict(np.load(file))
    with file.open("wb") as stream:
        np.savez(stream, **{**arrays, "image": np.array([_Touch(tmp_path / "executed")] * 3, dtype=object)})
    assert len(shard_index(str(path), cache)) == 3
    assert not (tmp_path / "executed").exists()


class _Touch:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mknod, (self.path,)


def test_a_cache_that_cannot_be_written_is_one_line(shards: Any, tmp_path: Path) -> None:
    path, cache = shards.tar("a.tar", shards.members(3)), tmp_path / "file"
    cache.write_text("in the way")
    with pytest.raises(UserError, match=r"^paths\.cache: the index of .* cannot be written to .*paths\.cache=…$"):
        shard_index(str(path), cache)


def test_a_sparse_member_is_left_out_by_name(shared_data: Path) -> None:
    index = read_index(str(shared_data / "odd_inputs/tars/sparse_middle.tar"))
    assert (len(index), index.note, index.bad.total) == (16, "", 0)
    assert index.left_out == "1 sparse file in the tar (first: ./0007.npy)"


def test_hard_linked_captions(shared_data: Path) -> None:
    index = read_index(str(shared_data / "odd_inputs/tars/hardlinks.tar"))
    assert (len(index), index.note, index.left_out, index.bad.total) == (8, "", "", 0)
    assert len(set(index.text[:, 0].tolist())) == 1


def added(path: Path, members: list[tuple[str, bytes]], *more: tarfile.TarInfo) -> int:
    """Write a tar of the members and headers alone; the number of bytes before its end."""
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for info in more:
            tar.addfile(info)
        return tar.offset


@pytest.mark.parametrize("part", ["png", "txt"])
def test_a_sample_with_a_part_that_cannot_be_read_is_counted_by_its_cause(shards: Any, part: str) -> None:
    path = shards.folder / "a.tar"
    link = tarfile.TarInfo(f"k00009.{part}")
    link.type, link.linkname = tarfile.LNKTYPE, "elsewhere"
    other = [(name, data) for name, data in shards.sample(9) if not name.endswith((part, "json"))]
    added(path, [*shards.members(2), *other], link)
    index = read_index(str(path))
    assert index.bad.first == {"hard link to nothing in the tar": "k00009"}
    assert index.left_out == f"1 hard link to nothing in the tar (first: k00009.{part})"


@pytest.mark.parametrize("text", [b"", b" \n", b"\xff"])
def test_a_txt_without_a_caption_does_not_hide_the_json(shards: Any, text: bytes) -> None:
    members = [("a.png", shards.image()), ("a.txt", text), ("a.json", b'{"caption": "from json"}')]
    index = read_index(str(shards.tar("a.tar", members)))
    assert (len(index), index.from_json.tolist()) == (1, [True])


@pytest.mark.parametrize("key", ["TEXT", "text", "\x1b[2J"])
def test_the_keys_that_a_json_has_instead_are_named(shards: Any, key: str) -> None:
    facts = json.dumps({key: "a caption", "url": "x"}).encode()
    path = shards.tar("a.tar", [*shards.members(1), ("a.png", shards.image()), ("a.json", facts)])
    assert read_index(str(path)).bad.first == {"no caption": f"a, its json has: {visible(key)}, url"}


@pytest.mark.parametrize(
    ("caption", "cause"),
    [(["one", "two"], None), (["", None, "one"], None), ([], "no caption"), ([""], "no caption"), ([3], "bad text")],
)
def test_a_list_is_several_captions(shards: Any, caption: object, cause: str | None) -> None:
    members = [("a.png", shards.image()), ("a.json", json.dumps({"caption": caption}).encode())]
    index = read_index(str(shards.tar("a.tar", [*shards.members(1), *members])))
    assert index.bad.counts == ({cause: 1} if cause else {})


@pytest.mark.parametrize("name", ["a.txt", "a.json"])
def test_texts_that_are_too_large_are_not_read(shards: Any, name: str) -> None:
    """The file is small: it holds no bytes for the hundred gigabytes of nothing that it claims."""
    path, text = shards.folder / "a.tar", tarfile.TarInfo(name)
    text.size = 1 << 37
    end = added(path, [*shards.members(1), ("a.png", shards.image())], text)
    try:
        os.truncate(path, end + text.size + 1024)
    except OSError:
        pytest.skip("this disk holds no such file")
    index = read_index(str(path))
    assert index.bad.counts == {"too large": 1}
    assert index.bad.first == {"too large": "a"}


def test_a_caption_of_half_a_character_is_no_text(shards: Any) -> None:
    members = [("a.png", shards.image()), ("a.json", b'{"caption": "\\ud800"}')]
    assert read_index(str(shards.tar("a.tar", [*shards.members(1), *members]))).bad.counts == {"bad text": 1}


def test_what_no_writer_writes_is_one_line(shards: Any) -> None:
    path = shards.tar("a.tar", shards.members(2))
    data = bytearray(path.read_bytes())
    at = int(read_index(str(path)).image[1][0]) - 512
    data[at + 124 : at + 136] = b"-0000001000\0"
    data[at + 148 : at + 156] = b" " * 8
    data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
    path.write_bytes(data)
    with pytest.raises(UserError) as error:
        read_index(str(path))
    assert str(error.value) == (
        f"data.shards: {path} has a size that is no number of bytes in the header at byte {at:,}; no writer of tars "
        "does that: leave it out"
    )


@pytest.mark.parametrize("kind", ["a named pipe", "a folder", "a device"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    """Opening a named pipe would wait for somebody to write into it."""
    path = tmp_path / "a.tar"
    if kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    else:
        path = Path("/dev/zero")
    with pytest.raises(OSError, match=f"it is {kind}, not a file"):
        shard_index(str(path), tmp_path / "cache")
