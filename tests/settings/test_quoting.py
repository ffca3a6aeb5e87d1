# SPDX-License-Identifier: Apache-2.0
"""Quoting of values: texts that Hydra's grammar would stumble over, and structures that stay what they are."""

from __future__ import annotations

import doctest

import pytest

from clip_align.settings import quoting


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("/a/x-{000..003}.tar", "'/a/x-{000..003}.tar'"),
        ("/a/x.tar", "/a/x.tar"),
        ("'/a/{0..3}.tar'", "'/a/{0..3}.tar'"),
        ("/a/{1,2}.tar,/b/{1,2}.tar", "'/a/{1,2}.tar','/b/{1,2}.tar'"),
        ("[/a/{1,2}.tar, /b.tar]", "['/a/{1,2}.tar', /b.tar]"),
        ("{shards: /a/{0..3}.tar, weight: 2}", "{shards: '/a/{0..3}.tar', weight: 2}"),
        ("{0..3}.tar", "'{0..3}.tar'"),
        ("it's (1).tar", "'it\\'s (1).tar'"),
        ("", ""),
        ("[]", "[]"),
    ],
)
def test_quoted(typed: str, expected: str) -> None:
    assert quoting.quoted(typed) == expected


def test_examples() -> None:
    assert doctest.testmod(quoting).failed == 0
