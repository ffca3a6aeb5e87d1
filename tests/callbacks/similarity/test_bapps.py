# SPDX-License-Identifier: Apache-2.0
"""similarity/bapps on a miniature copy of its layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import miniature_similarity
import numpy as np
import pytest

from clip_align.callbacks.similarity.bapps import Bapps
from clip_align.errors import UserError
from clip_align.evaluation.features import Features
from clip_align.evaluation.items import Items
from clip_align.evaluation.observers import ObservedPairs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return miniature_similarity.bapps(tmp_path / "bapps")


def seen(callback: Bapps, distances: Any) -> Items:
    nothing = np.zeros((0, 0), np.float32)
    return callback.items(Features(nothing[None], {}, nothing, ObservedPairs(np.asarray(distances, float))))


def test_the_majoritys_choices_score_its_ceiling(root: Path) -> None:
    callback = Bapps(root=str(root))
    people = np.array([c.people for c in callback.choices])
    kinds = np.array([c.stratum for c in callback.choices])
    assert len(people) == 3 + 4 + 5 + 6 + 7 + 8
    majority, pooled = (
        score.estimate(seen(callback, np.stack([people, 1 - people], axis=1).ravel())).value
        for score in callback.scores
    )
    best = np.maximum(people, 1 - people)
    assert majority == pytest.approx(np.mean([best[kinds == kind].mean() for kind in set(kinds)]))
    assert majority == pytest.approx(callback.scores[0].ceilings["people's majority"])
    assert pooled == pytest.approx(best.mean())
    assert callback.scores[0].ceilings["one more person"] < majority
    other = callback.scores[0].estimate(seen(callback, np.stack([1 - people, people], axis=1).ravel())).value
    assert other == pytest.approx(1 - majority)
    assert seen(callback, np.ones(2 * len(people))).reason == "both distances of all 33 items are equal"


def test_some_types(root: Path) -> None:
    callback = Bapps(root=str(root), types=["cnn"])
    assert {c.stratum for c in callback.choices} == {"cnn"}
    assert [score.name for score in callback.scores] == ["agreement"]
    assert {s.id for s in callback.stimuli()} >= {"bapps/cnn/ref/000003.png", "bapps/cnn/p1/000006.png"}


def test_what_is_wrong_is_one_line(root: Path) -> None:
    def refused(**options: Any) -> str:
        with pytest.raises(UserError) as caught:
            Bapps(root=str(root), **options)
        return str(caught.value)

    folder = root / "2afc" / "val"
    assert refused(types=["mix"]) == (
        f"similarity/bapps: no judgements {folder}/mix/judge/*.npy; valid types are the folders below {folder}"
    )
    (folder / "cnn" / "p1" / "000004.png").unlink()
    assert refused() == f"similarity/bapps: {folder} lacks cnn/p1/000004.png; unpack the data set again"
    np.save(folder / "cnn" / "judge" / "000004.npy", np.array([1.5]))
    assert refused() == (
        f"similarity/bapps: {folder}/cnn/judge/000004.npy holds [1.5]; valid is one number from 0 to 1; unpack it again"
    )
    (folder / "cnn" / "judge" / "000004.npy").write_bytes(b"")
    assert refused().startswith(f"similarity/bapps: cannot read {folder}/cnn/judge/000004.npy: ")
