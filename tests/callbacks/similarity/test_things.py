# SPDX-License-Identifier: Apache-2.0
"""similarity/things on a miniature copy of its layout, and what odd-one-out benchmarks have in common."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import miniature_similarity
import numpy as np
import pytest

from clip_align.callbacks.common.odd_one_out import OddOneOut, pair_differences
from clip_align.callbacks.similarity.things import Things
from clip_align.errors import UserError
from clip_align.evaluation.features import Features
from clip_align.evaluation.items import Items
from clip_align.perception.distances import differences


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return miniature_similarity.things(tmp_path / "things")


def features(callback: OddOneOut, embeddings: Any) -> Features:
    """Features of the images [N, D], in the order of the stimuli."""
    rows = {stimulus.id: number for number, stimulus in enumerate(callback.stimuli())}
    return Features(np.asarray(embeddings, np.float32)[:, None], rows, np.zeros((0, 0), np.float32))


def value(callback: OddOneOut, items: Items) -> float | None:
    return callback.scores[0].estimate(items).value if items.reason is None else None


def test_objects_are_numbered_by_their_names_and_shown_by_their_first_file(root: Path) -> None:
    callback = Things(root=str(root))
    assert len(callback.triplets) == 30
    first = (root / "testset1.txt").read_text(encoding="utf-8").split()[:3]
    assert callback.triplets[0].images == tuple(f"object_{int(n):02d}/object_{int(n):02d}_01b.jpg" for n in first)
    assert {t.odd for t in callback.triplets} == {2}
    assert next(iter(callback.stimuli())).id == f"things/{callback.triplets[0].images[0]}"


def test_names_and_one_file_for_each_object(root: Path) -> None:
    for name in ("aardvark", "zebra", "mug"):
        miniature_similarity.image(root / "flat" / f"{name}.png")
    (root / "named.txt").write_text("zebra aardvark mug\n2.0e+00 0 1\n", encoding="utf-8")
    one, other = Things(root=str(root), triplets="named.txt", images="flat").triplets
    assert one.images == ("zebra.png", "aardvark.png", "mug.png")
    assert other.images == ("zebra.png", "aardvark.png", "mug.png")  # 0 aardvark, 1 mug, 2 zebra


def test_words_that_python_reads_as_numbers_and_names_of_files_are_names(root: Path) -> None:
    for name in ("nan", "infinity", "t", "t-shirt"):
        miniature_similarity.image(root / "flat" / f"{name}.jpg")
    (root / "named.txt").write_text("nan.jpg infinity t\n1 0 3\n", encoding="utf-8")
    one, other = Things(root=str(root), triplets="named.txt", images="flat").triplets
    assert one.images == ("nan.jpg", "infinity.jpg", "t.jpg")
    # numbered by their names: t before t-shirt, although t-shirt.jpg is before t.jpg
    assert other.images == ("nan.jpg", "infinity.jpg", "t-shirt.jpg")


@pytest.mark.parametrize("extra", [True, False])
def test_numbers_with_an_image_too_many_or_too_few_are_refused(root: Path, extra: bool) -> None:
    """Numbers are places in the list of all objects: another image would move all after it, unnoticed."""
    if extra:
        miniature_similarity.image(root / "images" / "_contact_sheet.jpg")
    else:
        shutil.rmtree(root / "images" / "object_05")
    with pytest.raises(UserError) as caught:
        Things(root=str(root))
    if extra:
        assert str(caught.value) == (
            f"similarity/things: {root}/testset1.txt numbers its objects from 0 to 11, and there are images of 13 "
            "objects; valid are images of exactly the objects numbered"
        )
    else:
        assert "no image of object 11; there are images of 11 objects" in str(caught.value)


def test_a_perfect_model_its_negation_and_a_constant_one(root: Path) -> None:
    miniature_similarity.image(root / "flat" / "a.png")
    for name in "bcd":
        miniature_similarity.image(root / "flat" / f"{name}.png")
    (root / "pairs.txt").write_text("a b c\na b d\nc d a\nc d b\n", encoding="utf-8")
    callback = Things(root=str(root), triplets="pairs.txt", images="flat", distance="euclidean")
    alike = features(callback, [[0.0, 0], [0.1, 0], [5, 5], [5.1, 5]])
    assert value(callback, callback.items(alike)) == 1
    across = features(callback, [[0.0, 0], [5, 5], [0.1, 0], [5.1, 5]])  # a with c, b with d
    assert value(callback, callback.items(across)) == 0
    constant = callback.items(features(callback, np.ones((4, 2))))
    assert constant.reason == "the three distances of all 4 items are equal"
    assert constant.notes == {"ties": 4.0}
    assert np.isnan(callback.items(features(callback, np.full((4, 2), np.nan))).model["agreement"]).all()


@pytest.mark.parametrize(("ties", "expected"), [("half", 1 / 3), ("wrong", 0.0), ("right", 1.0)])
def test_rules_for_ties(root: Path, ties: Any, expected: float) -> None:
    for name in "abcd":
        miniature_similarity.image(root / "flat" / f"{name}.png")
    (root / "pairs.txt").write_text("a b c\na b d\n", encoding="utf-8")
    callback = Things(root=str(root), triplets="pairs.txt", images="flat", distance="euclidean", ties=ties)
    items = callback.items(features(callback, [[0.0], [0], [0], [5]]))  # a, b, c the same
    assert items.notes == {"ties": 1.0}
    assert value(callback, items) == pytest.approx((1 + expected) / 2)


@pytest.mark.parametrize("tokens", [1, 3])
def test_differences_in_chunks_are_those_of_all_pairs(tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clip_align.callbacks.common.odd_one_out.AT_A_TIME", 25)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(7, 2, 4 * tokens)).astype(np.float32)
    rows = {str(n): n for n in range(7)}
    of = Features(images, rows, np.zeros((0, 0), np.float32), shape=(tokens, 4))
    first, second = [rng.integers(0, 7, 20).astype(str).tolist() for _ in range(2)]
    found = pair_differences(of, first, second)
    plain = differences(of[first], of[second])
    assert found.norms == pytest.approx(plain.norms)
    assert found.square == pytest.approx(plain.square.reshape(20, 2, tokens, 4).mean(axis=2))
    assert found.cosine() == pytest.approx(plain.cosine())
    assert found.euclidean() == pytest.approx(plain.euclidean())


def test_what_is_wrong_is_one_line(root: Path) -> None:
    def refused(text: str | None, **options: Any) -> str:
        if text is not None:
            (root / "testset1.txt").write_text(text, encoding="utf-8")
        with pytest.raises(UserError) as caught:
            Things(root=str(root), **options)
        return str(caught.value)

    path = root / "testset1.txt"
    assert refused("0 1 2\n3 4\n") == (
        f"similarity/things: {path}, line 2: '3 4' is no triplet; valid are three different objects"
    )
    assert refused("0 1 1\n").endswith("'0 1 1' is no triplet; valid are three different objects")
    assert refused("0 1 12\n") == (
        f"similarity/things: {path}, line 1: no image of object 12; there are images of 12 objects; "
        "the data set has 1,854"
    )
    assert refused("0 1 owl\n").startswith(f"similarity/things: {path}, line 1: no image of object owl; ")
    assert refused("\n") == "similarity/things: no triplets that these options keep"
    assert refused(None, triplets="none.txt") == (
        f"similarity/things: cannot read {root}/none.txt: No such file or directory; triplets= names a file below root"
    )
