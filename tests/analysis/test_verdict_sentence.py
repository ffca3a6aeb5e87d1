# SPDX-License-Identifier: Apache-2.0
"""The sentences about rise and fall, word by word."""

from __future__ import annotations

from typing import Any

import pytest

from clip_align.analysis.peak import Peak
from clip_align.analysis.verdict_sentence import sentence
from clip_align.metrics.estimate import Estimate, undefined

NAIVE = Estimate(0.09, 0.05, 0.12)


def _peak(word: Any, rise: tuple[float, float, float], fall: tuple[float, float, float], **more: Any) -> Peak:
    fields = {"start": 0.537, "end": 0.69, "peak_from": 480, "peak_to": 1780, "smallest_detectable_fall": 0.0211}
    return Peak(word, None, Estimate(*rise), Estimate(*fall), NAIVE, **{**fields, "evaluations": 22, **more})


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            _peak("undecided", (0.169, 0.119, 0.22), (0.008, -0.003, 0.019)),
            "srocc rose from .537 to about .706: +.169 [.119, .220]. Fall since: .008 [-.003, .019]: undecided; a fall "
            "above .019 is excluded; this run could have shown (80 %) one of .021 or more. "
            "Peak between steps 480 and 1,780.",
        ),
        (
            _peak("rose_then_fell", (0.169, 0.119, 0.22), (0.05, 0.02, 0.08)),
            "srocc rose from .537 to about .706: +.169 [.119, .220]. Then it fell in this run: .050 [.020, .080]. "
            "Peak between steps 480 and 1,780.",
        ),
        (
            _peak("rise", (0.169, 0.119, 0.22), (0.001, -0.01, 0.012)),
            "srocc rose from .537 to about .706: +.169 [.119, .220]. Fall since: .001 [-.010, .012]: none of .03 or "
            "more; this run could have shown (80 %) one of .021 or more. Peak between steps 480 and 1,780.",
        ),
        (
            _peak("fall", (-0.002, -0.011, 0.007), (0.05, 0.02, 0.08), peak_from=0, peak_to=300),
            "srocc did not rise by .03: from .537 to about .535, -.002 [-.011, .007]. It fell in this run: "
            ".050 [.020, .080]. Peak between steps 0 and 300.",
        ),
        (
            _peak("flat", (0.002, -0.011, 0.017), (0.0, -0.02, 0.02)),
            "srocc stayed flat (within .03): from .537 to about .539, +.002 [-.011, .017]. Fall since: .000 "
            "[-.020, .020]; this run could have shown (80 %) one of .021 or more. Peak between steps 480 and 1,780.",
        ),
        (
            _peak("undecided", (0.02, -0.03, 0.07), (0.02, -0.03, 0.07), left_out=1, evaluations=21),
            "Rise of srocc from .537 to about .557: +.020 [-.030, .070]: undecided. Fall since: .020 [-.030, .070]: "
            "undecided; a fall above .070 is excluded; this run could have shown (80 %) one of .021 or more. "
            "Peak between steps 480 and 1,780. Left out, without a value: 1 of 22 evaluations.",
        ),
        (
            Peak(None, "12 regular evaluations; the rule needs at least 20", *[undefined("x")] * 3),
            "srocc: no verdict: 12 regular evaluations; the rule needs at least 20.",
        ),
    ],
)
def test_sentences(found: Peak, expected: str) -> None:
    assert sentence(found, 0.03, "srocc") == expected
