# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.ticker import MaxNLocator

from clip_align.report import labels


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.6249, ".62"), (-0.05, "-.05"), (1.2, "1.20"), (0.999, "1.00"), (0.0, ".00"), (-0.001, ".00"), (None, "–")],
)
def test_number(value: float | None, text: str) -> None:
    assert labels.number(value) == text


def test_number_of_what_is_not_finite_is_a_dash() -> None:
    assert labels.number(float("nan")) == "–"


@pytest.mark.parametrize(
    ("value", "text"), [(25.31, "25.31"), (-345.67, "-345.7"), (1234.5, "1,234"), (99999.0, "99,999")]
)
def test_number_beyond_the_usual_range(value: float, text: str) -> None:
    assert labels.number(value) == text


@pytest.mark.parametrize("size", [1e-7, 1e-4, 0.02, 1.0, 30.0, 999.0, 12_500.0, 3e6, 7e9])
@pytest.mark.parametrize("from_zero", [True, False])
def test_ticks_of_any_size_differ_and_are_short(size: float, from_zero: bool) -> None:
    low, high = (0.0, size) if from_zero else (size, 1.2 * size)
    ticks = [float(t) for t in MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]
    texts = labels.tick_texts(ticks)
    assert len(set(texts)) == len(ticks)
    assert all(len(text) <= 7 for text in texts), texts
    units = {"k": 1e3, "M": 1e6, "G": 1e9, "m": 1e-3, "µ": 1e-6}
    for tick, text in zip(ticks, texts, strict=True):
        assert float(text.rstrip("kMGmµ")) * units.get(text[-1], 1.0) == pytest.approx(tick, rel=1e-3, abs=1e-9 * size)


def test_interval() -> None:
    assert labels.interval(0.591, 0.664) == "[.59, .66]"
    assert labels.interval(None, 0.6) == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(45, "45 s"), (185, "3 min 05 s"), (7800, "2 h 10 min"), (273600, "3 d 4 h"), (None, "–"), (-1, "–")],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert labels.duration(seconds) == text


@pytest.mark.parametrize("end", [1.0, 128.0, 7_680.0, 192_000.0, 1.28e10])
def test_ticks_are_apart_and_inside(end: float) -> None:
    linear = max(end / 20, 1.0)
    ticks = labels.sample_ticks(end, linear, 0.12)
    assert ticks[0] == 0
    assert all(t <= end for t in ticks)
    places = [labels.compress(t, linear) / labels.compress(end, linear) for t in ticks]
    assert all(b - a >= 0.12 for a, b in pairwise(places))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 0.06)), max_size=14))
def test_spread_out_names_neither_overlap_nor_leave_the_axes(boxes: list[tuple[float, float]]) -> None:
    wanted, heights = [b[0] for b in boxes], [b[1] for b in boxes]
    places = labels.spread_out(wanted, heights, 0.0, 1.0)
    order = sorted(range(len(boxes)), key=lambda i: places[i])
    for i, k in pairwise(order):
        assert places[k] - places[i] >= (heights[i] + heights[k]) / 2 - 1e-9
        assert wanted[k] >= wanted[i] or places[k] == places[i]
    for place, height in zip(places, heights, strict=True):
        assert place - height / 2 >= -1e-9
        assert place + height / 2 <= 1 + 1e-9


def test_spread_out_leaves_names_that_do_not_collide() -> None:
    assert labels.spread_out([0.2, 0.8], [0.1, 0.1], 0, 1) == pytest.approx([0.2, 0.8])


def test_spread_out_moves_two_that_collide_equally() -> None:
    assert labels.spread_out([0.5, 0.52], [0.1, 0.1], 0, 1) == pytest.approx([0.46, 0.56])


def test_wrapped_text_shows_where_it_was_cut() -> None:
    assert labels.wrapped("one two three four five six", 10, 2) == "one two\nthree …"
    assert labels.wrapped("short", 10, 2) == "short"
    assert labels.wrapped("", 10, 2) == ""


def of_text(text: str) -> float:
    return float(len(text))


def test_a_long_name_never_loses_its_value() -> None:
    assert labels.named("level alone", ".74", 20, of_text) == "level alone:\xa0.74"
    assert labels.named("replication TID2008", ".98", 16, of_text) == "replication\nTID2008:\xa0.98"
    text = labels.named("SROCC over a rather long and wordy description", ".62 (now undefined)", 20, of_text)
    assert text.endswith("…:\xa0.62\n(now undefined)")
    assert all(len(line) <= 20 for line in text.split("\n"))


def test_names_of_runs_keep_the_end_that_distinguishes_them() -> None:
    shown = [
        labels.named(f"learning-rate-sweep-constant-schedule-seed-{n}", ".66", 18, of_text, tail=True) for n in (1, 2)
    ]
    assert shown[0] != shown[1]
    assert all(
        text.replace("\n", "").endswith(f"seed-{n}:.66".replace(":", ":\xa0")) for n, text in enumerate(shown, 1)
    )


def test_a_word_wider_than_a_line_is_broken_at_a_joint_and_before_its_value() -> None:
    assert labels.broken("world-20261125-184620:\xa0.66", 16, of_text) == ["world-20261125-", "184620:\xa0.66"]
    assert labels.broken("abcdefghijklmno:\xa0-.66", 16, of_text) == ["abcdefghijklmno:", "-.66"]


def test_an_option_is_broken_before_its_value() -> None:
    assert labels.broken("optimizer.schedule=constant, mean", 22, len) == ["optimizer.schedule=", "constant, mean"]
