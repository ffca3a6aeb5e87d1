# SPDX-License-Identifier: Apache-2.0
"""Problems are data; what is printed is one line each."""

from __future__ import annotations

import ast
import dataclasses
import errno
import os
import pickle
import re
import unicodedata
from pathlib import Path

import pytest

from clip_align.config import Config
from clip_align.errors import TOO_MANY_FILES, Problem, RunError, UserError, both, option_problem, related, visible


def test_a_problem_prints_its_key_or_what_was_typed_in_one_line() -> None:
    assert str(Problem("seed", "wrong")) == "seed: wrong"
    assert str(Problem("model", "no such option", shown="model=x")) == "model=x: no such option"
    assert str(Problem("", "a line\nof \x1b[31mtwo")) == "a line\\nof \\x1b[31mtwo"


def test_a_text_is_a_problem_without_a_key() -> None:
    error = UserError("a: b", Problem("c", "d"))
    assert error.problems == (Problem("", "a: b"), Problem("c", "d"))
    assert error.lines == ("a: b", "c: d")
    assert str(error) == "a: b\nc: d"


@pytest.mark.parametrize("kind", [UserError, RunError])
def test_problems_stay_apart_between_processes(kind: type[UserError]) -> None:
    error = kind(Problem("a", "b", missing=True), "c")
    error.on_all_ranks = True
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), back.problems, back.on_all_ranks, back.exit_code) == (
        kind,
        error.problems,
        True,
        kind.exit_code,
    )


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("data", "data.scale", True),
        ("data.scale[1]", "data.scale", True),
        ("data.scale", "data.scale", True),
        ("data.scale", "data.scales", False),
        ("trainer.samples", "trainer.max_steps", False),
        ("", "data", False),
    ],
)
def test_related_keys(one: str, other: str, same: bool) -> None:
    assert related(one, other) is related(other, one) is same


def test_both_do_their_work_and_report_together() -> None:
    def fails(*problems: Problem) -> int:
        raise UserError(*problems)

    assert both(lambda: 1, lambda: "b") == (1, "b")
    a, b = Problem("a", "x"), Problem("b", "y")
    with pytest.raises(UserError) as caught:
        both(lambda: fails(a), lambda: fails(b, a))
    assert caught.value.problems == (a, b)
    with pytest.raises(UserError) as caught:
        both(lambda: 1, lambda: fails(b))
    assert caught.value.problems == (b,)


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


@pytest.mark.parametrize(
    "text", ["", "größer · 한국어 中文 हिन्दी", "👩\u200d🚀 zero-width joiner", "soft\u00adhyphen\u00a0blank"]
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_nothing_of_the_dangerous_kinds_is_left() -> None:
    everything = "".join(map(chr, range(0x3000)))
    kinds = {unicodedata.category(c) for c in visible(everything)}
    assert not kinds & {"Cc", "Cs", "Zl", "Zp"}
    assert not {unicodedata.bidirectional(c) for c in visible(everything)} & {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI"}
    visible("".join(map(chr, range(0xD800, 0xE000)))).encode()


def test_lines_of_an_error_pass_through_it() -> None:
    error = UserError("a\x1b[1m", Problem("b\u202e", "c\n", missing=True))
    assert error.lines == (r"a\x1b[1m", r"b\u202e: c\n")
    assert error.problems[1].key == "b\u202e"


def test_a_problem_of_a_benchmarks_option_has_its_key_and_starts_with_the_benchmark() -> None:
    problem = option_problem("human/my_pairs", "csv", "csv: no such file a.csv")
    assert problem.key == "callbacks.my_pairs.csv"
    assert str(problem) == "human/my_pairs: csv: no such file a.csv"


PACKAGE = Path(__file__).resolve().parents[1] / "clip_align"
SECTIONS = "|".join(field.name for field in dataclasses.fields(Config))


def start_of(node: ast.expr) -> str:
    """The literal text with which a message begins."""
    first = node.values[0] if isinstance(node, ast.JoinedStr) and node.values else node
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""


@pytest.mark.parametrize(
    "room", ["callbacks", "evaluation", "data", "models", "metrics", "perception", "report", "record", "settings"]
)
def test_no_error_carries_its_key_in_the_text_alone(room: str) -> None:
    """A line that begins with a key of the configuration is a `Problem` of that key."""
    found = []
    for path in sorted((PACKAGE / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.endswith("Error"):
                texts = [start_of(argument) for argument in node.args]
                keys = [text for text in texts if re.match(rf"({SECTIONS})(\.[a-z_]*)*(=[a-z]+)?: ", text)]
                found += [f"{path.relative_to(PACKAGE)}:{node.lineno}: {text}" for text in keys]
    assert found == []


@pytest.mark.parametrize(
    ("number", "line"), [(errno.EMFILE, TOO_MANY_FILES), (errno.ENOSPC, "paths.cache: cannot write /a; free space")]
)
def test_too_many_open_files_are_no_fault_of_the_file(number: int, line: str) -> None:
    error = UserError("paths.cache: cannot write /a; free space")
    error.__cause__ = OSError(number, os.strerror(number), "/a")
    assert error.lines == (line,)
