# SPDX-License-Identifier: Apache-2.0
"""The callbacks that this repository ships, built from their yamls with what these need."""

from __future__ import annotations

import csv
import io
import tarfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cue_layout
import miniature_saliency
import miniature_similarity
import numpy as np
import quality_trees
import tiny_imagenet_tree
from cifar_archive import write_cifar
from PIL import Image
from vfm_files import vfm_hvs

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
# options that a benchmark needs beside its data in ``paths.data``
GIVEN: dict[str, tuple[str, ...]] = {
    "pairs_csv": ("csv={data}/pairs_csv/pairs.csv",),
    **dict.fromkeys(("tid2013", "tid2008", "kadid10k", "csiq", "live", "raid"), ("references=2",)),
    "contrast_matching": ("field_deg=1",),  # the battery's model has few pixels
    "folder": ("root={data}/photographs",),
    "folder_noise": ("root={data}/photographs",),
    "held_out": ("candidates=8",),
    "held_out_noise": ("candidates=8",),
    "retrieval": ("shards={data}/captions/captions.tar",),
    **dict.fromkeys(LAYOUTS, ("subset=true",)),  # a miniature is not the original
    "osie": ("maps=input_gradient",),  # the battery's model has no layers, of which maps are made
    "mit1003": ("maps=input_gradient",),
    "fixations_csv": ("maps=input_gradient", "sigma_px=4", "csv={data}/fixations_csv/fixations.csv"),
    "fixation_folder": (
        "maps=input_gradient",
        "images={data}/fixation_folder/images/val",
        "fixation_maps={data}/fixation_folder/maps/val",
        "fixations={data}/fixation_folder/fixations/val",
        "sigma_px=4",
    ),
}

ROOT = Path(__file__).resolve().parents[2]


def names() -> list[str]:
    """The callbacks that have a yaml; groups of others have no target of their own."""
    found = {path.stem: path.read_text(encoding="utf-8") for path in ROOT.glob("conf/callbacks/*.yaml")}
    return sorted(name for name, text in found.items() if "_target_" in text)


def configured(overrides: Sequence[str]) -> Config:
    """What a run of 1,000 steps is made from: the steps between evaluations are numbers."""
    return with_default_intervals(load(overrides), 1_000)


def build(name: str, data: Path) -> PerceptualCallback:
    """The callback as ``callbacks=[name]`` makes it."""
    own = [f"callbacks.{name}.{text}".format(data=data) for text in GIVEN.get(name, ())]
    config = configured([f"callbacks=[{name}]", f"paths.data={data}", *own])
    return build_callbacks(config.callbacks, {"world": data / "world", HELD_OUT: lambda: held_out(data)})[0]


def held_out(data: Path) -> HeldOutSamples:
    """Photographs with captions, as a training hands them over."""
    paths = sorted((data / "photographs").rglob("*.png"))
    samples = [HeldOutSample(path.name, str(path), 0, None, (f"a photo of {path.stem}",)) for path in paths]
    return HeldOutSamples(tuple(samples))


def make_data(data: Path) -> None:
    """Stand-ins for what is read from disk, each in the folder of its name: data sets in small, random images."""
    for name, make in MADE.items():
        make(data / name)


def _world(folder: Path) -> None:
    """Held-out sets of random images, rightly labelled."""
    folder.mkdir(parents=True)
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
        save_held_out(folder, part, images, labels)


def _cifar(folder: Path) -> None:
    """The python version of CIFAR-10, packed, or of CIFAR-100, unpacked."""
    layout = LAYOUTS[folder.name]
    images = np.random.default_rng(0).integers(0, 256, (200, 32, 32, 3), dtype=np.uint8)
    write_cifar(folder, layout, images, [i % layout.classes for i in range(200)], packed=folder.name == "cifar10")


def _photographs(folder: Path) -> None:
    """Images in a folder for each class."""
    for number in range(40):
        path = folder / f"kind_{number % 4}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random_image(path.name, 40, 30)).save(path)


def _captions(folder: Path) -> None:
    """A shard of images with two captions each."""
    folder.mkdir(parents=True)
    with tarfile.open(folder / "captions.tar", "w") as tar:
        for number in range(40):
            png, text = io.BytesIO(), f"a photo of {number}\nthe number {number}\n".encode()
            Image.fromarray(random_image(f"{number}.png", 40, 30)).save(png, "PNG")
            for name, content in ((f"{number}.png", png.getvalue()), (f"{number}.txt", text)):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


def _pairs_csv(folder: Path) -> None:
    """Twelve rated pairs of four references."""
    folder.mkdir(parents=True)
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["reference", "distorted", "opinion"])
        for i in range(12):
            for name in (f"r{i // 3}.png", f"d{i}.png"):
                Image.fromarray(random_image(name, 40, 40)).save(folder / name)
            rows.writerow([f"r{i // 3}.png", f"d{i}.png", i % 5 + i / 10])


MADE: dict[str, Callable[[Path], object]] = {
    "world": _world,
    "photographs": _photographs,
    "captions": _captions,
    "pairs_csv": _pairs_csv,
    **dict.fromkeys(LAYOUTS, _cifar),
    "tiny_imagenet": partial(tiny_imagenet_tree.write_tiny_imagenet, validation=12),
    "tid2013": partial(quality_trees.tid, types=24, levels=5),
    "tid2008": partial(quality_trees.tid, types=17, levels=4),
    "kadid10k": quality_trees.kadid10k,
    "csiq": quality_trees.csiq,
    "live": quality_trees.live,
    "raid": quality_trees.raid,
    "vfm_hvs": vfm_hvs,
    "cue_conflict": cue_layout.write_clone,
    "osie": miniature_saliency.osie,
    "mit1003": miniature_saliency.mit1003,
    "fixations_csv": miniature_saliency.fixations_csv,
    "fixation_folder": miniature_saliency.salicon,
    "nights": miniature_similarity.nights,
    "bapps": miniature_similarity.bapps,
    "things": miniature_similarity.things,
    "levels": miniature_similarity.levels,
}
