# SPDX-License-Identifier: Apache-2.0
"""Top-5 accuracy of benchmarks that decide among more than five classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clip_align.callbacks.common.held_out_images import candidates_of, held_out_set
from clip_align.callbacks.zero_shot.folder import Folder
from clip_align.data.held_out import HeldOutSample, HeldOutSamples
from clip_align.evaluation.features import Features
from clip_align.metrics.estimate import Estimate


def folder(at: Path, classes: int) -> Folder:
    """Two images of each class."""
    for number in range(2 * classes):
        path = at / f"kind_{number % classes:02d}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
    return Folder(root=str(at), templates=["{}"])


def scored(callback: Folder, images: np.ndarray) -> dict[str, Estimate]:
    """Scores where the prompt of class k is the k-th axis, and images are as given [N, K]."""
    ids = [callback.images.ids[row] for row in callback.rows()]
    prompts = np.eye(images.shape[1], dtype=np.float32)
    features = Features(images[:, None].astype(np.float32), {name: n for n, name in enumerate(ids)}, prompts)
    items = callback.items(features)
    return {score.name: score.compute(items) for score in callback.scores}


def at_rank(labels: np.ndarray, rank: int, classes: int) -> np.ndarray:
    """Embeddings that put the right class at a rank, from 0: smaller entries for classes that come later."""
    images = np.zeros((len(labels), classes))
    for row, label in enumerate(labels):
        order = [k for k in range(classes) if k != label]
        order.insert(rank, int(label))
        images[row, order] = np.linspace(1, 0.1, classes)
    return images


@pytest.mark.parametrize(("rank", "top1", "top5"), [(0, 1.0, 1.0), (1, 0.0, 1.0), (4, 0.0, 1.0), (5, 0.0, 0.0)])
def test_the_right_class_is_among_the_first_five(tmp_path: Path, rank: int, top1: float, top5: float) -> None:
    callback = folder(tmp_path, 8)
    found = scored(callback, at_rank(callback.images.labels, rank, 8))
    assert (found["accuracy"].value, found["accuracy_top5"].value) == (top1, top5)
    (score,) = [score for score in callback.scores if score.name == "accuracy_top5"]
    assert score.chance == 5 / 8
    assert score.unit == "16 images, Wilson"
    assert score.role == "detail"


def test_constant_and_broken_models_have_none(tmp_path: Path) -> None:
    callback = folder(tmp_path, 8)
    for images in (np.ones((16, 8)), np.full((16, 8), np.nan)):
        estimate = scored(callback, images)["accuracy_top5"]
        assert estimate.value is None
        assert "no decisions" in str(estimate.reason)
    half = at_rank(callback.images.labels, 2, 8)
    half[:8] = np.nan  # no decision is a wrong one
    assert scored(callback, half)["accuracy_top5"].value == 0.5


def test_no_more_than_five_classes_have_none(tmp_path: Path) -> None:
    callback = folder(tmp_path, 5)
    assert "accuracy_top5" not in scored(callback, at_rank(callback.images.labels, 1, 5))


def test_held_out_captions_among_candidates() -> None:
    samples = [HeldOutSample(f"s{n}", "a.tar", 0, 1, (f"caption {n}",)) for n in range(12)]
    images = held_out_set(HeldOutSamples(tuple(samples)), 8, "zero_shot/held_out")
    known = candidates_of(images, 8)
    ids = [f"held_out/s{n}" for n in range(12)]
    prompts = np.eye(12, dtype=np.float32)
    rows = {name: n for n, name in enumerate(ids)}
    own = known.right(images.labels)
    # each image's own caption is the third nearest of its candidates, the others follow in their order
    embeddings = np.zeros((12, 12))
    for row, among in enumerate(known.among_texts):
        order = [text for text in among.tolist() if text != among[own[row]]]
        order.insert(2, int(among[own[row]]))
        embeddings[row, order] = np.linspace(1, 0.1, 8)
    features = Features(embeddings[:, None].astype(np.float32), rows, prompts)
    assert known.decisions_and_first(features, ids, own, 2)[1].tolist() == [False] * 12
    assert known.decisions_and_first(features, ids, own, 3)[1].tolist() == [True] * 12
    assert (known.decisions(features, ids) != own).all()
    broken = replace(features, images=np.full((12, 1, 12), np.nan, np.float32))
    assert not known.decisions_and_first(broken, ids, own, 8)[1].any()
