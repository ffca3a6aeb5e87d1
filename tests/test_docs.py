# SPDX-License-Identifier: Apache-2.0
"""Figures that the docs quote are those of the code, and their Python blocks run as they stand."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from clip_align.perception.baselines import CEILINGS, baselines

DOCS = Path(__file__).resolve().parent.parent / "docs"
SCORES = (DOCS / "scores.md").read_text(encoding="utf-8")


def python_blocks() -> list[tuple[str, str]]:
    """Name and text of each Python block of the docs."""
    pages = [(page.name, page.read_text(encoding="utf-8")) for page in sorted(DOCS.glob("*.md"))]
    found = [(name, re.findall(r"```python\n(.*?)```", text, re.DOTALL)) for name, text in pages]
    return [(f"{name}-{number}", text) for name, texts in found for number, text in enumerate(texts, 1)]


def test_there_are_blocks_to_run() -> None:
    assert {"metrics.md-1", "metrics.md-2"} <= {name for name, _ in python_blocks()}


@pytest.mark.filterwarnings("ignore")  # Lightning's advice on workers, devices and the like
@pytest.mark.parametrize(("name", "text"), python_blocks(), ids=lambda value: value if value.count("\n") == 0 else "")
def test_python_blocks_run(name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(text, name, "exec"), {"__name__": "block"})


def test_scores_quotes_the_baselines_and_ceilings_of_the_code() -> None:
    text = SCORES[SCORES.index("**Level alone**") : SCORES.index("**Intervals**")]
    for values in [*baselines().values(), *CEILINGS.values()]:
        for value in values:
            if math.isfinite(value):
                assert f"{value:.3f}".replace("0.", ".", 1) in text, value


def test_metrics_lists_every_metric_with_what_it_takes() -> None:
    from clip_align.metrics import modules

    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)\([a-z]*\)` \| `([a-z, ]+)` \|", page, re.MULTILINE))
    metrics = {name: getattr(modules, name) for name in modules.__all__ if name != "ItemMetric"}
    assert rows == {name: ", ".join(("item", *metric.columns)) for name, metric in metrics.items()}
    better = dict(re.findall(r"^\| `(\w+)\([a-z]*\)` (?:\|[^|]*){2}\| (\w+) \|", page, re.MULTILINE))
    words = {True: "higher", False: "lower", None: "neither"}
    assert better == {name: words[metric.higher_is_better] for name, metric in metrics.items()}
