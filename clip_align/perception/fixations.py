# SPDX-License-Identifier: Apache-2.0
"""Where people looked at images: fixations as data sets distribute them, read and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clip_align.errors import UserError, option_problem
from clip_align.perception.eye_samples import fixations_of_samples
from clip_align.perception.image_files import size_of
from clip_align.perception.mat_files import DamagedMatError, listed, read_mat

__all__ = ["FixatedImage", "fixated_image", "mit1003", "osie"]

HIDDEN = (".", "__MACOSX")  # what macOS, Subversion and unpackers leave between the files
PHOTOGRAPHS = (".jpeg", ".jpg")


@dataclass(frozen=True, eq=False)
class FixatedImage:
    """One image and the fixations on it.

    path: of the file. height, width: in pixels. viewer: label of who made each fixation [N]; "" where the data do not
    tell. x, y: in pixels from the left and from the top [N], all inside the image. outside: number of fixations outside
    it, which are left out. density: file of the density of the fixations, a grey map of any size, where the data have
    one; None: it is made from the fixations.
    """

    path: Path
    height: int
    width: int
    viewer: NDArray[np.str_]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    outside: int = 0
    density: Path | None = None


def fixated_image(
    path: Path, viewer: Sequence[str], xy: ArrayLike, key: str, option: str, to_border: bool = False
) -> FixatedImage:
    """An image with its fixations; those outside it are left out and counted, and so are those that are not finite.

    Args:
        path: of the image.
        viewer: labels [N].
        xy: coordinates [2, N] in pixels.
        key: of the benchmark, for error messages.
        option: of the benchmark that names the data.
        to_border: whether fixations outside are moved to the nearest pixel instead.

    UserError if the image cannot be read.
    """
    try:
        height, width = size_of(path)
    except (OSError, ValueError) as error:
        raise UserError(option_problem(key, option, f"cannot read {path}: {error}; get the file again")) from error
    x, y = np.asarray(xy, dtype=np.float64).reshape(2, -1)
    if to_border:
        x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)  # False for NaN
    labels = np.asarray(viewer, dtype=np.str_)
    return FixatedImage(path, height, width, labels[inside], x[inside], y[inside], int((~inside).sum()))


def osie(folder: Path, key: str) -> tuple[FixatedImage, ...]:
    """OSIE's images in the order of its list: ``data/stimuli/*.jpg`` and ``data/eye/fixations.mat``.

    Args:
        folder: of the unpacked repository.
        key: of the benchmark, for error messages.

    The list has an entry for each image, with ``img`` and ``subjects``, each of these with ``fix_x`` and ``fix_y``. As
    in the authors' code, fixations outside an image are moved to its border. UserError for what is damaged or missing.
    """
    path, stimuli = folder / "data" / "eye" / "fixations.mat", folder / "data" / "stimuli"
    variables = _mat(path, key)
    if "fixations" not in variables:
        raise _damaged(key, path, f"it has no variable fixations but {', '.join(variables) or 'none'}")
    files = {p.name.lower(): p for p in _visible(stimuli, key)}
    found = []
    for number, entry in enumerate(listed(variables["fixations"]), 1):
        name = getattr(entry, "img", None)
        if not isinstance(name, str) or not hasattr(entry, "subjects"):
            raise _damaged(key, path, f"entry {number} has no img or no subjects")
        if name.lower() not in files:
            what = f"{path} names {name}, which is not in {stimuli}; unpack the data set again"
            raise UserError(option_problem(key, "root", what))
        viewers: list[str] = []
        places = [np.zeros((2, 0))]
        for viewer, subject in enumerate(listed(entry.subjects), 1):
            x, y = (_numbers(getattr(subject, field, ()), key, path).ravel() for field in ("fix_x", "fix_y"))
            if len(x) != len(y):
                raise _damaged(key, path, f"{name}, subject {viewer}: {len(x)} fix_x and {len(y)} fix_y")
            viewers += [f"{viewer:02d}"] * len(x)  # so that 2 comes before 10
            places.append(np.stack([x, y]))
        xy = np.concatenate(places, axis=1)
        found.append(fixated_image(files[name.lower()], viewers, xy, key, "root", to_border=True))
    return tuple(found)


def mit1003(folder: Path, key: str) -> tuple[FixatedImage, ...]:
    """MIT1003's images in the order of their names: ``ALLSTIMULI/*.jpeg`` and ``DATA/<viewer>/<image>.mat``.

    Args:
        folder: into which both archives were unpacked.
        key: of the benchmark, for error messages.

    A .mat file holds the eye tracker's samples, of which `eye_samples` makes fixations. As in the authors' code the
    first fixation, on the cross in the middle, is left out; so are those outside the image, most of them blinks.
    UserError for what is damaged or missing.
    """
    images = [p for p in _visible(folder / "ALLSTIMULI", key) if p.suffix.lower() in PHOTOGRAPHS]
    viewers = [p for p in _visible(folder / "DATA", key) if p.is_dir()]
    absent = [p for i in images for v in viewers if not (p := v / f"{i.stem}.mat").is_file()]
    if absent or not images or not viewers:
        what = f"no {absent[0]} ({len(absent):,} recordings missing)" if absent else f"no images or viewers in {folder}"
        raise UserError(option_problem(key, "root", f"{what}; unpack ALLSTIMULI.zip and DATA.zip there again"))
    found = []
    for image in images:
        labels: list[str] = []
        places = [np.zeros((0, 2))]
        for viewer in viewers:
            fixations = _recording(viewer / f"{image.stem}.mat", key)[1:]
            labels += [viewer.name] * len(fixations)
            places.append(fixations)
        found.append(fixated_image(image, labels, np.concatenate(places).T, key, "root"))
    return tuple(found)


def _recording(path: Path, key: str) -> NDArray[np.float64]:
    """Fixations [F, 2] of one viewer on one image."""
    # one variable, named like the image; MATLAB cuts names to 63 characters, so its name is not checked
    for value in _mat(path, key).values():
        data = listed(getattr(value, "DATA", ()))
        samples = _numbers(getattr(data[0], "eyeData", ()) if data else (), key, path)
        if samples.ndim == 2 and samples.shape[1] >= 2:
            return fixations_of_samples(samples).reshape(-1, 2)
    raise _damaged(key, path, "it has no variable with DATA(1).eyeData, samples of x and y")


def _mat(path: Path, key: str) -> dict[str, Any]:
    try:
        return read_mat(path)
    except DamagedMatError as error:
        raise _damaged(key, path, str(error)) from error


def _damaged(key: str, path: Path, why: str) -> UserError:
    text = f"cannot read {path}: {why}; valid is MATLAB's format up to version 7, as its authors offer it"
    return UserError(option_problem(key, "root", " ".join(text.split())))


def _numbers(value: Any, key: str, path: Path) -> NDArray[np.float64]:
    """An array of at least one dimension; UserError for what holds no numbers."""
    try:
        return np.atleast_1d(np.asarray(value, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise _damaged(key, path, f"texts or structs where numbers belong ({error})") from error


def _visible(folder: Path, key: str) -> list[Path]:
    """What a folder holds, by name, without hidden entries; the folder's own name in any case."""
    place = folder
    if not place.is_dir():  # another spelling of its name
        same = [p for p in folder.parent.iterdir() if p.name.lower() == folder.name.lower() and p.is_dir()]
        place = same[0] if same else folder
    try:
        return sorted((p for p in place.iterdir() if not p.name.startswith(HIDDEN)), key=lambda p: p.name)
    except OSError as error:
        raise UserError(option_problem(key, "root", f"cannot list {place}: {error.strerror}")) from error
