# SPDX-License-Identifier: Apache-2.0
"""human/raid on a tree as its authors distribute it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import quality_trees

from clip_align.callbacks.human.raid import RAID
from clip_align.errors import UserError


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quality_trees.raid(tmp_path_factory.mktemp("raid") / "raid")


def test_larger_scales_are_worse_and_the_image_itself_is_no_pair(tree: Path) -> None:
    callback = RAID(str(tree), references=2)
    assert len(callback.rated) == 2 * 4 * 9
    names = [(p.reference.name, p.distorted.name, p.type, p.level, p.cluster) for p in callback.rated]
    assert ("img_24.PNG", "rot_img_24_level_02.png", "rotation", 1, "img_24") in names
    assert {p.type for p in callback.rated} == {"rotation", "translation", "scaling", "Gaussian noise"}
    assert {p.level for p in callback.rated} == set(range(1, 10))
    assert max(p.opinion for p in callback.rated) < 0
    first = [p.opinion for p in callback.rated if p.cluster == "img_01" and p.type == "rotation"]
    assert first == sorted(first, reverse=True)
    quality_trees.check_orientation(callback)


def test_the_whole_database_has_864_pairs(tmp_path: Path) -> None:
    assert len(RAID(str(quality_trees.raid(tmp_path, quality_trees.EVERY, empty=True))).rated) == 864


def test_damaged_data_are_refused_in_one_line(tree: Path, tmp_path: Path) -> None:
    def refusal() -> str:
        with pytest.raises(UserError) as refused:
            RAID(str(root), references=2)
        return str(refused.value)

    root = tmp_path / "raid"
    shutil.copytree(tree, root)
    gone = root / "images" / "gn" / "gn_img_24_level_10.png"
    shutil.copy(gone, root)
    what = f"{root}/gn_img_24_level_10.png and {gone} have the same name; remove one"
    assert refusal() in (
        f"human/raid: {what}",
        f"human/raid: {gone} and {root}/{gone.name} have the same name; remove one",
    )
    gone.unlink()
    (root / gone.name).unlink()
    assert refusal() == f"human/raid: {root} lacks gn_img_24_level_10.png of 72 images; unpack the database again"
    path = root / "perceptual_scales.csv"
    lines = path.read_text().splitlines()
    for changed, message in (
        ([lines[0].replace("Percept_scale", "Response"), *lines[1:]], " has no column Percept_scale; valid: "
         "Reference,Distorted,…,Percept_scale"),
        ([lines[0], lines[1].replace("img_01.png,", "img_02.png,", 1)], ", line 2: the reference of "
         "rot_img_01_level_01.png is 'img_02.png'; valid: the image in its name"),
        ([lines[0], "img_01.png,rot_img_01_level_01.png,0"], ", line 2: 'img_01.png,rot_img_01_level_01.png,0' has 3 "
         "fields, the header 6"),
        (lines[:-1], " lacks gn_img_24_level_10.png; valid: the 960 images of the database, each once"),
    ):  # fmt: skip
        path.write_text("\n".join(changed))
        assert refusal() == f"human/raid: {path}{message}"
