# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from clip_align.config import Source
from clip_align.data.shard_patterns import expanded_braces, shard_paths
from clip_align.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("x-000.tar", "x-001.tar", "x-002.tar", "y.tar", "stats.json", "odd{name}.tar"):
        (tmp_path / name).touch()
    return tmp_path


def names(folder: Path, *patterns: str) -> list[list[str]]:
    found, _ = shard_paths([Source(str(folder / p)) for p in patterns])
    return [[Path(path).name for path in paths] for paths in found]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a", ["a"]),
        ("{8..11}", ["8", "9", "10", "11"]),
        ("{08..11}", ["08", "09", "10", "11"]),
        ("{2..0}", ["2", "1", "0"]),
        ("{0..10}", [str(n) for n in range(11)]),
        ("{00..100}", [f"{n:03d}" for n in range(101)]),
        ("{8..011}", ["008", "009", "010", "011"]),
        ("{10..08}", ["10", "09", "08"]),
        ("{a,b}-{0..1}", ["a-0", "a-1", "b-0", "b-1"]),
        ("{,s}", ["", "s"]),
    ],
)
def test_braces_as_the_shell_reads_them(pattern: str, expected: list[str]) -> None:
    assert expanded_braces(pattern) == expected


@pytest.mark.parametrize("pattern", ["{000..003", "000}", "{}", "{3}", "{a..c}"])
def test_unclear_braces_are_refused(pattern: str) -> None:
    with pytest.raises(UserError, match=r"^data\.shards: the braces in '.*' are no range and no list; write"):
        expanded_braces(pattern)


def test_braces_wildcards_folders_and_plain_names(folder: Path) -> None:
    assert names(folder, "x-{000..001}.tar") == [["x-000.tar", "x-001.tar"]]
    assert names(folder, "x-*.tar", "y.tar") == [["x-000.tar", "x-001.tar", "x-002.tar"], ["y.tar"]]
    assert names(folder, "{x-*,y}.tar") == [["x-000.tar", "x-001.tar", "x-002.tar", "y.tar"]]
    assert names(folder, "") == [["odd{name}.tar", "x-000.tar", "x-001.tar", "x-002.tar", "y.tar"]]
    assert names(folder, "odd{name}.tar") == [["odd{name}.tar"]]


def test_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert shard_paths([Source("~/y.tar")])[0] == [[str(folder / "y.tar")]]


@pytest.mark.parametrize("remote", ["pipe:cat x.tar", "https://host/x.tar", "s3://bucket/{0..3}.tar", "gs://b/x.tar"])
def test_remote_shards_are_refused_in_one_line(remote: str) -> None:
    with pytest.raises(UserError) as error:
        shard_paths([Source(remote)])
    assert str(error.value) == (
        f"data.shards: '{remote}' is not a local path; shards are read from local disks only: "
        "copy them there and name the folder, '/folder/{000..003}.tar' or '/folder/*.tar'"
    )


def test_what_is_not_there_is_named_all_at_once(folder: Path) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(UserError) as error:
        shard_paths([Source(str(folder / p)) for p in ("x-{001..005}.tar", "z-*.tar", "none.tar", "empty", "y.tar")])
    notify = "name tars that exist, like '/folder/{000..003}.tar' or '/folder/*.tar'"
    assert error.value.lines == (
        f"data.shards: no such shard: {folder}/x-003.tar (nor 2 others of the 5 in '{folder}/x-{{001..005}}.tar'); "
        + notify,
        f"data.shards: nothing matches {folder}/z-*.tar; {notify}",
        f"data.shards: no such shard: {folder}/none.tar; {notify}",
        f"data.shards: the folder {folder}/empty has no *.tar in it; {notify}",
    )


def test_a_shard_listed_twice_is_used_once(folder: Path) -> None:
    (folder / "link.tar").symlink_to("y.tar")
    found, lines = shard_paths([Source(str(folder / "y.tar")), Source(str(folder / "link.tar"))])
    assert found == [[str(folder / "y.tar")], []]
    assert lines == [f"data.shards: 1 shards are listed twice and used once (first: {folder}/link.tar)"]
