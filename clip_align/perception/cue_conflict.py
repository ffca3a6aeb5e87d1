# SPDX-License-Identifier: Apache-2.0
"""The cue-conflict images, edges and silhouettes of Geirhos et al. (2019) on disk: folders, names, counts.

``<shape class>/<shape><n>-<texture><m>.png``, n in 1..10, m in 1..3: the shape of one photograph in the texture of
another image. 5 images for each of the 256 ordered pairs of classes, 1,280 in all; in 80 both cues are of one class.
Edges and silhouettes are ``<class>/<class><n>.png``, 160 each.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clip_align.perception.download import Download
from clip_align.perception.image_files import size_of
from clip_align.perception.sixteen_classes import CATEGORIES

__all__ = [
    "CUE_CONFLICT",
    "EDGES",
    "PER_PAIR",
    "SHAPES_PER_CLASS",
    "SILHOUETTES",
    "CueImage",
    "ImagesError",
    "conflict_images",
    "shape_images",
]

CONFLICT_NAME = re.compile(r"([a-z]+)([0-9]+)-([a-z]+)([0-9]+)")
SHAPE_NAME = re.compile(r"([a-z]+)([0-9]+)")
EXTENSIONS = (".png", ".jpg", ".jpeg")
SOURCE = "Geirhos et al., ICLR 2019, arXiv 1811.12231"
LICENCE = "images CC BY 4.0; trial files without a stated licence: cite"
CUE_CONFLICT = Download(
    name="Cue conflict",
    what="1,280 images, the shape of one class in the texture of another, and trials of people and networks",
    address="https://github.com/rgeirhos/texture-vs-shape (stimuli/style-transfer-preprocessed-512)",
    size="1,280 images of 224 px",
    terms=LICENCE,
    citation=SOURCE,
    needed=CATEGORIES,
    places=("stimuli/style-transfer-preprocessed-512", "style-transfer-preprocessed-512", "cue-conflict"),
)
EDGES = replace(
    CUE_CONFLICT,
    name="Edge set",
    what="edges of the 160 photographs that give cue-conflict images their shapes",
    address="https://github.com/rgeirhos/texture-vs-shape (stimuli/edges)",
    size="160 images of 224 px",
    places=("stimuli/edges", "edges"),
)
SILHOUETTES = replace(
    CUE_CONFLICT,
    name="Silhouette set",
    what="filled silhouettes of the 160 objects that give cue-conflict images their shapes",
    address="https://github.com/rgeirhos/texture-vs-shape (stimuli/filled-silhouettes)",
    size="160 images of 224 px",
    places=("stimuli/filled-silhouettes", "filled-silhouettes"),
)
PER_PAIR = 5  # images of each ordered pair of classes
SHAPES_PER_CLASS = 10  # photographs that give shapes


class ImagesError(ValueError):
    """A folder of images is not as its authors distribute it: what, which file, what would be valid."""


@dataclass(frozen=True)
class CueImage:
    """One image.

    path: of the file. shape: class of its shape. texture: class of its texture; None for edges and silhouettes.
    """

    path: Path
    shape: str
    texture: str | None = None

    @property
    def stem(self) -> str:
        """Its name without extension, ``bear1-airplane3``: the same in trial files."""
        return self.path.stem

    @property
    def exemplars(self) -> tuple[str, str]:
        """``bear1`` and ``airplane3``: the photograph that gave the shape, and the image that gave the texture.

        Several images share either of them.
        """
        shape, _, texture = self.stem.partition("-")
        return shape, texture


def conflict_images(folder: Path, classes: Sequence[str] = CATEGORIES) -> list[CueImage]:
    """The images whose shape and texture are of these classes, by class and name: 5 of each ordered pair.

    ImagesError for a name of another form, a shape that is not its folder's, an image that is there twice, a pair
    without 5 images, or a file that is no image (headers are read).
    """
    found = [image for image in _images(folder, classes, CONFLICT_NAME) if image.texture in classes]
    pairs = Counter((image.shape, image.texture) for image in found)
    for shape in classes:
        for texture in classes:
            if pairs[shape, texture] != PER_PAIR:
                raise ImagesError(
                    f"{folder} has {pairs[shape, texture]} images of shape {shape} and texture {texture}, not "
                    f"{PER_PAIR}; {len(found):,} of {PER_PAIR * len(classes) ** 2:,} images are there"
                )
    return found


def shape_images(folder: Path, classes: Sequence[str] = CATEGORIES) -> list[CueImage]:
    """The edges or silhouettes of these classes, 10 of each; ImagesError as for `conflict_images`."""
    found = list(_images(folder, classes, SHAPE_NAME))
    counts = Counter(image.shape for image in found)
    for shape in classes:
        if counts[shape] != SHAPES_PER_CLASS:
            raise ImagesError(f"{folder / shape} has {counts[shape]} images, not {SHAPES_PER_CLASS}")
    return found


def _images(folder: Path, classes: Sequence[str], name: re.Pattern[str]) -> Iterator[CueImage]:
    seen: dict[str, Path] = {}
    for shape in classes:
        if not (folder / shape).is_dir():
            raise ImagesError(f"{folder} has no folder {shape}; the classes' folders are named in lower case")
        for path in sorted((folder / shape).iterdir(), key=_by_number):
            # what file browsers leave behind, archives of a Mac too
            if path.name.startswith(".") or path.suffix.lower() not in EXTENSIONS:
                continue
            match = name.fullmatch(path.stem)
            if match is None or (match.lastindex == 4 and match[3] not in CATEGORIES):
                form = "bear1-airplane3.png" if name is CONFLICT_NAME else "bear1.png"
                raise ImagesError(f"{path}: not a name such as {form}")
            if match[1] != shape:
                raise ImagesError(f"{path}: its shape is {match[1]}, its folder {shape}")
            if path.stem in seen:
                raise ImagesError(f"{path}: the same image as {seen[path.stem].name}; delete one of them")
            seen[path.stem] = path
            try:
                size_of(path)
            except (OSError, ValueError) as error:
                raise ImagesError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
            yield CueImage(path, shape, match[3] if match.lastindex == 4 else None)


def _by_number(path: Path) -> tuple[list[str | int], str]:
    """``bear2`` before ``bear10``."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", path.name)], path.name
