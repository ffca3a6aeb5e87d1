# SPDX-License-Identifier: Apache-2.0
"""The callbacks that this repository ships, built from their yamls with what these need."""

from __future__ import annotations

import csv
import io
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from cifar_archive import write_cifar
from PIL import Image

from clip_align.callbacks.base import PerceptualCallback
from clip_align.callbacks.build import build_callbacks
from clip_align.config import HELD_OUT, Config
from clip_align.data.held_out import HeldOutSample, HeldOutSamples
from clip_align.data.world.held_out import save_held_out
from clip_align.perception.cifar import LAYOUTS
from clip_align.settings.load_config import load
from clip_align.testing.random_images import random_image
from clip_align.training.default_intervals import with_default_intervals

CLASSES = 16


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
    overrides = [f"callbacks=[{name}]", f"paths.data={data}"]
    if name == "pairs_csv":
        overrides.append(f"callbacks.pairs_csv.csv={data / 'pairs.csv'}")
    if name in ("folder", "folder_noise"):
        overrides.append(f"callbacks.{name}.root={data / 'photographs'}")
    if name in ("held_out", "held_out_noise"):
        overrides.append(f"callbacks.{name}.candidates=8")
    if name == "retrieval":
        overrides.append(f"callbacks.retrieval.shards={data / 'captions.tar'}")
    if name in LAYOUTS:
        overrides.append(f"callbacks.{name}.subset=true")  # a miniature is not the original
    given = {"world": data / "world", HELD_OUT: lambda: held_out(data)}
    return build_callbacks(configured(overrides).callbacks, given)[0]


def held_out(data: Path) -> HeldOutSamples:
    """Photographs with captions, as a training hands them over."""
    paths = sorted((data / "photographs").rglob("*.png"))
    samples = [HeldOutSample(path.name, str(path), 0, None, (f"a photo of {path.stem}",)) for path in paths]
    return HeldOutSamples(tuple(samples))


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
    rng = np.random.default_rng(0)
    for name, layout in LAYOUTS.items():
        images = rng.integers(0, 256, (200, 32, 32, 3), dtype=np.uint8)
        write_cifar(data / name, layout, images, [i % layout.classes for i in range(200)], packed=name == "cifar10")
    for number in range(40):
        path = data / "photographs" / f"kind_{number % 4}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random_image(path.name, 40, 30)).save(path)
    with tarfile.open(data / "captions.tar", "w") as tar:
        for path in sorted((data / "photographs").rglob("*.png")):
            tar.add(path, path.name)
            text = f"a photo of {path.stem}\nthe number {path.stem}\n".encode()
            info = tarfile.TarInfo(f"{path.stem}.txt")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))
    with open(data / "pairs.csv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["reference", "distorted", "opinion"])
        for i in range(12):
            for name in (f"r{i // 3}.png", f"d{i}.png"):
                Image.fromarray(random_image(name, 40, 40)).save(data / name)
            rows.writerow([f"r{i // 3}.png", f"d{i}.png", i % 5 + i / 10])
