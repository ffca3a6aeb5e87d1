# SPDX-License-Identifier: Apache-2.0
"""human/csiq on a tree as its authors distribute it, and on the database's own scores."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
import quality_trees

from clip_align.callbacks.human.csiq import CSIQ
from clip_align.errors import UserError
from clip_align.perception.xlsx import read_sheet

WORDS = {"AWGN": "noise", "BLUR": "blur", "JPEG": "jpeg", "jpeg2000": "jpeg 2000"}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quality_trees.csiq(tmp_path_factory.mktemp("csiq") / "csiq")


def test_a_number_is_a_name_and_worse_is_negated(tree: Path) -> None:
    callback = CSIQ(str(tree), references=2)
    first = callback.rated[0]
    assert (first.reference.name, first.distorted.name, first.cluster) == ("1600.png", "1600.AWGN.1.png", "1600")
    assert {p.cluster for p in callback.rated} == {"1600", "woman"}
    assert {p.type: p.distorted.name for p in callback.rated if p.level == 3 and p.cluster == "woman"} == {
        "awgn": "woman.AWGN.3.png",
        "blur": "woman.BLUR.3.png",
        "contrast": "woman.contrast.3.png",
        "fnoise": "woman.fnoise.3.png",
        "jpeg": "woman.JPEG.3.png",
        "jpeg2000": "woman.jpeg2000.3.png",
    }
    levels = [p.opinion for p in callback.rated if p.cluster == "1600" and p.type == "blur"]
    assert levels == sorted(levels, reverse=True)
    assert all(opinion <= 0 for opinion in levels)
    quality_trees.check_orientation(callback)


def test_folders_of_another_case_are_found(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "copy")
    for name in ("awgn", "jpeg"):
        (tmp_path / "copy" / "dst_imgs" / name).rename(tmp_path / "copy" / "dst_imgs" / name.upper())
    assert len(CSIQ(str(tmp_path / "copy"), references=2).rated) == len(CSIQ(str(tree), references=2).rated)


def test_reference_values_are_the_measured_ones(shared_data: Path, tmp_path: Path) -> None:
    with (shared_data / "opinion_scores" / "csiq.csv").open(newline="") as file:
        own = list(csv.DictReader(file))
    rows = [(r["ref"], WORDS.get(r["type"], r["type"]), int(r["level"]), float(r["dmos"])) for r in own]
    names = sorted({row[0] for row in rows})
    callback = CSIQ(str(quality_trees.csiq(tmp_path, names, rows, empty=True)))
    assert len(callback.rated) == 866
    assert {(p.cluster, p.type, p.level): -p.opinion for p in callback.rated} == {
        (r["ref"].lower(), r["type"].lower(), int(r["level"])): float(r["dmos"]) for r in own
    }
    headline = callback.scores[0]
    assert headline.baselines["level alone"] == pytest.approx(0.9125, abs=5e-5)
    assert headline.baselines["PSNR (RGB)"] == 0.8087


def test_damaged_data_are_refused_in_one_line(tree: Path, tmp_path: Path) -> None:
    def refusal(root: Path) -> str:
        with pytest.raises(UserError) as refused:
            CSIQ(str(root), references=2)
        return str(refused.value)

    root = tmp_path / "csiq"
    shutil.copytree(tree, root)
    (root / "dst_imgs" / "blur" / "woman.BLUR.5.png").unlink()
    assert (
        refusal(root) == f"human/csiq: {root}/dst_imgs/blur lacks woman.blur.5.png of 10 images; unpack the "
        "database again"
    )
    path = root / "csiq.DMOS.xlsx"
    quality_trees.workbook(path, {"all_by_image": [["image", "dst_type", "dst_lev", "dmos"], ["a", "snow", 1.0, 0.5]]})
    what = "sheet all_by_image, row 2: 'snow' is no type; valid: noise, blur, contrast, fnoise, jpeg, jpeg 2000"
    assert refusal(root) == f"human/csiq: {path}, {what}"
    quality_trees.workbook(path, {"all_by_image": [["image", "dst_type", "dst_lev", "dmos"], ["a", "blur", 1.0, 0.5]]})
    found = "1 images of 1 references in 1 rows; valid: 866 images of 30 references"
    assert refusal(root) == f"human/csiq: {path}, sheet all_by_image: {found}"
    quality_trees.workbook(path, {"other": [["x"]]})
    assert refusal(root) == f"human/csiq: {path}: no sheet all_by_image; sheets: other; unpack the database again"
    path.write_bytes(b"no zip")
    assert refusal(root).startswith(f"human/csiq: {path}: no Excel workbook (File is not a zip file); ")


def test_a_sheet_keeps_its_places(tmp_path: Path) -> None:
    cells: list[list[str | float | None]] = [[], [None, "text", 1.5], [], ["#REF!", None, -2.0]]
    quality_trees.workbook(tmp_path / "a.xlsx", {"one": [["x"]], "two": cells})
    assert read_sheet(tmp_path / "a.xlsx", "two") == cells
