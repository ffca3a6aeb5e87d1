# SPDX-License-Identifier: Apache-2.0
"""The embedded photographs and scores: known facts of the database, and images by id."""

from __future__ import annotations

import csv
import hashlib
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from clip_align.perception import photographs
from clip_align.perception.distortions import LEVELS, TYPES
from clip_align.perception.tid2013_remade import image, pair_id, pairs, reference_id


def test_all_photographs_are_those_of_the_table() -> None:
    assert set(photographs.crops()) == set(range(1, 25))
    for number in photographs.NUMBERS:
        clean = photographs.reference(number)
        assert clean.shape == (384, 512, 3)
        assert clean.dtype == np.uint8
        assert not clean.flags.writeable
        assert hashlib.sha256(clean.tobytes()).hexdigest()[:16] == photographs.crops()[number].sha256_16


def test_six_crops_are_the_references_of_the_database_to_the_pixel() -> None:
    exact = {n: (c.x, c.y) for n, c in photographs.crops().items() if c.exact}
    assert exact == {1: (104, 126), 3: (73, 44), 4: (0, 206), 6: (66, 43), 8: (71, 4), 19: (0, 255)}


def test_a_damaged_photograph_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("crops.csv", "I02.webp"):
        (tmp_path / name).write_bytes((photographs.DATA / name).read_bytes())
    (tmp_path / "I01.webp").write_bytes((photographs.DATA / "I02.webp").read_bytes())
    monkeypatch.setattr(photographs, "DATA", tmp_path)
    with pytest.raises(ValueError, match=r"I01\.webp: its pixels"):
        photographs.reference.__wrapped__(1)
    assert photographs.reference.__wrapped__(2).shape == (384, 512, 3)


def test_pairs_are_completely_crossed_and_sorted() -> None:
    table = pairs()
    rows = list(zip(table.reference, table.type, table.level, strict=True))
    assert rows == [(r, t, level) for r in range(1, 25) for t in sorted(TYPES) for level in LEVELS]
    assert len(table) == 1920
    assert len({pair_id(*row) for row in rows}) == 1920


def test_opinions_are_those_of_the_database() -> None:
    table = pairs()
    assert table.opinion[0] == 5.51429  # i01_01_1, the first line of mos.txt
    assert table.standard_error[0] == 0.13013
    assert table.opinion.min() >= 0.2424
    assert table.opinion.max() <= 7.2143
    # 6.48 and 4.48, means over 25 references, contrast raised and lowered: people prefer it raised
    of = {level: table.opinion[(table.type == 17) & (table.level == level)].mean() for level in LEVELS}
    assert of[2] == pytest.approx(6.48, abs=0.05)
    assert of[3] == pytest.approx(4.48, abs=0.05)


def test_embedded_scores_are_the_tables_rows_unmodified(shared_data: Path) -> None:
    with (shared_data / "opinion_scores" / "tid2013.csv").open(newline="") as file:
        wanted = [r for r in csv.reader(file) if r[0] == "ref" or (int(r[0]) <= 24 and int(r[1]) in TYPES)]
    with (photographs.DATA / "tid2013_scores.csv").open(newline="") as file:
        assert list(csv.reader(file)) == wanted


def test_ids() -> None:
    assert reference_id(1) == "tid2013_remade/I01"
    assert pair_id(1, 8, 3) == "tid2013_remade/I01_08_3"


def test_images_are_made_anywhere_from_a_pickle() -> None:
    made = pickle.loads(pickle.dumps(partial(image, 4, 16, 2)))()
    assert (made == np.maximum(photographs.reference(4).astype(int) - 10, 0)).all()
    assert (image(4) == photographs.reference(4)).all()


def test_another_recipe_version_is_refused() -> None:
    with pytest.raises(ValueError, match="recipe version 99"):
        image(1, 1, 1, recipe=99)
