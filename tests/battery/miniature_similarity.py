# SPDX-License-Identifier: Apache-2.0
"""Miniature copies of the layouts of similarity judgements, with random images and made-up people."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from clip_align.testing.random_images import random_image

KINDS = ("traditional", "cnn", "superres", "deblur", "color", "frameinterp")


def image(path: Path, side: int = 24) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(random_image(path.as_posix()[-24:], side, side)).save(path)


def nights(root: Path) -> Path:
    """``data.csv``, ``ref`` and ``distort``: gaps between the numbers, few votes, both ways to write truth values."""
    root.mkdir(parents=True)
    with (root / "data.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        header = ["id", "left_vote", "right_vote", "votes", "ref_path", "left_path", "right_path", "prompt"]
        rows.writerow([*header, "split", "is_imagenet"])
        for number in range(24):
            name = f"{number // 10:03d}/{3 * number:03d}"
            paths = [f"ref/{name}.png", f"distort/{name}_0.png", f"distort/{name}_1.png"]
            for path in paths:
                image(root / path)
            right = number % 3 == 0
            part = ("test", "test", "val", "train")[number % 4]
            votes = 4 if number == 5 else 6 + number % 3
            truth = ("True", "False", "1", "0")[number // 4 % 4]
            rows.writerow([number, int(not right), int(right), votes, *paths, "a cat, sitting", part, truth])
    return root


def bapps(root: Path) -> Path:
    """``2afc/val``: judgements of shape (1,) and scalars, folders of unequal size, numbers not from 0."""
    for place, kind in enumerate(KINDS):
        folder = root / "2afc" / "val" / kind
        for number in range(3, 3 + 3 + place):
            for part in ("ref", "p0", "p1"):
                image(folder / part / f"{number:06d}.png", 16)
            (folder / "judge").mkdir(exist_ok=True)
            people = ((number + place) % 6) / 5
            np.save(folder / "judge" / f"{number:06d}.npy", np.float32(people) if number % 2 else np.array([people]))
    return root


def things(root: Path) -> Path:
    """``testset1.txt`` with numbers, and a folder of images for each object; a file of macOS and the ``_01b`` files."""
    for number in range(12):
        folder = root / "images" / f"object_{number:02d}"
        for part in ("01b", "02s", "03s"):
            image(folder / f"object_{number:02d}_{part}.jpg")
        (folder / "._object.jpg").write_bytes(b"\0")
    (root / "images" / ".DS_Store").write_bytes(b"\0")
    rng = np.random.default_rng(0)
    lines = [" ".join(map(str, rng.choice(12, 3, replace=False))) for _ in range(30)]
    (root / "testset1.txt").write_text("\r\n".join(lines) + "\r\n\r\n", encoding="utf-8")
    return root


def levels(root: Path) -> Path:
    """Three csv, in which a triplet occurs for several people, and images in folders of their classes."""
    rng = np.random.default_rng(1)
    names = [f"n0144{c}_{i}.JPEG" for c in range(4) for i in range(3)]
    for name in names:
        image(root / "images" / name.partition("_")[0] / name)
    for level in ("between_class", "class_border", "within_class"):
        with (root / f"{level}.csv").open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["participant", "image1Path", "image2Path", "image3Path", "selected_image", "RT"])
            for person in range(10):
                three = [names[i] for i in rng.choice(len(names), 3, replace=False)]
                chosen = three[person % 3]
                rows.writerow([person, *three, f"images/{chosen}" if person % 2 else chosen, 1.5])
    return root
