# SPDX-License-Identifier: Apache-2.0
"""Sentences against the truth of the simulated runs they are about: every stated bound is parsed from the text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from clip_align.analysis.course import course
from clip_align.analysis.simulated_courses import SimulatedCourse, courses, per_reference, true_fall
from clip_align.analysis.verdict import verdict_fields

EVALUATIONS, EVERY = 22, 60
STEPS = list(range(0, EVALUATIONS * EVERY, EVERY))
ROSE_OR_FELL = re.compile(
    r"It (?P<how>rose|fell) by at least (?P<bound>\d*\.\d+) from \d*\.\d+ (?:at step|over steps) (?P<a>[\d,]+)(?: to "
    r"(?P<b>[\d,]+))? to \d*\.\d+ over steps (?P<c>[\d,]+) to (?P<d>[\d,]+)"
)
AT_MOST = re.compile(r"(?:by at most|is shown: at most) (?P<bound>\d*\.\d+)")
STRETCH = re.compile(
    r"(?P<how>rose|fell) by at least (?P<bound>\d*\.\d+) between steps (?P<a>[\d,]+) and (?P<b>[\d,]+)"
)
PEAK = re.compile(r"Peak between steps (?P<a>[\d,]+) and (?P<b>[\d,]+)")
# jitter that wanders is a fall of the simulated run, though not of its truth
WHITE = [kind for kind in courses(EVALUATIONS) if kind.memory == 0]


def _step(text: str) -> int:
    return int(text.replace(",", "")) // EVERY


def _claims(text: str, truth: np.ndarray) -> Iterator[tuple[str, bool]]:
    """(kind of claim, whether the true course violates it) of everything that a sentence states."""
    for found in ROSE_OR_FELL.finditer(text):
        sign = 1 if found["how"] == "rose" else -1
        first, last = _step(found["a"]), _step(found["b"] or found["a"])
        change = truth[_step(found["c"]) : _step(found["d"]) + 1].mean() - truth[first : last + 1].mean()
        yield found["how"], sign * change < float(found["bound"])
    for found in AT_MOST.finditer(text):
        yield "at most", true_fall(truth) > float(found["bound"])
    for found in STRETCH.finditer(text):
        yield "stretch", not _changes(found["how"], truth[_step(found["a"]) : _step(found["b"]) + 1], found["bound"])
    for found in PEAK.finditer(text):
        pairs = (truth[1:-1] + truth[2:]) / 2
        highest = np.flatnonzero(pairs > pairs.max() - 1e-9) + 1
        low, high = _step(found["a"]), _step(found["b"])
        yield "peak", not any(low <= place and place + 1 <= high for place in highest)
    if re.search(r"\bexcluded|\bflat|did not|\bnone of", text):
        yield "denial", True
    for word, fails in _words(truth).items():
        if f"srocc: {word}." in text:
            yield f"word {word}", fails


def _changes(how: str, part: np.ndarray, bound: str) -> bool:
    """Whether it rises (falls) by so much between some windows of a stretch."""
    signed = part if how == "rose" else -part
    return bool(max(signed[j:].max() - signed[: j + 1].min() for j in range(len(part))) >= float(bound))


def _words(truth: np.ndarray) -> dict[str, bool]:
    """What each word needs, and whether the course lacks it."""
    falls = bool(np.max(np.maximum.accumulate(truth) - truth) > 1e-9)
    rises = bool(np.max(truth - np.minimum.accumulate(truth)) > 1e-9)
    return {
        "rose": not rises,
        "fell in this run": not falls,
        "rose, then fell in this run": not (rises and falls),
        "rose, fell and recovered": not (rises and falls),
        "fell and recovered": not (rises and falls),
    }


def _violations(
    repeats: Callable[[SimulatedCourse], int], jitters: tuple[float, ...]
) -> tuple[Counter[str], Counter[str]]:
    """How often each kind of claim was stated, by kind of course, and how often it was violated."""
    stated: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    generator = np.random.default_rng(0)
    for kind in WHITE:
        for jitter in jitters:
            for _ in range(repeats(kind)):
                found = course(per_reference(kind, jitter, generator), STEPS)
                text = verdict_fields(found, "srocc")["sentence"]
                claims: dict[str, bool] = {}
                for name, violated in _claims(text, kind.truth):
                    claims[name] = claims.get(name, False) or violated
                assert {"at most"} <= set(claims), text
                stated.update(list(claims))
                wrong.update(name for name, violated in claims.items() if violated)
                wrong["any"] += any(claims.values())
                stated["any"] += 1
    return stated, wrong


def test_the_parser_reads_claims_and_notices_wrong_ones() -> None:
    truth = np.interp(np.arange(EVALUATIONS), [0, 5, 21], [0.5, 0.6, 0.55])
    text = (
        "srocc: rose, then fell in this run. "
        "It rose by at least .{} from .500 at step 0 to .600 over steps 300 to 360. "
        "It fell by at least .0{} from .600 over steps 300 to 360 to .553 over steps 1,200 to 1,260; from any two "
        "evaluations to the last two by at most .0{}. Peak between steps {} and 600. "
        "Stretches: fell by at least .0{} between steps 600 and 1,200."
    )
    right = dict(_claims(text.format("090", 40, 50, 300, 10), truth))
    wrong = dict(_claims(text.format("110", 60, 20, 420, 50), truth))
    names = {"rose", "fell", "at most", "peak", "stretch", "word rose, then fell in this run"}
    assert set(right) == set(wrong) == names
    assert not any(right.values())
    assert {name for name, violated in wrong.items() if violated} == names - {"word rose, then fell in this run"}
    assert dict(_claims("srocc: rose. A fall above .03 is excluded.", truth))["denial"]


def test_sentences_state_no_bound_that_the_truth_violates() -> None:
    _, wrong = _violations(lambda kind: 4, (0.0045,))
    assert wrong["any"] <= 9, wrong  # of 76, at .05; 9 or fewer in .99 of such tests


@pytest.mark.slow
def test_sentences_on_500_curves() -> None:
    stated, wrong = _violations(lambda kind: 14, (0.0045, 0.010))
    assert stated["any"] >= 500
    assert wrong["denial"] == 0
    for name, count in stated.items():
        assert wrong[name] <= 0.05 * max(count, 100), (name, count, wrong[name])
