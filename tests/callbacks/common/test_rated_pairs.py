# SPDX-License-Identifier: Apache-2.0
"""What every image-quality benchmark records: correlations plain and fitted, by type and by reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shipped

from clip_align.evaluation.observers import observed
from clip_align.perception.observers import Measured

DATABASES = ("tid2013", "tid2008", "kadid10k", "csiq", "live", "raid")
REMADE = ("tid2013_remade", "kadid10k_remade")
WITHOUT_LEVELS = ("live",)  # strengths are continuous
CORRELATIONS = ("srocc", "plcc", "krocc", "plcc_fitted", "within_reference_srocc", "srocc_two_way")


@pytest.mark.parametrize("name", [*DATABASES, *REMADE])
def test_correlations_and_tables_are_recorded(name: str, tmp_path: Path) -> None:
    source = "kadid10k" if name == "kadid10k_remade" else name
    if source in shipped.MADE:
        shipped.MADE[source](tmp_path / source)
    callback = shipped.build(name, tmp_path)
    first = observed(callback, Measured(np.arange(len(callback.pairs()), dtype=np.float64))).items
    assert first is not None
    human = first.human
    # opinions with noise: what is recorded, not how much
    noise = 0.3 * human.std() * np.random.default_rng(0).normal(size=len(human))
    result = observed(callback, Measured(human + noise, similarity=True))
    assert result.items is not None
    estimates = result.estimates
    assert set(CORRELATIONS) <= set(estimates)
    for score in ("srocc", "plcc", "krocc", "within_reference_srocc"):
        assert estimates[score].value is not None
    assert ("within_level_srocc" in estimates) == (name not in WITHOUT_LEVELS)
    for score, column in (("srocc", "type"), ("within_reference_srocc", "reference")):
        rows = [key for key in estimates if key.startswith(f"{score}_{column}_")]
        assert len(rows) == len(np.unique(result.items.clusters[column])) > 1
