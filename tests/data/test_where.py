# SPDX-License-Identifier: Apache-2.0
"""Conditions on the fields of a json: what holds, what is left out and why, and what is refused."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest

from clip_align.data.where import MOST_CHARACTERS, NotSelectedError, condition, facts_of
from clip_align.data.where import ConditionError as Wrong

POSITION = re.compile(r" at character \d+")
FACTS: dict[str, Any] = {
    "similarity": 0.3,
    "width": 640,
    "height": 480,
    "language": "en",
    "caption": "A Red dog",
    "watermark": False,
    "tags": ["a", 1],
    "clip-score": 7,
    "none": None,
    "nested": {"a": 1},
}


def outcome(text: str, facts: dict[str, Any] | None = None) -> str:
    """Empty where a condition holds, else the cause."""
    try:
        condition(text).check(FACTS if facts is None else facts)
    except NotSelectedError as error:
        return error.cause
    return ""


@pytest.mark.parametrize(
    "text",
    [
        "similarity>0.28",
        " similarity >= .3 and width < 1_000 ",
        "0.28 < similarity <= 0.3",
        "similarity > 1 or language == 'en'",
        "not similarity > 1",
        "language in ['en', 'de'] and language not in ('fr',)",
        "min(width, height) >= 480 and max(width, height) / min(width, height) <= 3",
        "width * height > 3e5 and width + height == 1120 and abs(height - width) == 160",
        "'dog' in caption and 'cat' not in caption",
        "lower(caption) == 'a red dog' and len(caption) == 9",
        "watermark == false and not watermark and watermark != True",
        "field('clip-score') > 5",
        "'a' in tags and 1 in tags and len(tags) == 2 and true not in tags",
        "similarity > -1 and +similarity > 0",
    ],
)
def test_what_holds(text: str) -> None:
    assert outcome(text) == ""
    assert outcome(f"not ({text})") == "that do not meet it"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("similarity > 0.3", "that do not meet it"),
        ("uid == 'x'", "without uid"),
        ("similarity > 0 or uid == 'x'", "without uid"),  # whichever comes first
        ("none > 1", "without none"),
        ("language > 0.3", "where a number and a text are compared"),
        ("similarity == '0.3'", "where a number and a text are compared"),
        ("watermark == 0", "where a boolean and a number are compared"),
        ("watermark < true", "where a boolean has no order"),
        ("language + 1 > 2", "where a text is in place of a number"),
        ("language * 1000000000 == 'x'", "where a text is in place of a number"),
        ("width / (height - 480) > 1", "for which it cannot be computed"),
        ("lower(width) == 'x'", "where a number is in place of a text"),
        ("len(width) > 1", "where a number has no length"),
        ("1 in width", "where a number contains nothing"),
        ("width in caption", "where a number is in place of a text"),
        ("similarity and width > 1", "where a number is in place of true or false"),
        ("nested > 1", "where a number and an object are compared"),
    ],
)
def test_what_is_left_out_and_why(text: str, cause: str) -> None:
    assert outcome(text) == cause


def test_numbers_that_are_none() -> None:
    facts = facts_of(b'{"similarity": NaN, "width": 1e999, "height": 1}')
    assert outcome("similarity > 0 or similarity <= 0", facts) == "that do not meet it"
    assert outcome("width > height", facts) == ""
    huge = facts_of(b'{"width": ' + b"9" * 4000 + b"}")
    assert outcome("width * 1.5 > 1", huge) == "for which it cannot be computed"


@pytest.mark.parametrize(
    ("raw", "cause"),
    [
        (b"\xff{}", "with a json that cannot be read"),
        (b"[1]", "with a json that cannot be read"),
        (b"{", "with a json that cannot be read"),
        (b"[" * 100_000, "with a json that cannot be read"),
        (b'{"a": ' + b"9" * 9000 + b"}", "with a json that cannot be read"),
        (b" " * (2**20 + 1), "with a json that cannot be read"),
    ],
)
def test_a_json_that_cannot_be_read(raw: bytes, cause: str) -> None:
    with pytest.raises(NotSelectedError) as error:
        facts_of(raw)
    assert error.value.cause == cause


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "cannot be read"),
        ("similarity >", "cannot be read at character 13"),
        ("similarity = 0.3", "cannot be read at character 1; compare with =="),
        ("similarity > 0.3 && width > 3", "cannot be read at character 19; join with and, or"),
        ("similarity > 0.3 & width > 3", "0.3 & width is not read; join with and, or"),
        ("similarity", None),  # may be true or false
        ("similarity + 1", "is a value, and compares it with nothing"),
        ("1 > 2", "names no field"),
        ("width ** 2 > 3", "width ** 2 is not read"),
        ("exif.width > 3", "exif.width is not read"),
        ("exif['width'] > 3", "exif['width'] is not read"),
        ("__import__('os').system('true') == 0", "__import__('os').system('true') is not read"),
        ("open('/etc/passwd') > 1", "open('/etc/passwd') is not read"),
        ("(lambda: 1)() > width", "(lambda: 1)() is not read"),
        ("[x for x in tags] == 1", "[x for x in tags] is not read"),
        ("(y := width) > 1", "(y := width) is not read"),
        ("f'{width}' == 'a'", "f'{width}' is not read"),
        ("width if height > 1 else 2", "width if height > 1 else 2 is not read"),
        ("min(*tags) > 1", "*tags is not read"),
        ("min(width, key=len) > 1", "min(width, key=len) is not read"),
        ("abs(width, height) > 1", "abs(width, height): abs takes one value"),
        ("min() > width", "min(): min takes values"),
        ("field(width) > 1", "field(width): give the name of a field in quotes"),
        ("width is 3", "width is 3: 'is' is not read; compare with =="),
        ("uid != null", "null is not read: a sample whose field is null or absent is left out in any case"),
        ("width > 1\x00", "cannot be read"),
        ("(" * 300 + "width" + ")" * 300 + " > 1", "cannot be read"),
        ("width > " + "1" * MOST_CHARACTERS, "4,104 characters, at most 4,096 are read"),
        ("width > 1; import os", "cannot be read at character 10"),
        ("width > 1j", "1j is not read"),
    ],
)
def test_what_is_refused(text: str, what: str | None) -> None:
    if what is None:
        condition(text)
        return
    with pytest.raises(Wrong) as error:
        condition(text)
    # where in a text an error is depends on the release of Python
    assert POSITION.sub("", str(error.value)) == POSITION.sub("", what)


def test_every_kind_of_expression_is_read_or_refused() -> None:
    """A kind that a later Python brings has to be put on one of the lists."""
    read = {
        "BoolOp", "UnaryOp", "BinOp", "Compare", "Call", "List", "Tuple", "Name", "Constant",
    }  # fmt: skip
    examples = {
        "NamedExpr": "(a := 1)", "Lambda": "lambda: a", "IfExp": "1 if a else 2", "Dict": "{a: 1}", "Set": "{a}",
        "ListComp": "[a for b in c]", "SetComp": "{a for b in c}", "DictComp": "{a: b for b in c}",
        "GeneratorExp": "(a for b in c)", "Await": None, "Yield": None, "YieldFrom": None, "JoinedStr": "f'{a}'",
        "FormattedValue": None, "Attribute": "a.b", "Subscript": "a[1]", "Starred": "max(*a)", "Slice": None,
        "TemplateStr": None, "Interpolation": None,
    }  # fmt: skip
    nodes = {one.__name__ for one in ast.expr.__subclasses__()}
    deprecated = {"Num", "Str", "Bytes", "NameConstant", "Ellipsis"}
    assert nodes - deprecated <= read | set(examples)
    for text in filter(None, examples.values()):
        with pytest.raises(Wrong):
            condition(f"{text} == a")
