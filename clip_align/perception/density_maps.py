# SPDX-License-Identifier: Apache-2.0
"""Folders in which data sets distribute what people looked at: maps of density, points, or both, named like the images.

SALICON's and CAT2000's layouts among them; which is which follows from the files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clip_align.errors import UserError, option_problem
from clip_align.perception.fixations import FixatedImage, fixated_image
from clip_align.perception.image_files import read_rgb, size_of
from clip_align.perception.mat_files import DamagedMatError, listed, read_mat

__all__ = ["images_with_maps", "read_density"]

Array = NDArray[np.float64]
HIDDEN = (".", "__MACOSX")
IMAGE_KINDS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
POINT_KINDS = (".mat", ".png", ".bmp", ".tif", ".tiff")  # JPEG changes single pixels
SAME_SHAPE = 0.02  # by which the ratio of a map's sides may differ from its image's: whole pixels of a small map
FIRST = 1.0  # MATLAB's number of the first pixel


def images_with_maps(images: Path, maps: Path | None, points: Path | None, key: str) -> tuple[list[FixatedImage], int]:
    """The images that have a map or points, in the order of their names, and the number of those that have none.

    Args:
        images: folder, with or without sub-folders.
        maps: folder of grey maps, each called like its image, in sub-folders of the same names; None: there are none.
        points: folder of fixations, ``.mat`` or maps of the image's size that are 0 elsewhere; None: there are none.
        key: of the benchmark, for error messages.

    UserError where a map or points belong to no image, one of the two is missing, or a file cannot be read.
    """
    every = _by_name(images, IMAGE_KINDS, "images", key)
    found = {
        option: _by_name(folder, kinds, option, key)
        for option, folder, kinds in (("fixation_maps", maps, IMAGE_KINDS), ("fixations", points, POINT_KINDS))
        if folder is not None
    }
    for option, files in found.items():
        for name, path in files.items():
            if name not in every:
                what = f"{path} belongs to no image: none in {images} is called {name}"
                raise UserError(option_problem(key, option, f"{option}: {what}"))
    names = [name for name in every if any(name in files for files in found.values())]
    for option, files in found.items():
        lacking = [name for name in names if name not in files]
        if lacking:
            what = f"{len(lacking)} of {len(names)} images have no file in {option}, the first is {every[lacking[0]]}"
            raise UserError(option_problem(key, option, f"{what}; leave the option out, or complete its folder"))
    made = []
    for name in names:
        density = found.get("fixation_maps", {}).get(name)
        place = found.get("fixations", {}).get(name)
        made.append(_image(every[name], density, place, key))
    return made, len(every) - len(names)


def read_density(path: Path, shape: tuple[int, int], key: str) -> Array:
    """A map of density [height, width] at the size ``shape``, its grey values averaged over areas; not normalized.

    Args:
        path: of the file; colours become their mean.
        shape: height and width in pixels.
        key: of the benchmark, for the error message.

    UserError for a file that cannot be read, or is black.
    """
    try:
        grey = read_rgb(path).astype(np.float32).mean(axis=2)
    except (OSError, ValueError) as error:
        raise UserError(option_problem(key, "fixation_maps", f"cannot read {path}: {error}")) from error
    if not grey.any():
        raise UserError(
            option_problem(key, "fixation_maps", f"{path} is black: it says nothing about where people look")
        )
    resized = Image.fromarray(grey).resize(shape[::-1], Image.Resampling.BOX)
    return np.asarray(resized, dtype=np.float64)


def _image(path: Path, density: Path | None, points: Path | None, key: str) -> FixatedImage:
    viewers, xy = ([], np.zeros((2, 0))) if points is None else _fixations(points, path, key)
    made = fixated_image(path, viewers, xy, key, "images")
    if density is None:
        return made
    height, width = _size(density, "fixation_maps", key)
    if abs(width / height * made.height / made.width - 1) > SAME_SHAPE:
        what = f"{density} is {width} x {height} px and {path.name} {made.width} x {made.height}: not the same shape"
        raise UserError(option_problem(key, "fixation_maps", what))
    return replace(made, density=density)


def _fixations(points: Path, image: Path, key: str) -> tuple[list[str], Array]:
    """Viewers [N] and coordinates [2, N] in pixels, from 0, of the fixations in a file."""
    size = _size(image, "images", key)
    if points.suffix.lower() != ".mat":
        try:
            return _of_pixels(read_rgb(points).max(axis=2), points, size, key)
        except (OSError, ValueError) as error:
            raise UserError(option_problem(key, "fixations", f"cannot read {points}: {error}")) from error
    try:
        variables = read_mat(points)
    except DamagedMatError as error:
        raise UserError(option_problem(key, "fixations", f"cannot read {points}: {error}")) from error
    if "gaze" in variables:
        return _of_gaze(listed(variables["gaze"]), points, key)
    grids = [value for value in variables.values() if getattr(value, "shape", None) == size]
    if len(grids) == 1:
        return _of_pixels(np.asarray(grids[0]), points, size, key)
    held = ", ".join(f"{name} {getattr(value, 'shape', '')}".strip() for name, value in variables.items()) or "nothing"
    what = f"{points} holds {held}; valid is gaze (SALICON's) or one matrix {size}, the size of {image.name}"
    raise UserError(option_problem(key, "fixations", what))


def _of_pixels(grid: NDArray[Any], points: Path, size: tuple[int, int], key: str) -> tuple[list[str], Array]:
    """The pixels that are not 0, one fixation each."""
    if grid.shape != size:
        what = (
            f"{points} is {grid.shape[1]} x {grid.shape[0]} px, its image {size[1]} x {size[0]}; points need its size"
        )
        raise UserError(option_problem(key, "fixations", what))
    rows, columns = np.nonzero(grid)
    return [""] * len(rows), np.stack([columns, rows]).astype(np.float64)


def _of_gaze(viewers: Sequence[Any], points: Path, key: str) -> tuple[list[str], Array]:
    """SALICON's struct array: ``fixations`` [N, 2] of each viewer, x and y counted from 1."""
    labels: list[str] = []
    places = [np.zeros((0, 2))]
    for number, viewer in enumerate(viewers, 1):
        try:
            xy = np.asarray(viewer.fixations, dtype=np.float64).reshape(-1, 2)
        except (AttributeError, TypeError, ValueError) as error:
            what = f"{points}: entry {number} of gaze has no fixations [N, 2]"
            raise UserError(option_problem(key, "fixations", what)) from error
        labels += [f"{number:04d}"] * len(xy)
        places.append(xy - FIRST)
    return labels, np.concatenate(places).T


def _size(path: Path, option: str, key: str) -> tuple[int, int]:
    try:
        return size_of(path)
    except (OSError, ValueError) as error:
        raise UserError(option_problem(key, option, f"cannot read {path}: {error}; get the file again")) from error


def _by_name(folder: Path, kinds: Sequence[str], option: str, key: str) -> dict[str, Path]:
    """The files below a folder by their path without its ending, in the order of these."""
    found: dict[str, Path] = {}
    for path in sorted(_files(folder, lambda p: p.suffix.lower() in kinds)):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            what = f"{found[name]} and {path.name} are both called {name}; keep one"
            raise UserError(option_problem(key, option, f"{option}: {what}"))
        found[name] = path
    if not found:
        what = f"{option}: no file in {folder}; valid are {', '.join(kinds)}"
        raise UserError(option_problem(key, option, what))
    return found


def _files(folder: Path, wanted: Callable[[Path], bool]) -> Iterator[Path]:
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if path.is_file() and wanted(path) and not any(part.startswith(HIDDEN) for part in parts):
            yield path
