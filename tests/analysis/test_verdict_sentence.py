# SPDX-License-Identifier: Apache-2.0
"""The sentences about rise and fall, word by word, and rounding that never says more."""

from __future__ import annotations

from typing import Any

import pytest

from clip_align.analysis.course import Change, Course, Span, Stretch
from clip_align.analysis.verdict_sentence import lower, sentence, upper, value

START, TOP, LAST = Span(0, 0, 0.5801), Span(225, 270, 0.6723), Span(1260, 1300, 0.6384)
SHORT, END = Span(225, 240, 0.6752), Span(1280, 1300, 0.6641)


def _course(word: Any, rise: float, fall: float, **more: Any) -> Course:
    fields = {
        "start": 0.5801,
        "rise": Change(START, TOP, 0.092, rise),
        "fall": Change(TOP, LAST, 0.034, fall),
        "most": Change(SHORT, END, 0.011, 0.0, 0.0301),
        "smallest_detectable_fall": 0.0265,
        "jitter": 0.0045,
        "lag_1": 0.45,
        "lag_1_used": 0.0,
        "evaluations": 30,
        "clusters": 24,
    }
    return Course(word, **{**fields, **more})


ROSE = "It rose by at least .071 from .580 at step 0 to .672 over steps 225 to 270."
FELL = (
    "It fell by at least .021 from .672 over steps 225 to 270 to .638 over steps 1,260 to 1,300; from any two "
    "evaluations to the last two by at most .031."
)
NO_RISE = "No rise from step 0 (.580) is shown."
NO_FALL = (
    "No fall to the end is shown: at most .031 from .675 over steps 225 to 240 to .664 over steps 1,280 to 1,300, the "
    "two windows compared; this run could have shown (80 %) a fall of .027 between them."
)
STRETCHES = (Stretch("rose", 0, 60, 0.05), Stretch("fell", 225, 330, 0.0104), Stretch("rose", 400, 520, 0.0003))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            _course("rose_then_fell", 0.0719, 0.0219, peak_from=150, peak_to=1330),
            f"srocc: rose, then fell in this run. {ROSE} {FELL} Peak between steps 150 and 1,330.",
        ),
        (_course("rose", 0.0719, 0.0), f"srocc: rose. {ROSE} {NO_FALL}"),
        (_course("rose", 0.0719, 0.0, stretches=STRETCHES[:1]), f"srocc: rose. {ROSE} {NO_FALL}"),
        (  # shown by a stretch alone, which the sentence must then name
            _course("rose", 0.0, 0.0, stretches=(Stretch("rose", 11, 780, 0.00101),)),
            f"srocc: rose. {NO_RISE} {NO_FALL} Stretch: rose by at least .001 between steps 11 and 780.",
        ),
        (
            _course("no_change_shown", 0.0, 0.0, left_out=1),
            f"srocc: no change shown. {NO_RISE} {NO_FALL} Left out, without a value: 1 of 31 evaluations.",
        ),
        (
            _course("rose_fell_recovered", 0.0719, 0.0, stretches=STRETCHES, lag_1_used=0.3),
            f"srocc: rose, fell and recovered. {ROSE} {NO_FALL} "
            "Stretches: rose by at least .050 between steps 0 and 60; fell by at least .010 between steps 225 and 330; "
            "rose by at least .0003 between steps 400 and 520. "
            "Jitter of neighbouring evaluations is correlated (lag-1 .45); the bounds are wider for it.",
        ),
        (_course("fell", 0.0, 0.0219), f"srocc: fell in this run. {NO_RISE} {FELL}"),
        (
            Course(None, "11 evaluations have a value; the rule needs at least 12"),
            "srocc: no verdict: 11 evaluations have a value; the rule needs at least 12.",
        ),
    ],
    ids=lambda v: getattr(v, "word", "") or "",
)
def test_sentences(found: Course, expected: str) -> None:
    assert sentence(found, "srocc") == expected


def test_no_sentence_denies_what_the_run_cannot_see() -> None:
    words = ("rose_then_fell", "rose_fell_recovered", "fell_recovered", "rose", "fell", "no_change_shown")
    for word in words:
        for fall in (0.0, 0.02):
            text = sentence(_course(word, 0.01, fall), "srocc")
            for denial in ("excluded", "flat", "did not", "none of", "decline"):
                assert denial not in text


def test_the_strongest_of_many_stretches_are_named_in_their_order() -> None:
    many = tuple(Stretch("fell", 100 * n, 100 * n + 50, 0.01 * (1 + n % 4)) for n in range(8))
    text = sentence(_course("rose_then_fell", 0.01, 0.02, stretches=many), "srocc")
    assert text.count("between steps") == 4
    assert text.index("steps 200 and") < text.index("steps 300 and") < text.index("steps 600 and")


def test_bounds_are_rounded_to_the_safe_side() -> None:
    assert (lower(0.0219), lower(0.021), lower(0.00049), lower(0.0), lower(1.2345)) == (
        ".021", ".021", ".0004", ".000", "1.234",
    )  # fmt: skip
    assert (upper(0.0301), upper(0.03), upper(0.00041), upper(0.0), upper(2.0)) == (
        ".031", ".030", ".0005", ".000", "2.000",
    )  # fmt: skip
    assert (value(-0.0004), value(-0.0125, 2), value(None)) == (".000", "-.01", ".000")
