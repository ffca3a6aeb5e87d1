# SPDX-License-Identifier: Apache-2.0
"""TID2008 and TID2013 as their authors distribute them: 25 references, distorted images ``iRR_TT_L.bmp``.

``mos_with_names.txt`` has a line "mos name" for each distorted image, with line ends of DOS. Its names differ from
those on the disk in case (``I01_01_1.bmp``, ``i01_01_2.BMP``; ``I24.BMP`` beside ``i25.bmp``), so scores are joined to
images by name in lower case, never by order.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from clip_align.perception.rated_pairs import (
    RatedPair,
    complete,
    damaged,
    entry,
    files,
    number,
    present,
    spread,
    text_lines,
)

__all__ = ["NEEDED", "TYPES", "Tid", "read"]

REFERENCES = 25
HIGHEST = 9.0  # of the scale of mean opinions; 0 is the lowest
NAMES = "mos_with_names.txt"
NEEDED = (
    "reference_images/i01.bmp",
    "reference_images/i25.bmp",
    "distorted_images/i01_01_1.bmp",
    "distorted_images/i25_01_1.bmp",
    NAMES,
)
_NAME = re.compile(r"i(\d\d)_(\d\d)_(\d)\.bmp")  # reference, type, level
TYPES = (  # numbered from 1; TID2008 has the first 17
    "additive Gaussian noise",
    "noise stronger in color components",
    "spatially correlated noise",
    "masked noise",
    "high frequency noise",
    "impulse noise",
    "quantization noise",
    "Gaussian blur",
    "image denoising",
    "JPEG",
    "JPEG2000",
    "JPEG transmission errors",
    "JPEG2000 transmission errors",
    "non-eccentricity pattern noise",
    "local block-wise distortions",
    "mean shift",
    "contrast change",
    "change of color saturation",
    "multiplicative Gaussian noise",
    "comfort noise",
    "lossy compression of noisy images",
    "color quantization with dither",
    "chromatic aberrations",
    "sparse sampling and reconstruction",
)


@dataclass(frozen=True)
class Tid:
    """Which of the two databases: the number of its distortion types, and of the levels of each."""

    types: int
    levels: int


TID2013, TID2008 = Tid(types=24, levels=5), Tid(types=17, levels=4)


def read(
    folder: Path, of: Tid, key: str, types: Collection[int] | None = None, references: int | None = None
) -> list[RatedPair]:
    """The pairs, sorted by reference, type and level.

    Args:
        folder: of the database, whose ``NEEDED`` files are there.
        of: which database.
        key: of the benchmark, for error messages.
        types: numbers of those wanted; None: all.
        references: number of references, spread evenly; None: all.

    UserError for a list that does not name every image once, opinions outside 0 to 9, and images that are missing.
    """
    opinions = _opinions(entry(folder, NAMES, key), of, key)
    clean, distorted = (entry(folder, name, key) for name in ("reference_images", "distorted_images"))
    kept = set(spread([f"i{n:02d}" for n in range(1, REFERENCES + 1)], references))
    wanted = [name for name in opinions if name[:3] in kept and (types is None or int(name[4:6]) in types)]
    originals, versions = files(clean, key), files(distorted, key)
    present((f"{name[:3]}.bmp" for name in wanted), originals, clean, key)
    present(wanted, versions, distorted, key)
    return [
        RatedPair(
            originals[f"{name[:3]}.bmp"],
            versions[name],
            opinions[name],
            f"{name[4:6]} {TYPES[int(name[4:6]) - 1]}",
            int(name[7]),
            name[:3].upper(),
        )
        for name in wanted
    ]


def _opinions(path: Path, of: Tid, key: str) -> dict[str, float]:
    """Mean opinions by name in lower case, sorted by name."""
    rows: list[tuple[str, float]] = []
    for i, line in text_lines(path, key):
        where, fields = f"{path}, line {i}", line.split()
        if len(fields) != 2 or not _NAME.fullmatch(fields[1].lower()):
            raise damaged(key, f"{where}: {line!r} is no opinion and name; valid: 5.51429 i01_01_1.bmp")
        rows.append((fields[1].lower(), number(fields[0], where, key, 0.0, HIGHEST)))
    every = itertools.product(range(1, REFERENCES + 1), range(1, of.types + 1), range(1, of.levels + 1))
    complete([name for name, _ in rows], (f"i{r:02d}_{t:02d}_{level}.bmp" for r, t, level in every), path, key)
    return dict(sorted(rows))
