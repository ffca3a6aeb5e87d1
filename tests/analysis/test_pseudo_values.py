# SPDX-License-Identifier: Apache-2.0
"""Pseudo-values of rank correlations against deleting the clusters one by one."""

from __future__ import annotations

import numpy as np
import pytest

from clip_align.analysis.pseudo_values import rank_curve
from clip_align.metrics.correlation import srocc, within_level_srocc


def _items() -> tuple[np.ndarray, ...]:
    """Model values [3, 360] with many ties, opinions, references, types, levels."""
    generator = np.random.default_rng(0)
    axes = np.meshgrid(np.arange(9), np.arange(8), np.arange(5), indexing="ij")
    reference, kind, level = (v.ravel() for v in axes)
    human = np.round(-level + generator.normal(size=len(level)), 1)
    return np.round(human + 2 * generator.normal(size=(3, len(level))), 1), human, reference, kind, level


@pytest.mark.parametrize("within", [False, True])
def test_values_and_pseudo_values_are_those_of_deleted_items(within: bool) -> None:
    model, human, reference, kind, level = _items()
    found = rank_curve(model, human, (reference, kind), level if within else None)

    def score(values: np.ndarray, kept: np.ndarray) -> float:
        if within:
            return within_level_srocc(values[kept], human[kept], level[kept])
        return srocc(values[kept], human[kept])

    everything = np.ones(len(human), dtype=bool)
    for t, values in enumerate(model):
        whole = score(values, everything)
        assert found.values[t] == pytest.approx(whole, abs=1e-12)
        for unit, labels in zip(found.units, (reference, kind), strict=True):
            count = len(np.unique(labels))
            expected = [count * whole - (count - 1) * score(values, labels != name) for name in np.unique(labels)]
            assert unit[t] == pytest.approx(expected, abs=1e-11)


def test_an_evaluation_without_a_value_is_not_defined() -> None:
    model, human, reference, _, level = _items()
    model[1] = 4.0  # all equal
    model[2, level == 3] = np.nan
    found = rank_curve(model, human, (reference,), level)
    assert found.defined.tolist() == [0]
    assert found.at(found.defined).values.tolist() == [pytest.approx(within_level_srocc(model[0], human, level))]
    assert found.clusters == 9


def test_a_value_that_hangs_on_one_cluster_is_not_defined() -> None:
    model, human, reference, _, _ = _items()
    model[:] = np.where(reference == 0, model, 0.0)
    found = rank_curve(model, human, (reference,))
    assert np.isfinite(found.values).all()
    assert found.defined.size == 0


def test_no_items_but_lost_ones() -> None:
    _, human, reference, _, _ = _items()
    assert rank_curve(np.full((2, len(human)), np.nan), human, (reference,)).defined.size == 0
