# SPDX-License-Identifier: Apache-2.0
"""What readers of image-quality databases share: names in any case, whole lists, numbers, evenly spread references."""

from __future__ import annotations

from pathlib import Path

import pytest

from clip_align.errors import UserError
from clip_align.perception import rated_pairs

KEY = "human/db"


def test_entries_are_found_in_any_case_and_hidden_ones_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "Images").mkdir()
    (tmp_path / "Images" / "I01.BMP").touch()
    (tmp_path / "Images" / "._I01.BMP").touch()
    assert rated_pairs.entry(tmp_path, "images/i01.bmp", KEY) == tmp_path / "Images" / "I01.BMP"
    assert list(rated_pairs.files(tmp_path / "Images", KEY)) == ["i01.bmp"]
    with pytest.raises(UserError, match=r"^human/db: .*Images lacks i02.bmp; unpack the database again$"):
        rated_pairs.entry(tmp_path, "images/i02.bmp", KEY)
    with pytest.raises(UserError, match=r"I01.BMP lacks x"):
        rated_pairs.entry(tmp_path, "images/i01.bmp/x", KEY)


def test_lines_lose_the_ends_of_any_system(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf1 a\r\n\r\n2 b\n3 c\r")
    assert rated_pairs.text_lines(tmp_path / "a.txt", KEY) == [(1, "1 a"), (3, "2 b"), (4, "3 c")]
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe1\x00")
    with pytest.raises(UserError, match=r"b.txt is no text"):
        rated_pairs.text_lines(tmp_path / "b.txt", KEY)
    with pytest.raises(UserError, match=r"cannot read .*: Is a directory$"):
        rated_pairs.text_lines(tmp_path, KEY)


@pytest.mark.parametrize("text", ["", "nan", "inf", "1_5", "3,5", "0x1", "9.1", "-0.1"])
def test_no_opinions(text: str) -> None:
    with pytest.raises(UserError) as refused:
        rated_pairs.number(text, "f.txt, line 3", KEY, 0, 9)
    valid = "valid: a number from 0 to 9, written with a point"
    assert str(refused.value) == f"human/db: f.txt, line 3: {text!r} is no opinion; {valid}"


def test_opinions() -> None:
    assert [rated_pairs.number(t, "", KEY) for t in ("1", "-2.5", "5.51429", "1e-1", " 3. ")] == [
        1,
        -2.5,
        5.51429,
        0.1,
        3,
    ]


def test_a_list_is_complete_in_any_order(tmp_path: Path) -> None:
    rated_pairs.complete(["b", "a"], "ab", tmp_path, KEY)
    for names, what in ((["a"], "lacks b"), (["a", "b", "c"], "has the unknown c"), (["a", "b", "a"], "has twice a")):
        with pytest.raises(UserError) as refused:
            rated_pairs.complete(names, "ab", tmp_path, KEY)
        assert str(refused.value) == f"human/db: {tmp_path} {what}; valid: the 2 images of the database, each once"


def test_references_are_spread_evenly() -> None:
    names = list("abcdefghi")
    assert "".join(rated_pairs.spread(names, 3)) == "aei"
    assert "".join(rated_pairs.spread(names, 2)) == "ai"
    assert rated_pairs.spread(names, None) == rated_pairs.spread(names, 9) == rated_pairs.spread(names, 99) == names
    assert all(len(set(rated_pairs.spread(names, count))) == count for count in range(2, 10))
