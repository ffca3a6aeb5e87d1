# SPDX-License-Identifier: Apache-2.0
"""similarity/levels on a miniature copy of its layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import miniature_similarity
import numpy as np
import pytest

from clip_align.callbacks.similarity.levels import Levels
from clip_align.errors import UserError
from clip_align.evaluation.features import Features


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return miniature_similarity.levels(tmp_path / "levels")


def test_choices_are_rows_with_the_image_that_was_selected(root: Path) -> None:
    callback = Levels(root=str(root))
    assert [t.odd for t in callback.triplets] == [n % 3 for _ in range(3) for n in range(10)]
    assert callback.triplets[10].name == "class_border, line 2"
    name = callback.triplets[0].images[0]
    assert name.startswith("n0144")
    assert (root / "images" / name).is_file()
    assert Levels(root=str(root), levels=["within_class"]).scores[0].by is None


def test_the_score_is_the_mean_over_the_levels(root: Path) -> None:
    callback = Levels(root=str(root), distance="euclidean")
    ids = [stimulus.id for stimulus in callback.stimuli()]
    images = np.random.default_rng(0).normal(size=(len(ids), 1, 3)).astype(np.float32)
    features = Features(images, {name: n for n, name in enumerate(ids)}, np.zeros((0, 0), np.float32))
    items = callback.items(features)
    right = []
    for triplet in callback.triplets:
        points = features[[f"levels/{path}" for path in triplet.images]][:, 0]
        apart = [np.linalg.norm(points[b] - points[c]) for b, c in ((1, 2), (0, 2), (0, 1))]  # without image k
        right.append(float(int(np.argmin(apart)) == triplet.odd))
    assert items.model["agreement"].tolist() == right
    assert callback.scores[0].estimate(items).value == pytest.approx(np.mean(right))  # levels of equal size
    assert callback.scores[0].by == "level"
    assert callback.scores[0].chance == pytest.approx(1 / 3)


def test_what_is_wrong_is_one_line(root: Path) -> None:
    def refused(**options: Any) -> str:
        with pytest.raises(UserError) as caught:
            Levels(root=str(root), **options)
        return str(caught.value)

    path = root / "class_border.csv"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("selected_image", "chosen"), encoding="utf-8")
    assert refused() == (
        f"similarity/levels: {path} has no column selected_image; columns found: participant, image1Path, image2Path, "
        "image3Path, chosen, RT; get the file again"
    )
    path.write_text("image1Path,image2Path,image3Path,selected_image\na_1.JPEG,a_2.JPEG,b_1.JPEG,c_1.JPEG\n")
    assert refused() == (
        f"similarity/levels: {path}, line 2: selected_image 'c_1.JPEG' is not one of a_1.JPEG, a_2.JPEG, b_1.JPEG; "
        "get the file again"
    )
    path.write_text(text, encoding="utf-8")
    assert refused(images=str(root / "none")).startswith(f"similarity/levels: {root}/none lacks n0144")
    path.unlink()
    assert refused().startswith(
        f"similarity/levels: {root} lacks class_border.csv; expected below it: between_class.csv"
    )
