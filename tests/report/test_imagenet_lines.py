# SPDX-License-Identifier: Apache-2.0
"""What others reach on ImageNet after so many samples, beside a curve of zero-shot accuracy on it."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from clip_align.perception.imagenet_by_samples import ACCURACY, SAMPLES, SOURCE, context
from clip_align.record.record import read
from clip_align.report.panels import Panel, panels
from clip_align.report.sentences import course


def panel(synthetic: ModuleType, folder: Path, samples: list[int], of_imagenet: bool = True) -> Panel:
    """The panel of a run on ImageNet's classes with evaluations after so many samples."""
    more: dict[str, Any] = {"context": context(), "context_source": SOURCE} if of_imagenet else {}
    scores = [synthetic.score("accuracy", "clean", chance=0.001, axis=[0.0, 1.0], **more)]
    written: list[dict[str, Any]] = [
        {"kind": "benchmark", **synthetic.where(0), **synthetic.benchmark("zero_shot/folder", "zero_shot", scores)}
    ]
    for step, seen in enumerate(samples):
        line = {
            **synthetic.where(step),
            "samples_seen": seen,
            "time/evaluation_seconds": 1.0,
            "zero_shot/folder/accuracy": 0.001 + 0.01 * step,
        }
        written.append({"kind": "evaluation", **line})
    return panels(read(synthetic.write(folder, written)))[0]


def test_the_lines_end_where_the_run_is(synthetic: ModuleType, tmp_path: Path) -> None:
    found = panel(synthetic, tmp_path / "a", [0, 3_000_000, 12_800_000])
    lines = {bound.label: bound.points for bound in found.bounds}
    assert list(lines) == ["ViT-B/32, DataComp-1B", "ViT-S/32, DataComp-1B"]
    assert lines["ViT-B/32, DataComp-1B"] == (
        (1_280_000, 0.014), (3_000_000, 0.032), (6_400_000, 0.065), (12_800_000, 0.112),
    )  # fmt: skip
    assert "ViT-S/32 on DataComp-1B reached 0.102 after 12,800,000 samples: ends of cosine runs on DataComp-1B" in (
        " ".join(course(found))
    )
    assert "upper limit" not in " ".join(course(found))


def test_between_two_lengths_the_line_is_straight_over_the_logarithm(synthetic: ModuleType, tmp_path: Path) -> None:
    found = panel(synthetic, tmp_path / "a", [0, round((6_400_000 * 12_800_000) ** 0.5)])
    last = found.bounds[0].points[-1]
    assert last == (9_050_967, pytest.approx((0.065 + 0.112) / 2, abs=1e-6))


@pytest.mark.parametrize(("samples", "of_imagenet"), [([0, 1_000_000], True), ([0, 12_800_000], False), ([0], True)])
def test_no_line_before_its_first_value_or_for_other_images(
    synthetic: ModuleType, tmp_path: Path, samples: list[int], of_imagenet: bool
) -> None:
    assert panel(synthetic, tmp_path / "a", samples, of_imagenet).bounds == ()


def test_a_longer_run_keeps_the_whole_line(synthetic: ModuleType, tmp_path: Path) -> None:
    found = panel(synthetic, tmp_path / "a", [0, 300_000_000])
    assert found.bounds[0].points == tuple(zip(SAMPLES, ACCURACY["ViT-B/32"], strict=True))
