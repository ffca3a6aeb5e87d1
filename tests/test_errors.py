# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import unicodedata

import pytest

from clip_align.errors import Missing, UserError, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("a\nerror: forged\r\n", r"a\nerror: forged\r\n"),
        ("\x9b31m", r"\x9b31m"),  # the one-byte form of an escape sequence
        ("abc\u202egnp.exe\u202c", r"abc\u202egnp.exe\u202c"),
        ("\u2066x\u2069\u200e\u200f\u061c", r"\u2066x\u2069\u200e\u200f\u061c"),
        ("one\u2028two\u2029three\x85four", r"one\u2028two\u2029three\x85four"),
        ("half \udc80", r"half \udc80"),
        ("\0", r"\x00"),
    ],
)
def test_what_would_be_obeyed_is_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize("text", ["", "größer · 한국어 中文 हिन्दी", "👩\u200d🚀 joined", "soft\u00adhyphen\u00a0blank"])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_nothing_of_the_dangerous_kinds_is_left() -> None:
    everything = "".join(map(chr, range(0x3000)))
    kinds = {unicodedata.category(c) for c in visible(everything)}
    assert not kinds & {"Cc", "Cs", "Zl", "Zp"}
    assert not {unicodedata.bidirectional(c) for c in visible(everything)} & {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI"}
    visible("".join(map(chr, range(0xD800, 0xE000)))).encode()


def test_lines_of_an_error_pass_through_it_and_keep_their_kind() -> None:
    error = UserError("a\x1b[1m", Missing("b\n"))
    assert error.lines == (r"a\x1b[1m", r"b\n")
    assert isinstance(error.lines[1], Missing)
