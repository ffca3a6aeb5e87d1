# SPDX-License-Identifier: Apache-2.0
"""Whether a folder holds a data set, in whatever case its files are written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from clip_align.errors import UserError
from clip_align.perception.download import Download

TINY = Download(
    name="Tiny DB",
    what="two images",
    address="https://example.org/tiny",
    size="1 MB",
    terms="none stated",
    citation="none",
    needed=("images/i*.bmp", "scores.txt", "levels/*/a.png"),
)


def tree(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_a_whole_tree_is_found_in_any_case(tmp_path: Path) -> None:
    tree(tmp_path, "Images/I01.BMP", "SCORES.txt", "levels/two/b.png", "levels/one/A.png")
    assert TINY.missing(tmp_path) == []
    assert TINY.folder(str(tmp_path), "human/tiny") == tmp_path


def test_what_is_missing_is_named_with_the_tree_and_the_address(tmp_path: Path) -> None:
    tree(tmp_path, "images/j01.bmp", "scores.txt", "levels/one/b.png")
    with pytest.raises(UserError) as caught:
        TINY.folder(str(tmp_path), "human/tiny")
    (problem,) = caught.value.problems
    assert problem.missing  # a dry run lists it and continues
    assert str(problem) == (
        f"human/tiny: {tmp_path} lacks images/i*.bmp, levels/*/a.png; expected below it: images/i*.bmp, scores.txt, "
        "levels/*/a.png. Tiny DB (1 MB) is at https://example.org/tiny; unpack it there, or name its folder with "
        "callbacks.tiny.root=…"
    )


def test_no_folder_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"no such folder: {tmp_path / 'none'}; expected below it: images"):
        TINY.folder(str(tmp_path / "none"), "human/tiny")


def test_a_file_in_place_of_a_folder_holds_nothing(tmp_path: Path) -> None:
    tree(tmp_path, "images")
    assert TINY.missing(tmp_path) == list(TINY.needed)


def test_a_place_below_the_folder_may_hold_it(tmp_path: Path) -> None:
    """As in a clone of the authors' repository, whose data lie in a folder of it."""
    cloned = replace(TINY, places=("stimuli/tiny", "tiny"))
    names = ("images/i1.bmp", "scores.txt", "levels/one/a.png")
    tree(tmp_path / "tiny", *names[:2])
    assert cloned.missing(tmp_path) == list(TINY.needed)
    with pytest.raises(UserError, match="expected below it: images"):
        cloned.folder(str(tmp_path), "human/tiny")
    tree(tmp_path / "tiny", names[2])
    assert cloned.missing(tmp_path) == []
    assert cloned.folder(str(tmp_path), "human/tiny") == tmp_path / "tiny"
    tree(tmp_path, *names)
    assert cloned.folder(str(tmp_path), "human/tiny") == tmp_path  # the folder itself comes first
