# SPDX-License-Identifier: Apache-2.0
"""Observers without an embedding on declared pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import stubs
from PIL import Image

from clip_align.callbacks.base import Features, Items
from clip_align.callbacks.human.pairs_csv import PairsCsv
from clip_align.callbacks.human.tid2013_remade import TID2013Remade
from clip_align.errors import UserError
from clip_align.evaluation.observers import baselines_by_score, observed
from clip_align.metrics.correlation import srocc
from clip_align.perception import tid2013_remade
from clip_align.perception.baselines import baselines, observers, table
from clip_align.perception.observers import (
    EQUAL_DB,
    LEVEL_ALONE,
    PSNR,
    PSNR_LUMINANCE,
    SSIM,
    ColumnAlone,
    ConditionAlone,
    Labels,
    Measured,
    Observer,
    OfImages,
    PairSet,
    others_mean,
    ssim,
)
from clip_align.perception.psnr import psnr
from clip_align.testing.random_images import random_image


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


@pytest.mark.parametrize("observer", [PSNR, PSNR_LUMINANCE])
def test_psnr_of_equal_images_is_bounded(observer: Observer) -> None:
    """Infinite values would leave a correlation undefined: databases hold pairs that are equal to the pixel."""
    image = random_image("a", 384, 512)
    nearly = image.copy()
    nearly[0, 0] ^= 1  # one pixel of 196,608, by one level
    far = random_image("b", 384, 512)
    images = [(image, image), (image, nearly), (image, far)]
    values = -observer.distances(PairSet(3, lambda: iter(images), lambda: Labels({}, np.arange(3.0))))
    assert np.isfinite(values).all()
    assert values[0] == EQUAL_DB >= values[1] > values[2]
    assert srocc(values, [3, 2, 1]) > 0.8


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


class Levels(Some):
    """Pairs of an outside author: four references, a level and a type each."""

    def items(self, features: Features) -> Items:
        found = super().items(features)
        n = np.arange(len(found))
        human = np.array([9.0, 7, 6, 8, 3, 4, 1, 2])
        return Items(
            found.model, human, None, {"reference": n // 2}, {"level": n % 2 + 1, "type": np.array(list("abab" * 2))}
        )


def test_the_level_alone_is_an_observer_of_any_benchmark() -> None:
    found = observed(Levels(), LEVEL_ALONE)
    assert found.items is not None
    assert found.items.model["value"].tolist() == [-1, -2] * 4
    assert found.estimates["srocc"].value == srocc(-found.items.conditions["level"].astype(float), found.items.human)
    milder = observed(Levels(), ColumnAlone("level", sign=-1)).estimates["srocc"].value
    assert milder == -found.estimates["srocc"].value  # type: ignore[operator]


def test_the_condition_alone_is_the_mean_opinion_of_the_others() -> None:
    items = observed(Levels(), ConditionAlone(("type", "level"))).items
    assert items is not None
    a, b = [9.0, 6, 3, 1], [7.0, 8, 4, 2]  # each condition has one pair of each reference
    expected = [(sum(of) - of[i]) / 3 for i in range(4) for of in (a, b)]
    assert items.model["value"] == pytest.approx(expected)
    lonely = others_mean(np.array([1.0, 2, 3]), np.array([0, 1, 1]), np.array([0, 0, 1]))
    assert np.isnan(lonely[0])
    assert lonely[1:].tolist() == [3, 2]


@pytest.mark.parametrize(
    ("observer", "line"),
    [
        (ColumnAlone("strength"), "observers: the pairs have no column strength; valid: level, type, reference"),
        (ConditionAlone(("kind",)), "observers: the pairs have no column kind; valid: level, type, reference"),
        (ColumnAlone("type"), "observers: the column type holds a, no number; ConditionAlone takes labels"),
    ],
)
def test_a_column_that_is_not_there_is_one_line(observer: Observer, line: str) -> None:
    with pytest.raises(UserError) as error:
        observed(Levels(), observer)
    assert str(error.value) == line


def test_labels_need_one_item_for_each_pair() -> None:
    class Halves(Some):
        def items(self, features: Features) -> Items:
            return Items(-features.pairs.distance("cosine")[::2], np.arange(4))

    assert observed(Halves(), PSNR).items is not None  # which needs no labels
    with pytest.raises(UserError) as error:
        observed(Halves(), LEVEL_ALONE)
    assert str(error.value) == ("human/pairs: its 8 pairs make 4 items; labels are known of one item for each pair")


def test_measures_of_other_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="3 measures of 8 pairs"):
        observed(Some(), Measured(np.zeros(3)))


def test_baselines_are_the_defined_scores_by_label() -> None:
    found = baselines_by_score(Levels(), {"PSNR": PSNR, "level alone": LEVEL_ALONE, "blind": lambda a, b: 1.0})
    assert found == {
        "srocc": {
            "PSNR": observed(Levels(), PSNR).estimates["srocc"].value,
            "level alone": observed(Levels(), LEVEL_ALONE).estimates["srocc"].value,
        }
    }
    assert observed(Levels(), PSNR).estimates == observed(Levels(), OfImages(lambda a, b: -psnr(a, b))).estimates


def test_observers_of_a_csv_of_pairs(tmp_path: Path) -> None:
    rows = ["reference,distorted,opinion"]
    clean = random_image("clean", 40, 40)
    Image.fromarray(clean).save(tmp_path / "clean.png")
    noise = np.random.default_rng(0).normal(size=clean.shape)
    for number, sigma in enumerate((2, 5, 10, 20)):
        Image.fromarray(np.clip(clean + sigma * noise, 0, 255).astype(np.uint8)).save(tmp_path / f"{number}.png")
        rows.append(f"clean.png,{number}.png,{9 - number}")
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    found = baselines_by_score(PairsCsv(csv=str(tmp_path / "pairs.csv")), {"PSNR": PSNR, "SSIM": SSIM})
    assert found["srocc"] == {"PSNR": 1.0, "SSIM": 1.0}  # the noise is stronger from one to the next


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(observers()))
def test_the_recorded_baselines_of_tid2013_remade_are_what_their_observers_score(name: str) -> None:
    found = observed(TID2013Remade(), observers()[name]).estimates
    pooled, within = baselines()[name]
    assert found["srocc"].value == pooled
    assert found["within_level_srocc"].value == (None if np.isnan(within) else within)
