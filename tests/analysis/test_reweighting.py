# SPDX-License-Identifier: Apache-2.0
"""Scores under reweighting against the same scores of copies written out."""

from __future__ import annotations

import numpy as np
import pytest

from clip_align.analysis.reweighting import RankCurves
from clip_align.metrics.correlation import srocc, within_level_srocc


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_equal_to_copies(seed: int, levels: int, ties: bool) -> None:
    generator = np.random.default_rng(seed)
    cluster = np.sort(generator.integers(0, 7, size=90))  # of uneven sizes
    cluster[:7] = np.arange(7)
    level = generator.integers(0, levels, size=90)
    model, human = generator.normal(size=(3, 90)), generator.normal(size=90)
    if ties:
        model, human = np.round(2 * model), np.round(2 * human)
    curves = RankCurves(model, human, cluster, level if levels > 1 else None)
    for members in (np.arange(7), np.array([0, 2, 3, 6])):
        weights = generator.integers(0, 4, size=(5, len(members)))
        got = curves.values(weights.astype(float), members, np.array([2, 0]))
        for row, w in zip(got, weights, strict=True):
            times = np.zeros(7, dtype=int)
            times[members] = w
            copies = np.repeat(np.arange(90), times[cluster])
            for value, t in zip(row, (2, 0), strict=True):
                x, y = model[t][copies], human[copies]
                expected = srocc(x, y) if levels == 1 else within_level_srocc(x, y, level[copies])
                if levels > 1 and len(np.unique(level[copies])) < levels:
                    expected = np.nan  # a level that was not drawn
                assert value == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_an_undefined_evaluation_is_nan_alone() -> None:
    generator = np.random.default_rng(0)
    model, human, cluster = generator.normal(size=(3, 40)), generator.normal(size=40), np.arange(40) % 8
    model[1, 5] = np.nan
    curves = RankCurves(model, human, cluster)
    values = curves.values(np.ones((1, 8)), np.arange(8), np.arange(3))
    assert np.isnan(values).tolist() == [[False, True, False]]
    assert np.isnan(curves.values(np.zeros((1, 8)), np.arange(8), np.arange(3))).all()
    nobody = RankCurves(model, np.ones(40), cluster)
    assert np.isnan(nobody.values(np.ones((1, 8)), np.arange(8), np.arange(3))).all()
