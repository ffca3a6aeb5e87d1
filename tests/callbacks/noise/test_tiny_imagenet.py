# SPDX-License-Identifier: Apache-2.0
"""Tiny ImageNet's validation images as a benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_imagenet_tree import write_tiny_imagenet

from clip_align.callbacks.noise.tiny_imagenet import TinyImageNet
from clip_align.errors import UserError
from clip_align.perception.tiny_imagenet import TinyImageNetError, validation_images


def test_validation_images_with_their_classes(tmp_path: Path) -> None:
    folder = write_tiny_imagenet(tmp_path, validation=4)
    benchmark = TinyImageNet(str(tmp_path))
    images = benchmark.images
    assert images.ids[:3] == [f"tiny_imagenet/val/val_{n}.JPEG" for n in range(3)]
    assert images.ids[-1] == "tiny_imagenet/val/val_11.JPEG"  # by number: 9, 10, 11
    assert images.labels.tolist() == [0, 1, 2] * 4
    assert list(images.texts.values()) == ["goldfish", "fire salamander", "Egyptian Mau"]
    assert np.array_equal(images.loads[1](), np.asarray(Image.open(folder / "val/images/val_1.JPEG")))
    assert benchmark.levels == {"04": 0.04, "08": 0.08, "12": 0.12, "15": 0.15, "18": 0.18}
    assert TinyImageNet(str(folder), levels=[0.1]).levels == {"10": 0.1}
    assert len(TinyImageNet(str(folder), images_per_class=1).images.ids) == 3


EXPECTED = "line 1: expected the image's name, a tab and its class (n01443537), found "
AGAIN = "val_annotations.txt; unzip tiny-imagenet-200.zip again"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("val_0.JPEG n01443537\n", f"{EXPECTED}val_0.JPEG n01443537"),
        ("val_0.JPEG\tgoldfish\t0\n", f"{EXPECTED}val_0.JPEG\\tgoldfish\\t0"),
        ("../val_0.JPEG\tn01443537\t0\n", f"{EXPECTED}../val_0.JPEG\\tn01443537\\t0"),
        ("val_0.JPEG\tn01443537\nval_0.JPEG\tn01443537\n", "line 2: val_0.JPEG is there twice"),
        ("val_77.JPEG\tn01443537\n", f"lacks val_77.JPEG, named in {AGAIN}"),
        ("\n", f"is of no use: no image is named in {AGAIN}"),
    ],
)
def test_a_damaged_list_is_one_line(tmp_path: Path, rows: str, message: str) -> None:
    folder = write_tiny_imagenet(tmp_path)
    (folder / "val" / "val_annotations.txt").write_text(rows)
    with pytest.raises(TinyImageNetError) as error:
        validation_images(folder)
    assert message in str(error.value)
    with pytest.raises(UserError) as refused:
        TinyImageNet(str(folder))
    assert refused.value.lines == (f"noise/tiny_imagenet: {error.value}",)


def test_one_class_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_imagenet(tmp_path, labels=["n01443537"])
    with pytest.raises(UserError) as error:
        TinyImageNet(str(folder))
    assert error.value.lines == (
        f"noise/tiny_imagenet: {folder / 'val'} has images of 1 class; at least two are needed",
    )
