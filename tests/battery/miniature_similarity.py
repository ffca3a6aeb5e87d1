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
