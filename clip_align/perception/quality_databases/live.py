# SPDX-License-Identifier: Apache-2.0
"""LIVE, release 2, as its authors distribute it: ``refimgs``, five folders of distorted images, MATLAB files.

The 982 entries of the MATLAB files run through the folders in a fixed order, and in each through ``img1.bmp``,
``img2.bmp``, …, ``img10.bmp`` by number. ``orgs`` marks 203 of them as copies of references; they lie anywhere and are
left out. Both scores are higher for worse images: ``dmos_new`` (``dmos_realigned.mat``) after realignment of the
sessions, ``dmos`` (``dmos.mat``) before. Strengths are continuous, so there are no levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from clip_align.perception.download import Download
from clip_align.perception.rated_pairs import RatedPair, damaged, entry, files, present, spread

__all__ = ["LIVE", "LIVE_PSNR", "NEEDED", "TYPES", "Scores", "read"]

Scores = Literal["realigned", "original"]
FILES: Mapping[Scores, tuple[str, str]] = {  # and the variable in it
    "realigned": ("dmos_realigned.mat", "dmos_new"),
    "original": ("dmos.mat", "dmos"),
}
REFERENCES_OF = ("refnames_all.mat", "refnames_all")
TYPES = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}  # images, in the order of the entries
COPIES, REFERENCES = 203, 29
NEEDED = (
    "refimgs/bikes.bmp",
    *(f"{name}/img{count}.bmp" for name, count in TYPES.items()),
    "dmos_realigned.mat",
    "refnames_all.mat",
)
LIVE = Download(
    name="LIVE (release 2)",
    what="779 distorted versions of 29 images (5 types of free strength) with DMOS",
    address="https://live.ece.utexas.edu/research/quality (databaserelease2)",
    size="1,011 BMP files, mostly of 768 x 512 px",
    terms="any purpose, free, with its notice and a citation",
    citation="Sheikh, Sabir and Bovik, IEEE Trans. Image Process. 15 (2006) 3440-3451",
    needed=NEEDED,
)
LIVE_PSNR = {"srocc": 0.8730, "krocc": 0.6801, "plcc": 0.8435}  # IQA-PyTorch, of 8-bit RGB, realigned scores


def read(folder: Path, key: str, scores: Scores = "realigned", references: int | None = None) -> list[RatedPair]:
    """The 779 pairs, by folder and number; opinions are minus the DMOS.

    Args:
        folder: of the database, whose ``NEEDED`` files are there.
        key: of the benchmark, for error messages.
        scores: which of the two.
        references: number of references, spread evenly; None: all.

    UserError for MATLAB files that do not hold what they should, and images that are missing.
    """
    name, variable = FILES[scores]
    path = entry(folder, name, key)
    data = _loaded(path, key)
    dmos = _row(data, variable, path, key).astype(np.float64)
    copies = _row(data, "orgs", path, key).astype(np.float64) == 1
    names = _names(entry(folder, REFERENCES_OF[0], key), key)
    if np.count_nonzero(copies) != COPIES or not np.isfinite(dmos[~copies]).all() or len(set(names)) != REFERENCES:
        found = f"{np.count_nonzero(copies)} copies of {len(set(names))} references"
        raise damaged(key, f"{path}: {found}; valid: {COPIES} copies of {REFERENCES} references, and finite scores")
    sources, kept = entry(folder, "refimgs", key), set(spread(sorted(set(names)), references))
    originals = files(sources, key)
    present(kept, originals, sources, key)
    pairs, first = [], 0
    for kind, count in TYPES.items():
        place = entry(folder, kind, key)
        here = files(place, key)
        rows = [i for i in range(first, first + count) if not copies[i] and names[i] in kept]
        images = [f"img{i - first + 1}.bmp" for i in rows]  # by number: img10 follows img9
        present(images, here, place, key)
        for i, image in zip(rows, images, strict=True):
            reference = names[i]
            cluster = reference.removesuffix(".bmp")
            pairs.append(RatedPair(originals[reference], here[image], -float(dmos[i]), kind, None, cluster))
        first += count
    return pairs


def _loaded(path: Path, key: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = loadmat(path)
    except Exception as error:  # the reader raises anything for damaged files
        what = " ".join(str(error).split())
        raise damaged(key, f"{path} is no MATLAB file ({type(error).__name__}: {what}); unpack it again") from error
    return found


def _row(data: Mapping[str, Any], variable: str, path: Path, key: str) -> NDArray[Any]:
    """A variable with one value for each entry."""
    total = sum(TYPES.values())
    if variable not in data or np.size(data[variable]) != total:
        size = np.size(data[variable]) if variable in data else "no"
        raise damaged(key, f"{path} holds {size} {variable}; valid: {total}, one an image")
    return np.asarray(data[variable]).ravel()


def _names(path: Path, key: str) -> list[str]:
    """File names of the references in lower case: a cell of MATLAB is an array of arrays of one text."""
    cells = _row(_loaded(path, key), REFERENCES_OF[1], path, key)
    # an empty cell is an array without elements
    return ["".join(map(str, np.asarray(cell).ravel()[:1])).strip().lower() for cell in cells]
