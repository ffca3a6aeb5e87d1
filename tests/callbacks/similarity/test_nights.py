# SPDX-License-Identifier: Apache-2.0
"""similarity/nights on a miniature copy of its layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import miniature_similarity
import numpy as np
import pytest

from clip_align.callbacks.similarity.nights import Nights
from clip_align.errors import UserError
from clip_align.evaluation.features import Features
from clip_align.evaluation.items import Items
from clip_align.evaluation.observers import ObservedPairs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return miniature_similarity.nights(tmp_path / "nights")


def seen(callback: Any, distances: Any) -> Items:
    nothing = np.zeros((0, 0), np.float32)
    return callback.items(Features(nothing[None], {}, nothing, ObservedPairs(np.asarray(distances, float))))


def value(callback: Any, items: Items) -> float | None:
    return callback.scores[0].estimate(items).value if items.reason is None else None  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [n for n in range(24) if n % 4 < 2 and n != 5]),
        ({"fewest_votes": 0}, [n for n in range(24) if n % 4 < 2]),
        ({"split": "all", "fewest_votes": 0}, list(range(24))),
        ({"split": "val"}, list(range(2, 24, 4))),
        ({"split": "test_imagenet"}, [n for n in range(24) if n % 4 < 2 and n != 5 and n // 4 % 2 == 0]),
        ({"split": "test_no_imagenet"}, [n for n in range(24) if n % 4 < 2 and n != 5 and n // 4 % 2 == 1]),
    ],
)
def test_splits_and_votes(root: Path, options: dict[str, Any], kept: list[int]) -> None:
    callback = Nights(root=str(root), **options)
    assert [c.reference for c in callback.choices] == [f"ref/{n // 10:03d}/{3 * n:03d}.png" for n in kept]
    assert [c.people for c in callback.choices] == [float(n % 3 == 0) for n in kept]
    assert callback.scores[0].ceilings == ({} if "fewest_votes" in options else {"people, by construction": 1.0})
    assert len(list(callback.stimuli())) == 3 * len(kept)


def test_a_perfect_model_its_negation_and_a_constant_one(root: Path) -> None:
    callback = Nights(root=str(root))
    people = np.array([c.people for c in callback.choices])
    perfect = np.stack([people, 1 - people], axis=1).ravel()  # the chosen one is at distance 0
    assert value(callback, seen(callback, perfect)) == 1
    assert value(callback, seen(callback, 1 - perfect)) == 0
    constant = seen(callback, np.ones(len(perfect)))
    assert constant.reason == f"both distances of all {len(people)} items are equal"
    assert constant.notes == {"ties": len(people)}


@pytest.mark.parametrize(("ties", "expected"), [("half", 0.5), ("wrong", 0.0), ("right", 1.0)])
def test_ties_are_counted_and_scored_by_their_rule(root: Path, ties: Any, expected: float) -> None:
    callback = Nights(root=str(root), ties=ties)
    people = np.array([c.people for c in callback.choices])
    distances = np.stack([people, 1 - people], axis=1)
    distances[:4] = 1
    items = seen(callback, distances.ravel())
    assert items.notes == {"ties": 4.0}
    n = len(people)
    assert value(callback, items) == pytest.approx((n - 4 + 4 * expected) / n)


def test_what_is_wrong_is_one_line(root: Path) -> None:
    def refused(**options: Any) -> str:
        with pytest.raises(UserError) as caught:
            Nights(root=str(root), **options)
        return str(caught.value)

    path = root / "data.csv"
    text = path.read_text(encoding="utf-8")
    (root / "ref" / "000" / "000.png").unlink()
    assert refused() == f"similarity/nights: {root} lacks ref/000/000.png; unpack the data set again"
    path.write_text(text.replace("right_vote", "target"), encoding="utf-8")
    assert refused().startswith(f"similarity/nights: {path} has no column right_vote; columns found: id, left_vote, ")
    path.write_text(text.replace("0,0,1,6,", "0,0,1,six,", 1), encoding="utf-8")
    assert refused() == (
        f"similarity/nights: {path}, line 2: right_vote '1', votes 'six', is_imagenet 'True'; "
        "valid are 0 or 1, a whole number, True or False; get data.csv again"
    )
    path.write_text(text.replace("0,0,1,6,", "0,0,1,\u00b2,", 1), encoding="utf-8")  # a digit of no number
    assert "votes '\u00b2'" in refused()
    path.write_text(text.splitlines()[0] + "\n", encoding="utf-8")
    assert refused() == f"similarity/nights: no choices in {root} that these options keep"


def test_others_results_are_context_and_no_lines(root: Path) -> None:
    (score,) = Nights(root=str(root)).scores
    assert score.context["OpenAI CLIP ViT-B/32"] == 0.8391  # of 20,019 triplets
    assert "ties wrong" in score.context_source
    assert not score.baselines
