# SPDX-License-Identifier: Apache-2.0
"""human/kadid10k on a tree as its authors distribute it, and on the database's own scores."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import quality_trees

from clip_align.callbacks.human.kadid10k import KADID10k
from clip_align.errors import UserError
from clip_align.metrics.correlation import srocc


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quality_trees.kadid10k(tmp_path_factory.mktemp("kadid") / "kadid10k")


def test_dmos_rises_with_quality_and_references_are_no_pairs(tree: Path) -> None:
    callback = KADID10k(str(tree), references=2)
    assert len(callback.rated) == 2 * 25 * 5
    first = callback.rated[0]
    assert (first.reference.name, first.distorted.name) == ("I01.png", "I01_01_01.png")
    assert (first.type, first.level, first.cluster) == ("01 Gaussian blur", 1, "I01")
    assert first.opinion == quality_trees.made_up((1, 1, 1)) > callback.rated[4].opinion
    quality_trees.check_orientation(callback)


def test_pairs_that_are_identical_may_be_left_out(tree: Path) -> None:
    callback = KADID10k(str(tree), references=2, exclude_identical=True)
    assert len(callback.rated) == 2 * (125 - 4)
    left = {(int(p.type[:2]), p.level) for p in callback.rated}
    assert not left & {(1, 1), (3, 1), (8, 1), (18, 3)}
    assert callback.options["exclude_identical"] is True


def test_reference_values_are_the_measured_ones(shared_data: Path, tmp_path: Path) -> None:
    with (shared_data / "opinion_scores" / "kadid10k.csv").open(newline="") as file:
        rows = np.array([[float(v) for v in row] for row in list(csv.reader(file))[1:]])
    own = {(int(r), int(t), int(level)): dmos for r, t, level, dmos, _ in rows}
    quality_trees.kadid10k(tmp_path, quality_trees.EVERY, own, empty=True)
    callback = KADID10k(str(tmp_path))
    assert len(callback.rated) == 10_125
    headline = callback.scores[0]
    assert headline.unit == "81 references in 64 bundles (new images, these distortions), jackknife, t(63)"
    assert headline.baselines["level alone"] == pytest.approx(0.6756, abs=5e-5)
    assert headline.baselines["PSNR (RGB)"] == 0.6757
    assert 0.93 < headline.ceilings["content-blind"] < 0.9416  # the means over all references, this one too, reach that
    # "var" is the standard deviation of 30 ratings
    noise = np.random.default_rng(0).normal(size=(10, len(rows))) * rows[:, 4] / np.sqrt(30)
    disturbed = np.mean([srocc(rows[:, 3] + row, rows[:, 3]) for row in noise])
    assert headline.ceilings["rating noise"] == pytest.approx(disturbed, abs=1e-3)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("I01_01_01.png,I02.png,4.5,0.5", "the reference of I01_01_01.png is 'I02.png'; valid: I01.png"),
        ("I01_01_01.png,I01.png,5.5,0.5", "'5.5' is no opinion; valid: a number from 1 to 5, written with a point"),
        ("I01_01_01.png,I01.png,4.5", "'I01_01_01.png,I01.png,4.5' has 3 fields, the header 4"),
    ],
)
def test_damaged_rows_are_named(tree: Path, line: str, message: str) -> None:
    listed = tree / "dmos.csv"
    whole = listed.read_text()
    try:
        lines = whole.splitlines()
        listed.write_text("\n".join([lines[0], line, *lines[2:]]))
        with pytest.raises(UserError) as refused:
            KADID10k(str(tree), references=2)
    finally:
        listed.write_text(whole)
    assert str(refused.value) == f"human/kadid10k: {listed}, line 2: {message}"


def test_other_columns_are_refused(tree: Path) -> None:
    listed = tree / "dmos.csv"
    whole = listed.read_text()
    try:
        listed.write_text(whole.replace("dmos,", "score,", 1))
        with pytest.raises(UserError, match=r"dmos.csv has no column dmos; valid: dist_img,ref_img,dmos,var$"):
            KADID10k(str(tree), references=2)
    finally:
        listed.write_text(whole)
