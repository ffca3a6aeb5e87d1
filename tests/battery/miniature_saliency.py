# SPDX-License-Identifier: Apache-2.0
"""Miniature copies of the layouts in which fixations are distributed, with made-up photographs and viewers."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat
from scipy.ndimage import gaussian_filter

from clip_align.metrics.saliency import fixation_counts
from clip_align.testing.random_images import random_image

IMAGES, VIEWERS = 6, 4
WIDTH, HEIGHT = 80, 60


def photograph(path: Path, width: int = WIDTH, height: int = HEIGHT) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(random_image(path.name, height, width)).save(path)


def looked(seed: int, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.float64]:
    """Fixations [5, 2] of one viewer, around a place that all viewers of an image have in common."""
    rng = np.random.default_rng([seed, 1])
    place = np.random.default_rng([seed // VIEWERS, 0]).uniform(0.3, 0.7, 2) * (width, height)
    return place + rng.normal(0, 0.08, (5, 2)) * (width, height)


def cell(*values: Any) -> NDArray[Any]:
    """A MATLAB cell."""
    made = np.empty((1, len(values)), dtype=object)
    for number, value in enumerate(values):
        made[0, number] = value
    return made


def osie(root: Path) -> Path:
    """``data/stimuli`` and ``data/eye/fixations.mat``, with a file of macOS among them."""
    entries = []
    for image in range(IMAGES):
        photograph(root / "data" / "stimuli" / f"{1001 + image}.jpg")
        subjects = [looked(image * VIEWERS + viewer) for viewer in range(VIEWERS)]
        made = [{"fix_x": xy[:, 0], "fix_y": xy[:, 1], "fix_duration": xy[:, 0]} for xy in subjects]
        entries.append({"img": f"{1001 + image}.jpg", "subjects": cell(*made)})
    (root / "data" / "stimuli" / "._1001.jpg").write_bytes(b"\0\5")
    (root / "data" / "eye").mkdir(parents=True)
    savemat(root / "data" / "eye" / "fixations.mat", {"fixations": cell(*entries)})
    return root


def samples(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """240 samples a second of an eye that jumps from place to place [F, 2], a quarter of a second at each."""
    way = (1 - np.cos(np.pi * np.arange(1, 8) / 8))[:, None] / 2
    parts = [np.repeat(places[:1], 60, axis=0)]
    for before, after in pairwise(places):
        parts += [before + way * (after - before), np.repeat([after], 60, axis=0)]
    return np.concatenate(parts)


def mit1003(root: Path) -> Path:
    """``ALLSTIMULI`` and ``DATA``, one of the photographs upright; an eye begins on the cross in the middle."""
    for image in range(IMAGES):
        width, height = (1024, 768) if image else (405, 1024)
        photograph(root / "ALLSTIMULI" / f"i{image}_street.jpeg", width, height)
        for viewer in range(VIEWERS):
            places = np.concatenate([[[width / 2, height / 2]], looked(image * VIEWERS + viewer, width, height)])
            (root / "DATA" / f"v{viewer}").mkdir(parents=True, exist_ok=True)
            data = {f"i{image}_street": {"DATA": {"eyeData": samples(places)}}}
            savemat(root / "DATA" / f"v{viewer}" / f"i{image}_street.mat", data)
    (root / "DATA" / ".svn").mkdir()
    return root


def fixations_csv(root: Path) -> Path:
    """A csv beside its images."""
    root.mkdir(parents=True)
    with (root / "fixations.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "viewer", "order", "x", "y"])
        for image in range(IMAGES):
            photograph(root / f"{image}.png")
            for viewer in range(VIEWERS):
                for order, (x, y) in enumerate(looked(image * VIEWERS + viewer), 1):
                    rows.writerow([f"{image}.png", f"v{viewer}", order, f"{x:.2f}", f"{y:.2f}"])
    return root


def salicon(root: Path) -> Path:
    """``images/val``, ``maps/val`` and ``fixations/val``: grey maps, and viewers' fixations counted from 1."""
    for image in range(IMAGES):
        name = f"COCO_val2014_{image:012d}"
        photograph(root / "images" / "val" / f"{name}.jpg")
        viewers = [looked(image * VIEWERS + viewer) for viewer in range(VIEWERS)]
        density_map(root / "maps" / "val" / f"{name}.png", np.concatenate(viewers))
        gaze = np.empty((VIEWERS, 1), dtype=[("location", object), ("timestamp", object), ("fixations", object)])
        for number, xy in enumerate(viewers):
            gaze[number, 0] = (xy + 1, np.arange(len(xy)), np.floor(xy) + 1)
        (root / "fixations" / "val").mkdir(parents=True, exist_ok=True)
        held = {"image": name, "resolution": [[HEIGHT, WIDTH]], "gaze": gaze}
        savemat(root / "fixations" / "val" / f"{name}.mat", held)
    return root


def cat2000(root: Path) -> Path:
    """``Stimuli``, ``FIXATIONMAPS`` and ``FIXATIONLOCS`` by category, with a model's output among the stimuli."""
    for image in range(IMAGES):
        name = f"{('Action', 'Sketch')[image % 2]}/{image + 1:03d}"
        photograph(root / "Stimuli" / f"{name}.jpg")
        xy = np.concatenate([looked(image * VIEWERS + viewer) for viewer in range(VIEWERS)])
        density_map(root / "FIXATIONMAPS" / f"{name}.jpg", xy)
        places = np.zeros((HEIGHT, WIDTH), np.uint8)
        places[xy[:, 1].astype(int), xy[:, 0].astype(int)] = 1
        (root / "FIXATIONLOCS" / name).parent.mkdir(parents=True, exist_ok=True)
        savemat(root / "FIXATIONLOCS" / f"{name}.mat", {"fixLocs": places})
    photograph(root / "Stimuli" / "Action" / "Output" / "001_SaliencyMap.jpg")
    return root


def density_map(path: Path, xy: NDArray[np.float64], sigma: float = 4.0) -> None:
    """A grey map of fixations [N, 2], brightest 255."""
    blurred = gaussian_filter(fixation_counts(xy[:, 0], xy[:, 1], HEIGHT, WIDTH), sigma)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.round(255 * blurred / blurred.max()).astype(np.uint8)).save(path, quality=100)
