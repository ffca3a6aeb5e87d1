# SPDX-License-Identifier: Apache-2.0
"""The callbacks that this repository ships, built from their yamls with what these need."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import miniature_saliency
import miniature_similarity
import numpy as np
from PIL import Image

from clip_align.callbacks.base import PerceptualCallback
from clip_align.callbacks.build import build_callbacks
from clip_align.config import Config
from clip_align.data.world.held_out import save_held_out
from clip_align.settings.load_config import load
from clip_align.testing.random_images import random_image
from clip_align.training.default_intervals import with_default_intervals

CLASSES = 16
# what the battery gives a benchmark beside its data in ``paths.data``: its model has no layers, of which maps are made
GIVEN = {
    "osie": ("maps=input_gradient",),
    "mit1003": ("maps=input_gradient",),
    "fixations_csv": ("maps=input_gradient", "sigma_px=4", "csv={data}/fixations_csv/fixations.csv"),
}

ROOT = Path(__file__).resolve().parents[2]
TARGET = re.compile(r"^  _target_: (\S+)\.\w+$", re.MULTILINE)


def targets() -> dict[str, str]:
    """Module of each callback that has a yaml; groups of others have none."""
    found = {path.stem: TARGET.search(path.read_text(encoding="utf-8")) for path in ROOT.glob("conf/callbacks/*.yaml")}
    return {name: match[1] for name, match in sorted(found.items()) if match}


def names() -> list[str]:
    """The callbacks that can be built: a yaml whose module is announced for a later version is left out."""
    return [name for name, module in targets().items() if (ROOT / f"{module.replace('.', '/')}.py").is_file()]


def configured(overrides: Sequence[str]) -> Config:
    """What a run of 1,000 steps is made from: the steps between evaluations are numbers."""
    return with_default_intervals(load(overrides), 1_000)


def build(name: str, data: Path) -> PerceptualCallback:
    """The callback as ``callbacks=[name]`` makes it."""
    overrides = [f"callbacks=[{name}]"]
    overrides += [f"paths.data={data}", *(f"callbacks.{name}.{text}".format(data=data) for text in GIVEN.get(name, ()))]
    if name == "pairs_csv":
        overrides.append(f"callbacks.pairs_csv.csv={data / 'pairs.csv'}")
    return build_callbacks(configured(overrides).callbacks, {"world": data / "world"})[0]


def make_data(data: Path) -> None:
    """Stand-ins for what is read from disk: held-out sets of random images, rightly labelled; a csv of pairs."""
    world = data / "world"
    world.mkdir(parents=True)
    pairs = [(a, b) for _ in range(4) for a in range(CLASSES) for b in range(CLASSES) if a != b]
    sets = {
        "test": [(i % CLASSES, i % CLASSES) for i in range(512)],
        "random_texture": [(i % CLASSES, (i // CLASSES + i) % CLASSES) for i in range(240)],
        "cue_conflict": pairs,
    }
    for part, classes in sets.items():
        images = np.random.default_rng(0).integers(0, 256, (len(classes), 32, 32, 3), dtype=np.uint8)
        labels = np.zeros((len(classes), 4), np.int8)
        labels[:, :2] = classes
        save_held_out(world, part, images, labels)
    with open(data / "pairs.csv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["reference", "distorted", "opinion"])
        for i in range(12):
            for name in (f"r{i // 3}.png", f"d{i}.png"):
                Image.fromarray(random_image(name, 40, 40)).save(data / name)
            rows.writerow([f"r{i // 3}.png", f"d{i}.png", i % 5 + i / 10])
    for make in (miniature_saliency.osie, miniature_saliency.mit1003, miniature_saliency.fixations_csv):
        make(data / make.__name__)
    similarity = (miniature_similarity.nights, miniature_similarity.bapps, miniature_similarity.things)
    for make in (*similarity, miniature_similarity.levels):
        make(data / make.__name__)
