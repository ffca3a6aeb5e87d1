# SPDX-License-Identifier: Apache-2.0
"""Figures that the docs quote are those of the code."""

from __future__ import annotations

import math
from pathlib import Path

from clip_align.perception.baselines import CEILINGS, baselines

SCORES = (Path(__file__).resolve().parent.parent / "docs" / "scores.md").read_text(encoding="utf-8")


def test_scores_quotes_the_baselines_and_ceilings_of_the_code() -> None:
    text = SCORES[SCORES.index("**Level alone**") : SCORES.index("**Intervals**")]
    for values in [*baselines().values(), *CEILINGS.values()]:
        for value in values:
            if math.isfinite(value):
                assert f"{value:.3f}".replace("0.", ".", 1) in text, value
