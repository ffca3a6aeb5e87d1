# SPDX-License-Identifier: Apache-2.0
"""human/live on a tree as its authors distribute it, and on the database's own scores."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import quality_trees
from scipy.io import savemat

from clip_align.callbacks.human.live import LIVE
from clip_align.errors import UserError
from clip_align.metrics.correlation import srocc


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quality_trees.live(tmp_path_factory.mktemp("live") / "databaserelease2")


@pytest.fixture(scope="module")
def own(shared_data: Path) -> list[quality_trees.LiveRow]:
    with (shared_data / "opinion_scores" / "live.csv").open(newline="") as file:
        return [
            (r["type"], int(r["img"]), r["ref"], float(r["dmos"]), float(r["dmos_realigned"]))
            for r in csv.DictReader(file)
        ]


@pytest.fixture(scope="module")
def whole(own: list[quality_trees.LiveRow], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    return quality_trees.live(folder, sorted({row[2] for row in own}), own, empty=True)


def test_numbers_are_numbers_and_copies_are_left_out(tree: Path) -> None:
    callback = LIVE(str(tree), references=2)
    expected = [row for row in quality_trees.made_up_live() if row[2] in ("bikes.bmp", "womanhat.bmp")]
    found = [(p.type, p.distorted.name, p.reference.name, round(-p.opinion, 9)) for p in callback.rated]
    assert found == [(kind, f"img{i}.bmp", name, round(new, 9)) for kind, i, name, _, new in expected]
    numbers = [int(p.distorted.stem[3:]) for p in callback.rated if p.type == "jp2k"]
    assert numbers == sorted(numbers)
    assert max(numbers) > 99
    assert {p.level for p in callback.rated} == {None}
    quality_trees.check_orientation(callback)


def test_there_are_no_scores_within_levels(tree: Path) -> None:
    names = {score.name for score in LIVE(str(tree), references=2).scores}
    assert {"srocc", "plcc", "krocc", "plcc_fitted", "within_reference_srocc", "srocc_two_way"} < names
    assert not names & {"within_level_srocc", "level_shuffled", "content_srocc"}


def test_the_databases_own_scores(whole: Path, own: list[quality_trees.LiveRow]) -> None:
    realigned, original = LIVE(str(whole)), LIVE(str(whole), scores="original")
    for callback, column in ((realigned, 4), (original, 3)):
        assert len(callback.rated) == 779
        by_name = {(p.type, p.distorted.name): (p.reference.name, -p.opinion) for p in callback.rated}
        assert by_name == {(row[0], f"img{row[1]}.bmp"): (row[2], row[column]) for row in own}
    both = [[p.opinion for p in callback.rated] for callback in (realigned, original)]
    assert srocc(*both) == pytest.approx(0.9575, abs=5e-5)
    assert realigned.scores[0].baselines["PSNR (RGB)"] == 0.8730
    assert "PSNR (RGB)" not in original.scores[0].baselines


def test_damaged_data_are_refused_in_one_line(tree: Path, tmp_path: Path) -> None:
    def refusal(root: Path) -> str:
        with pytest.raises(UserError) as refused:
            LIVE(str(root), references=2)
        return str(refused.value)

    root = tmp_path / "live"
    shutil.copytree(tree, root)
    path = root / "dmos_realigned.mat"
    gone = next(p for p in LIVE(str(root), references=2).rated if p.type == "wn").distorted
    gone.unlink()
    assert refusal(root).startswith(f"human/live: {root}/wn lacks {gone.name} of ")
    names, empty = (root / "refnames_all.mat").read_bytes(), np.empty((1, 982), dtype=object)
    empty[:] = ""
    savemat(root / "refnames_all.mat", {"refnames_all": empty})
    assert "203 copies of 1 references; valid: 203 copies of 29 references" in refusal(root)
    (root / "refnames_all.mat").write_bytes(names)
    savemat(path, {"dmos_new": np.zeros((1, 982)), "orgs": np.zeros((1, 982))})
    found = "0 copies of 29 references; valid: 203 copies of 29 references, and finite scores"
    assert refusal(root) == f"human/live: {path}: {found}"
    savemat(path, {"dmos": np.zeros((1, 982))})
    assert refusal(root) == f"human/live: {path} holds no dmos_new; valid: 982, one an image"
    savemat(path, {"dmos_new": np.zeros((1, 779))})
    assert refusal(root) == f"human/live: {path} holds 779 dmos_new; valid: 982, one an image"
    path.write_bytes(b"no matrix")
    assert refusal(root).startswith(f"human/live: {path} is no MATLAB file (")
