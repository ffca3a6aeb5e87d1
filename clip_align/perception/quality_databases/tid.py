# SPDX-License-Identifier: Apache-2.0
"""TID2008 and TID2013 as their authors distribute them: 25 references, distorted images ``iRR_TT_L.bmp``.

``mos_with_names.txt`` has a line "mos name" for each distorted image, with line ends of DOS. Its names differ from
those on the disk in case (``I01_01_1.bmp``, ``i01_01_2.BMP``; ``I24.BMP`` beside ``i25.bmp``), so scores are joined to
images by name in lower case, never by order.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from clip_align.perception.download import Download
from clip_align.perception.rated_pairs import (
    Numbering,
    RatedPair,
    complete,
    damaged,
    entry,
    number,
    numbered_pairs,
    text_lines,
)

__all__ = [
    "LAYOUT_2008",
    "LAYOUT_2013",
    "NEEDED",
    "TID2008",
    "TID2008_PSNR",
    "TID2013",
    "TID2013_PSNR",
    "TYPES",
    "read",
]

HIGHEST = 9.0  # of the scale of mean opinions; 0 is the lowest
NAMES = "mos_with_names.txt"
NEEDED = (
    "reference_images/i01.bmp",
    "reference_images/i25.bmp",
    "distorted_images/i01_01_1.bmp",
    "distorted_images/i25_01_1.bmp",
    NAMES,
)
TID2013 = Download(
    name="TID2013",
    what="3,000 distorted versions of 25 images (24 types, 5 levels) with mean opinions of 971 observers",
    address="http://www.ponomarenko.info/tid2013.htm (tid2013.rar)",
    size="908 MB",
    terms="free for education and research; no modified copies without permission",
    citation="Ponomarenko et al., Signal Process. Image Commun. 30 (2015) 57-77",
    needed=NEEDED,
)
TID2013_PSNR = {"srocc": 0.6869, "krocc": 0.4958, "plcc": 0.6601}  # IQA-PyTorch and piq, of 8-bit RGB
TID2008 = Download(
    name="TID2008",
    what="1,700 distorted versions of 25 images (17 types, 4 levels) with mean opinions of 838 observers",
    address="http://www.ponomarenko.info/tid2008.htm (tid2008.rar)",
    size="550 MB",
    terms="free for education and research, with its notice; no modified copies without permission",
    citation="Ponomarenko et al., Adv. Modern Radioelectronics 10 (2009) 30-45",
    needed=NEEDED,
)
TID2008_PSNR = {"srocc": 0.5245, "krocc": 0.3696, "plcc": 0.4890}  # IQA-PyTorch, of 8-bit RGB
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


LAYOUT_2013 = Numbering(references=25, types=TYPES, levels=5, suffix=".bmp")
LAYOUT_2008 = Numbering(references=25, types=TYPES[:17], levels=4, suffix=".bmp")


def read(
    folder: Path, of: Numbering, key: str, types: Collection[int] | None = None, references: int | None = None
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
    folders = (entry(folder, "reference_images", key), entry(folder, "distorted_images", key))
    return numbered_pairs(of, opinions, folders, lambda type, _: types is None or type in types, references, key)


def _opinions(path: Path, of: Numbering, key: str) -> dict[str, float]:
    """Mean opinions by name in lower case, sorted by name."""
    rows: list[tuple[str, float]] = []
    for i, line in text_lines(path, key):
        where, fields = f"{path}, line {i}", line.split()
        if len(fields) != 2 or not _NAME.fullmatch(fields[1].lower()):
            raise damaged(key, f"{where}: {line!r} is no opinion and name; valid: 5.51429 i01_01_1.bmp")
        rows.append((fields[1].lower(), number(fields[0], where, key, 0.0, HIGHEST)))
    complete([name for name, _ in rows], of.names(), path, key)
    return dict(sorted(rows))
