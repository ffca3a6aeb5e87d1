# SPDX-License-Identifier: Apache-2.0
"""Fixations in the layouts of OSIE and MIT1003: miniature trees with the names and damages that occur."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from clip_align.errors import UserError
from clip_align.perception.fixations import fixated_image, mit1003, osie

LONG = "i05june05_static_street_boston_p1010764_and_a_name_beyond_the_63_characters_of_matlab"


def photograph(path: Path, width: int, height: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (90, 120, 60)).save(path)


def cell(*values: Any) -> Any:
    """A MATLAB cell."""
    made = np.empty((1, len(values)), dtype=object)
    for number, value in enumerate(values):
        made[0, number] = value
    return made


def subject(x: Any, y: Any) -> dict[str, Any]:
    return {"fix_x": x, "fix_y": y, "fix_duration": x}


def osie_tree(root: Path, entries: Any = None) -> Path:
    """Two photographs; on the first a viewer without and one with a single fixation, one of them beyond the border."""
    for name in ("1001.jpg", "1010.JPG"):
        photograph(root / "data" / "stimuli" / name, 80, 60)
    (root / "data" / "stimuli" / "._1001.jpg").write_bytes(b"\0\5")
    first = cell(subject([3.0, 81.5], [4.5, -2.0]), subject([], []), subject(40.0, 30.0))
    standard = cell(
        {"img": "1001.jpg", "subjects": first},
        {"img": "1010.jpg", "subjects": cell(*(subject([float(k)], [k + 1.0]) for k in range(12)))},
    )
    (root / "data" / "eye").mkdir(parents=True)
    savemat(root / "data" / "eye" / "fixations.mat", {"fixations": standard if entries is None else entries})
    return root


def test_osie(tmp_path: Path) -> None:
    one, other = osie(osie_tree(tmp_path), "saliency/osie")
    assert (one.path.name, one.height, one.width, one.outside) == ("1001.jpg", 60, 80, 0)
    assert list(zip(one.viewer.tolist(), one.x.tolist(), one.y.tolist(), strict=True)) == [
        ("01", 3.0, 4.5),
        ("01", 79.0, 0.0),  # moved to the border, as the authors do
        ("03", 40.0, 30.0),
    ]
    assert other.path.name == "1010.JPG"
    assert other.viewer.tolist() == [f"{k:02d}" for k in range(1, 13)]


def test_osie_as_an_array_of_structs_and_with_a_single_image(tmp_path: Path) -> None:
    rows = [(name, cell(subject([1.0], [2.0]))) for name in ("1001.jpg", "1010.jpg")]
    entries = np.array(rows, dtype=[("img", object), ("subjects", object)])
    assert [image.path.name for image in osie(osie_tree(tmp_path / "a", entries), "saliency/osie")] == [
        "1001.jpg",
        "1010.JPG",
    ]
    (one,) = osie(osie_tree(tmp_path / "b", cell({"img": "1001.jpg", "subjects": subject(1.0, 2.0)})), "saliency/osie")
    assert (one.viewer.tolist(), one.x.tolist(), one.y.tolist()) == (["01"], [1.0], [2.0])


def refused(call: Any, folder: Path, key: str) -> str:
    with pytest.raises(UserError) as caught:
        call(folder, key)
    return str(caught.value)


def test_what_is_damaged_in_osie_is_named(tmp_path: Path) -> None:
    root = osie_tree(tmp_path / "a", cell({"img": "1001.jpg", "subjects": cell(subject([1.0, 2.0], [2.0]))}))
    path = root / "data" / "eye" / "fixations.mat"
    tail = "valid is MATLAB's format up to version 7, as its authors offer it"
    assert refused(osie, root, "saliency/osie") == (
        f"saliency/osie: cannot read {path}: 1001.jpg, subject 1: 2 fix_x and 1 fix_y; {tail}"
    )
    root = osie_tree(tmp_path / "b", cell({"img": "1002.jpg", "subjects": cell(subject([1.0], [2.0]))}))
    assert refused(osie, root, "saliency/osie") == (
        f"saliency/osie: {root}/data/eye/fixations.mat names 1002.jpg, which is not in {root}/data/stimuli; "
        "unpack the data set again"
    )
    root = osie_tree(tmp_path / "c", cell({"img": "1001.jpg"}))
    assert "entry 1 has no img or no subjects" in refused(osie, root, "saliency/osie")
    path = root / "data" / "eye" / "fixations.mat"
    savemat(path, {"other": 1})
    assert "it has no variable fixations but other" in refused(osie, root, "saliency/osie")
    words = {"fix_x": np.array(["left", "right"], dtype=object), "fix_y": [1.0, 2.0]}
    savemat(path, {"fixations": cell({"img": "1001.jpg", "subjects": cell(words)})})
    assert "texts or structs where numbers belong" in refused(osie, root, "saliency/osie")
    path.write_bytes(b"MATLAB 7.3 MAT-file, but not whole")
    assert refused(osie, root, "saliency/osie").endswith(tail)
    (root / "data" / "stimuli" / "1001.jpg").write_bytes(b"no image")
    savemat(path, {"fixations": cell({"img": "1001.jpg", "subjects": cell(subject([1.0], [2.0]))})})
    assert refused(osie, root, "saliency/osie").startswith(f"saliency/osie: cannot read {root}/data/stimuli/1001.jpg")


def still(*stays: tuple[float, float]) -> Any:
    """Samples of an eye that jumps from place to place, 60 samples at each."""
    way = (1 - np.cos(np.pi * np.arange(1, 8) / 8)) / 2
    parts = [np.repeat([stays[0]], 60, axis=0)]
    for before, after in pairwise(stays):
        parts.append(np.array(before) + way[:, None] * (np.array(after) - before))
        parts.append(np.repeat([after], 60, axis=0))
    return np.concatenate(parts)


def mit_tree(root: Path) -> Path:
    """Two photographs, two viewers, and what else lies in the archives."""
    for name in (LONG, "i1"):
        photograph(root / "ALLSTIMULI" / f"{name}.jpeg", 1024, 768)
        for viewer in ("ajs", "CNG"):
            (root / "DATA" / viewer).mkdir(parents=True, exist_ok=True)
            x = 200.0 if viewer == "ajs" else 300.0
            data = {"eyeData": still((512, 384), (x, 150), (-1024, -768), (900, 700)), "t": 1}
            saved = {name[:63]: {"DATA": data, "imgName": f"{name}.jpeg"}}
            savemat(root / "DATA" / viewer / f"{name}.mat", saved, long_field_names=True)
    for name in ("DATA/ajs/shuff_stimnames.mat", "ALLSTIMULI/.DS_Store", "DATA/.DS_Store", "ALLSTIMULI/Thumbs.db"):
        (root / name).write_bytes(b"")
    for name in ("ALLSTIMULI/.svn", "DATA/.svn", "DATA/__MACOSX"):
        (root / name).mkdir()
    return root


def test_mit1003(tmp_path: Path) -> None:
    long, short = mit1003(mit_tree(tmp_path), "saliency/mit1003")
    assert (long.path.stem, short.path.stem) == (LONG, "i1")
    for image in (long, short):
        assert (image.height, image.width, image.outside) == (768, 1024, 2)  # a blink of each viewer
        assert image.viewer.tolist() == ["CNG", "CNG", "ajs", "ajs"]
        # without the first fixation, in the middle
        assert np.stack([image.x, image.y]) == pytest.approx(
            np.array([[300, 900, 200, 900], [150, 700, 150, 700]]), abs=2
        )


def test_what_is_missing_or_damaged_in_mit1003_is_named(tmp_path: Path) -> None:
    root = mit_tree(tmp_path)
    path = root / "DATA" / "CNG" / "i1.mat"
    savemat(path, {"i1": {"DATA": {"eyeData": "samples"}}})
    assert "texts or structs where numbers belong" in refused(mit1003, root, "saliency/mit1003")
    savemat(path, {"i1": {"DATA": {"eyeData": [1.0, 2.0, 3.0]}}})
    assert refused(mit1003, root, "saliency/mit1003") == (
        f"saliency/mit1003: cannot read {path}: it has no variable with DATA(1).eyeData, samples of x and y; "
        "valid is MATLAB's format up to version 7, as its authors offer it"
    )
    path.unlink()
    assert refused(mit1003, root, "saliency/mit1003") == (
        f"saliency/mit1003: no {path} (1 recordings missing); unpack ALLSTIMULI.zip and DATA.zip there again"
    )
    for image in (root / "ALLSTIMULI").glob("*.jpeg"):
        image.unlink()
    assert refused(mit1003, root, "saliency/mit1003") == (
        f"saliency/mit1003: no images or viewers in {root}; unpack ALLSTIMULI.zip and DATA.zip there again"
    )


def test_fixations_outside_are_left_out_and_counted(tmp_path: Path) -> None:
    photograph(tmp_path / "a.png", 10, 5)
    x, y = [0.0, 10.0, 9.9, -0.1, np.nan], [0.0, 1.0, 4.9, 2.0, 2.0]
    found = fixated_image(tmp_path / "a.png", list("vwxyz"), [x, y], "saliency/x", "csv")
    assert (found.viewer.tolist(), found.outside) == (["v", "x"], 3)
