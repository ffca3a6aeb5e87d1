# SPDX-License-Identifier: Apache-2.0
"""CSIQ as its authors distribute it: ``src_imgs``, ``dst_imgs/<type>``, and the workbook ``csiq.DMOS.xlsx``.

The sheet ``all_by_image`` has empty rows and columns before its header; the image 1600 is a number there. Its words for
the types differ from those in the names of the images (``noise``, ``1600.AWGN.1.png``), which have dots of their own
kind: the type and the level are the last two parts. DMOS is higher for worse images.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clip_align.perception.download import Download
from clip_align.perception.rated_pairs import RatedPair, damaged, entry, files, number, present, spread
from clip_align.perception.xlsx import Cell, read_sheet

__all__ = ["CSIQ", "CSIQ_PSNR", "NEEDED", "read"]

SCORES = "csiq.DMOS.xlsx"
SHEET = "all_by_image"
COLUMNS = ("image", "dst_type", "dst_lev", "dmos")
IMAGES = 866  # contrast has 4 levels of 26 references and 3 of the other 4
REFERENCES = 30
# word in the sheet: folder, which is also the part of the name, in lower case
TYPES = {
    "noise": "awgn",
    "blur": "blur",
    "contrast": "contrast",
    "fnoise": "fnoise",
    "jpeg": "jpeg",
    "jpeg 2000": "jpeg2000",
}
NEEDED = ("src_imgs/1600.png", *(f"dst_imgs/{name}/1600.{name}.1.png" for name in TYPES.values()), SCORES)
CSIQ = Download(
    name="CSIQ",
    what="866 distorted versions of 30 images (6 types, 3 to 5 levels) with DMOS of 35 observers",
    address="https://s2.smu.edu/~eclarson/csiq.html",
    size="896 PNG files of 512 x 512 px",
    terms="no licence text found",
    citation="Larson and Chandler, J. Electronic Imaging 19 (2010) 011006",
    needed=NEEDED,
)
CSIQ_PSNR = {"srocc": 0.8087, "krocc": 0.5989, "plcc": 0.7857}  # IQA-PyTorch, of 8-bit RGB
Row = tuple[str, str, int, float]  # image, type as in file names, level, dmos


def read(folder: Path, key: str, references: int | None = None) -> list[RatedPair]:
    """The pairs, sorted by reference, type and level; opinions are minus the DMOS.

    Args:
        folder: of the database, whose ``NEEDED`` files are there.
        key: of the benchmark, for error messages.
        references: number of references, spread evenly; None: all.

    UserError for a sheet that does not list 866 images of 30 references, each once, DMOS outside 0 to 1, and images
    that are missing.
    """
    path = entry(folder, SCORES, key)
    rows = sorted(_rows(path, key))
    images = sorted({image for image, *_ in rows})
    if len(rows) != IMAGES or len({row[:3] for row in rows}) != IMAGES or len(images) != REFERENCES:
        found = f"{len({row[:3] for row in rows})} images of {len(images)} references in {len(rows)} rows"
        raise damaged(key, f"{path}, sheet {SHEET}: {found}; valid: {IMAGES} images of {REFERENCES} references")
    sources, kept = entry(folder, "src_imgs", key), set(spread(images, references))
    originals = files(sources, key)
    present((f"{image}.png" for image in kept), originals, sources, key)
    pairs = []
    for kind in TYPES.values():
        place = entry(folder, f"dst_imgs/{kind}", key)
        found_here, wanted = files(place, key), [row for row in rows if row[1] == kind and row[0] in kept]
        present((_name(row) for row in wanted), found_here, place, key)
        for row in wanted:
            image, _, level, dmos = row
            pairs.append(RatedPair(originals[f"{image}.png"], found_here[_name(row)], -dmos, kind, level, image))
    return sorted(pairs, key=lambda pair: (pair.cluster, pair.type, pair.level or 0))


def _name(row: Row) -> str:
    """File name of a distorted image, in lower case."""
    return f"{row[0]}.{row[1]}.{row[2]}.png"


def _rows(path: Path, key: str) -> Iterator[Row]:
    try:
        rows = read_sheet(path, SHEET)
    except ValueError as error:
        raise damaged(key, f"{path}: {error}; unpack the database again") from error
    top = next((i for i, row in enumerate(rows) if {*COLUMNS} <= {*row}), None)
    if top is None:
        raise damaged(key, f"{path}, sheet {SHEET}: no row with {', '.join(COLUMNS)}; unpack the database again")
    places = [rows[top].index(name) for name in COLUMNS]
    for i, row in enumerate(rows[top + 1 :], top + 2):
        image, kind, level, dmos = (row[place] if place < len(row) else None for place in places)
        if image is None:  # below the table
            continue
        where = f"{path}, sheet {SHEET}, row {i}"
        if _text(kind) not in TYPES:
            raise damaged(key, f"{where}: {_text(kind)!r} is no type; valid: {', '.join(TYPES)}")
        if level not in (1, 2, 3, 4, 5):
            raise damaged(key, f"{where}: {_text(level)!r} is no level; valid: 1 to 5")
        yield _text(image), TYPES[_text(kind)], int(level), number(_text(dmos), where, key, 0.0, 1.0)


def _text(cell: Cell) -> str:
    """A cell as a word in lower case; 1600 is a number, and a name."""
    return f"{cell:.17g}" if isinstance(cell, float) else (cell or "").strip().lower()
