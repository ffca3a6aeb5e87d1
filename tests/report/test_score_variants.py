# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from types import ModuleType

from clip_align.record.record import read
from clip_align.report.page import benchmark_rows
from clip_align.report.panels import panels
from clip_align.report.score_variants import all_scores
from clip_align.tracking.headline_scores import Headlines

SROCC = "human/tid2013_remade/srocc"


def layered(synthetic: ModuleType, folder: Path) -> Path:
    lines = []
    for line in synthetic.lines(120):
        if line["kind"] == "evaluation":
            both = {k.replace("/srocc", "/srocc@layer_6"): v for k, v in line.items() if k.startswith(SROCC)}
            other = {k.replace("/plcc", "/plcc@layer_6"): v for k, v in line.items() if "/plcc" in k}
            line = {**line, **both, **other}
        lines.append(line)
    return synthetic.write(folder, lines)


def test_another_layers_headline_is_a_companion_without_reference_lines_of_its_own(
    tmp_path: Path, synthetic: ModuleType
) -> None:
    history = all_scores(read(layered(synthetic, tmp_path)))
    alignment = panels(history)[1]
    assert [(c.label, c.role) for c in alignment.curves] == [
        ("SROCC, all pairs", "headline"),
        ("SROCC, all pairs, layer 6", "companion"),
    ]
    rows = benchmark_rows(history, history.benchmarks["human/tid2013_remade"])
    names = [r["name"] for r in rows["scores"]]
    assert names == [
        "srocc",
        "srocc@layer_6",
        "within_level_srocc",
        "plcc",
        "plcc@layer_6",
    ]
    assert rows["scores"][1]["references"] == []
    assert rows["notes"] == []


def test_trackers_get_it_too(tmp_path: Path, synthetic: ModuleType) -> None:
    follow = Headlines()
    history = read(layered(synthetic, tmp_path))
    for benchmark in history.benchmarks.values():
        follow.values(benchmark)
    values = follow.values(history.evaluations[-1])
    assert values[f"{SROCC}@layer_6"] == values[SROCC]
    assert "human/tid2013_remade/plcc@layer_6" not in values
