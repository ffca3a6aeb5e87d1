# SPDX-License-Identifier: Apache-2.0
"""Files of the cue-conflict images: names, folders, counts, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cue_layout
import pytest

from clip_align.perception.cue_conflict import ImagesError, conflict_images, shape_images

FEW = ("bear", "cat", "dog")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    cue_layout.write_clone(tmp_path, FEW)
    return tmp_path


def test_the_whole_tree_is_read_in_the_order_of_numbers(clone: Path) -> None:
    images = conflict_images(clone / cue_layout.CONFLICT, FEW)
    assert len(images) == 45
    assert {(i.shape, i.texture) for i in images} == {(a, b) for a in FEW for b in FEW}
    bears = [image.stem for image in images if image.shape == "bear"]
    assert bears.index("bear10-cat1") > bears.index("bear8-cat3")  # not as text, where 10 comes before 2
    assert next(i for i in images if i.stem == "bear10-cat1").exemplars == ("bear10", "cat1")
    edges = shape_images(clone / "stimuli" / "edges", FEW)
    assert [image.stem for image in edges[:10]] == [f"bear{n}" for n in range(1, 11)]
    assert edges[0].texture is None


def test_other_classes_are_left_out(clone: Path) -> None:
    cue_layout.write_images(clone / cue_layout.CONFLICT, iter([("bear", "bear1-oven1"), ("oven", "oven1-bear1")]))
    assert len(conflict_images(clone / cue_layout.CONFLICT, FEW)) == 45


def copy(source: str, target: str) -> Callable[[Path], object]:
    return lambda folder: shutil.copy(folder / source, folder / target)


ONE = "cat/cat8-dog1.png"
FORM = "not a name such as bear1-airplane3.png"


def rename(target: str) -> Callable[[Path], object]:
    return lambda folder: (folder / ONE).rename(folder / target)


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (rename("cat/cat8_dog1.png"), f"cat8_dog1.png: {FORM}"),
        (rename("cat/cat8-wolf1.png"), f"cat8-wolf1.png: {FORM}"),
        (copy(ONE, "dog/cat8-dog1.png"), "dog/cat8-dog1.png: its shape is cat, its folder dog"),
        (copy(ONE, "cat/cat8-dog1.jpg"), "cat8-dog1.png: the same image as cat8-dog1.jpg; delete one of them"),
        (lambda f: (f / ONE).unlink(), "4 images of shape cat and texture dog, not 5; 44 of 45 images are there"),
        (lambda f: (f / ONE).write_bytes(b"x"), "cat8-dog1.png cannot be read: cannot identify image file"),
        (lambda f: shutil.rmtree(f / "cat"), "has no folder cat; the classes' folders are named in lower case"),
    ],
)
def test_damaged_trees_are_refused_in_one_line(clone: Path, damage: Callable[[Path], object], what: str) -> None:
    folder = clone / cue_layout.CONFLICT
    damage(folder)
    with pytest.raises(ImagesError) as caught:
        conflict_images(folder, FEW)
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_edge_is_counted(clone: Path) -> None:
    (clone / "stimuli" / "edges" / "dog" / "dog10.png").unlink()
    with pytest.raises(ImagesError, match=r"dog has 9 images, not 10$"):
        shape_images(clone / "stimuli" / "edges", FEW)


def test_the_original_images(shared_data: Path) -> None:
    images = conflict_images(shared_data / "cue_conflict" / "stimuli" / "style-transfer-preprocessed-512")
    assert len(images) == 1280
    assert sum(image.shape == image.texture for image in images) == 80
    exemplars = [image.exemplars for image in images]
    assert (len({shape for shape, _ in exemplars}), len({texture for _, texture in exemplars})) == (160, 48)
    for kind in ("edges", "filled-silhouettes"):
        assert len(shape_images(shared_data / "cue_conflict" / "stimuli" / kind)) == 160
