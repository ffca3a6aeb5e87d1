# SPDX-License-Identifier: Apache-2.0
"""Filters and places of captions as they are typed, and refused in one line each."""

from __future__ import annotations

import re
from typing import Any

import pytest

from clip_align.settings.load_config import load
from tests.settings.refusals import errors

VALID = (
    "a condition compares fields of the json with numbers, texts or each other (< <= > >= == !=, in, not in, + - * /, "
    "abs, min, max, len, lower, field) and joins with and, or, not: similarity > 0.28 and language == 'en'"
)


@pytest.mark.parametrize("kind", ["webdataset", "streaming"])
@pytest.mark.parametrize(
    "where",
    [
        "similarity>0.28",
        "similarity > 0.28 and language == 'en' or language in ['de', \"fr\"]",
        "max(width, height) / min(width, height) <= 3",
        "(width > 3) and field('clip-score') >= 5",
        "caption != 'a, b'",
    ],
)
def test_a_condition_is_read_as_it_is_typed(tmp_path: Any, kind: str, where: str) -> None:
    (tmp_path / "0.tar").touch()
    config = load([f"data={kind}", f"data.shards={tmp_path}/0.tar", f"data.where={where}"])
    data: Any = config.data
    assert data.where == where
    assert data.rules.where == where


def test_weights_of_fields(tmp_path: Any) -> None:
    (tmp_path / "0.tar").touch()
    typed = ["data=webdataset", f"data.shards={tmp_path}/0.tar", "data.caption_fields={txt: 1, llava: 2.5}"]
    data: Any = load([*typed, "data.captions=first"]).data
    assert data.rules.fields == (("txt", 1.0), ("llava", 2.5))
    assert data.rules.first


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (
            "data.where=similarity = 0.3",
            f"data.where: similarity = 0.3: cannot be read; compare with ==; {VALID}",
        ),
        ("data.where=open('x') > a", f"data.where: open('x') > a: open('x') is not read; {VALID}"),
        ("data.where=", f"data.where: empty: cannot be read; {VALID}"),
        (
            "data.caption_fields={txt: 0}",
            "data.caption_fields.txt: 0 is no weight; give a number above 0, or leave txt out",
        ),
        (
            "data.caption_fields={}",
            "data.caption_fields: {} names no field; give some with weights, {txt: 1, synthetic: 3}, or null",
        ),
        ("data.captions=all", "data.captions: 'all' is not one of random, first"),
    ],
)
def test_what_is_refused(typed: str, line: str) -> None:
    found = errors("data=webdataset", "data.shards=/none/x.tar", typed)
    # where in a condition an error is depends on the release of Python
    assert line in [re.sub(r" at character \d+", "", one) for one in found]


def test_repeated_keys_are_refused_where_they_cannot_be_known() -> None:
    assert errors("data=streaming", "data.shards=s3://a/x.tar", "data.unique_keys=true")[0].startswith(
        "data.unique_keys: true compares the keys of all samples before step 0"
    )
