# SPDX-License-Identifier: Apache-2.0
"""Problems are data; what is printed is one line each."""

from __future__ import annotations

import pickle

import pytest

from clip_align.errors import Problem, RunError, UserError, both, related


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
    error.told = True
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), back.problems, back.told, back.exit_code) == (kind, error.problems, True, kind.exit_code)


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
