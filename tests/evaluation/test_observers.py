# SPDX-License-Identifier: Apache-2.0
"""Observers without an embedding on declared pairs."""

from __future__ import annotations

import numpy as np
import pytest
import stubs

from clip_align.callbacks.base import Features, Items
from clip_align.callbacks.human.tid2013_remade import TID2013Remade
from clip_align.errors import UserError
from clip_align.evaluation.observers import observed
from clip_align.metrics.correlation import srocc
from clip_align.perception import tid2013_remade
from clip_align.perception.baselines import ssim, table
from clip_align.perception.psnr import psnr


class Some(stubs.Pairs):
    def pairs(self) -> list[tuple[str, str]]:
        return list(zip(*self.ids, strict=True))

    def items(self, features: Features) -> Items:
        return Items(-features.pairs.distance("cosine"), np.arange(len(features.pairs)))


def test_the_observer_compares_the_images_of_each_pair() -> None:
    found = observed(Some(), lambda a, b: float(np.abs(a.astype(float) - b).mean()))
    loaded = {s.id: s.load().astype(float) for s in Some().stimuli()}
    expected = [-np.abs(loaded[a] - loaded[b]).mean() for a, b in Some().pairs()]
    assert found.items is not None
    assert found.items.model["value"].tolist() == pytest.approx(expected)
    assert found.estimates["srocc"].value == pytest.approx(srocc(np.array(expected), np.arange(8.0)))


def test_an_observer_that_sees_nothing_is_undefined() -> None:
    assert observed(Some(), lambda a, b: 0.0).estimates["srocc"].value is None


def test_without_pairs_there_is_nothing_to_observe() -> None:
    with pytest.raises(UserError) as error:
        observed(stubs.Pairs(), lambda a, b: 0.0)
    assert str(error.value) == ("human/pairs: declares no pairs(), so that nothing but a model can be evaluated on it")


@pytest.mark.parametrize(("measure", "column"), [(psnr, "psnr_rgb"), (ssim, "ssim")])
def test_pixel_measures_of_tid2013_remade(monkeypatch: pytest.MonkeyPatch, measure: object, column: str) -> None:
    """The images of three pairs in four are not made here: the table of baselines has their values."""
    callback, values = TID2013Remade(), table()[column]
    number = {tid2013_remade.pair_id(*name): i for i, name in enumerate(callback._names)}
    real = {i for i in number.values() if i % 240 == 0}

    def fake(a: object, b: object) -> float:
        return -measure(a, b) if not isinstance(b, int) else -values[b]  # type: ignore[operator]

    stimuli = [
        s if number.get(s.id) is None or number[s.id] in real else type(s)(s.id, lambda s=s: number[s.id])  # type: ignore[misc]
        for s in callback.stimuli()
    ]
    monkeypatch.setattr(callback, "stimuli", lambda: iter(stimuli))
    found = observed(callback, fake)
    baseline = "PSNR (RGB)" if column == "psnr_rgb" else "SSIM"
    headline = callback.scores[0]
    assert found.estimates["srocc"].value == pytest.approx(headline.baselines[baseline], abs=1e-3)
    assert found.items is not None
    of_pixels = [i for i in range(1920) if i in real]
    assert found.items.model[callback.distance][of_pixels] == pytest.approx(values[of_pixels], rel=1e-3)
    assert "dropped_features" not in found.notes
