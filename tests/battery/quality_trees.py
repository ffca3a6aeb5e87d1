# SPDX-License-Identifier: Apache-2.0
"""Image-quality databases in miniature, as their downloads lie on the disk, with the awkward names that they have.

The lists of scores are whole; images, small and random, are those of the references that are wanted.
"""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from clip_align.callbacks.common.rated_pairs import RatedPairs
from clip_align.evaluation.observers import observed
from clip_align.perception.observers import Measured
from clip_align.testing.random_images import random_image

Condition = tuple[int, int, int]  # reference, type, level


EVERY = range(1, 1000)  # references: those that the database has


def image(path: Path, empty: bool = False, height: int = 24, width: int = 32) -> None:
    """A small random image; ``empty``: a file without content, where images are not looked at."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if empty:
        path.touch()
        return
    Image.fromarray(random_image(path.name.lower(), height, width)).save(path)


def made_up(condition: Condition) -> float:
    """An opinion from 1 to 5, better for mild distortions, different for each pair."""
    reference, kind, level = condition
    return round(4.9 - 0.6 * level + 0.01 * ((7 * kind + 3 * reference) % 11) + 0.0001 * (kind + 25 * reference), 5)


def tid(
    folder: Path,
    types: int,
    levels: int,
    references: Sequence[int] = (1, 25),
    opinions: Mapping[Condition, float] | None = None,
    empty: bool = False,
) -> Path:
    """TID2013 or TID2008: line ends of DOS, mixed case in list and folders, ``i25.bmp`` beside ``I01.BMP``."""
    lines = []
    for of in itertools.product(range(1, 26), range(1, types + 1), range(1, levels + 1)):
        reference, kind, level = of
        # 75 names of the original begin with I, 50 end in .BMP
        first, suffix = "I" if kind == 1 and level == 1 else "i", ".BMP" if kind == 2 and level < 3 else ".bmp"
        name = f"{reference:02d}_{kind:02d}_{level}"
        lines.append(f"{(opinions or {}).get(of, made_up(of)):.5f} {first}{name}{suffix}")
        if reference in references:
            there = f"{'I' if kind == 3 else 'i'}{name}{'.BMP' if level == 1 else '.bmp'}"
            image(folder / "distorted_images" / there, empty)
    for reference in {*references} & {*range(1, 26)}:
        image(folder / "reference_images" / ("i25.bmp" if reference == 25 else f"I{reference:02d}.BMP"), empty)
    (folder / "reference_images" / "Thumbs.db").touch()
    (folder / "mos_with_names.txt").write_text("\r\n".join([*lines, "", ""]), newline="")
    return folder


def check_orientation(callback: RatedPairs) -> None:
    """A perfect metric has +1, its negation -1, and a constant one no score."""
    human = np.array([pair.opinion for pair in callback.rated])
    for sign in (1, -1):
        estimates = observed(callback, Measured(sign * human, similarity=True)).estimates
        assert estimates["srocc"].value == sign
        assert estimates["krocc"].value == pytest.approx(sign)  # two roots: to the last bit but one
        assert estimates["plcc"].value == pytest.approx(sign)
        assert estimates["plcc_fitted"].value == pytest.approx(sign)
        by = [e.value for name, e in estimates.items() if name.startswith(("srocc_type_", "within_reference_srocc"))]
        assert len(by) == 1 + len({p.type for p in callback.rated}) + len({p.cluster for p in callback.rated})
        assert all(value == pytest.approx(sign) for value in by)
        within = estimates.get("within_level_srocc")
        assert (within is not None) == all(pair.level is not None for pair in callback.rated)
        assert within is None or within.value == pytest.approx(sign)
    for estimate in observed(callback, Measured(np.ones(len(human)))).estimates.values():
        assert estimate.value is None
        assert estimate.reason


def kadid10k(
    folder: Path,
    references: Sequence[int] = (1, 81),
    opinions: Mapping[Condition, float] | None = None,
    empty: bool = False,
) -> Path:
    """KADID-10k: references among the distorted images in one folder, a header, "dmos" that rises with quality."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["dist_img,ref_img,dmos,var"]
    for of in itertools.product(range(1, 82), range(1, 26), range(1, 6)):
        reference, kind, level = of
        name = f"I{reference:02d}_{kind:02d}_{level:02d}.png"
        lines.append(f"{name},I{reference:02d}.png,{(opinions or {}).get(of, made_up(of))},0.5")
        if reference in references:
            image(folder / "images" / name, empty)
    for reference in {*references} & {*range(1, 82)}:
        image(folder / "images" / f"I{reference:02d}.png", empty)
    (folder / "dmos.csv").write_text("\r\n".join([*lines, ""]), newline="")
    return folder


CSIQ_NAMES = ("1600", "aerial_city", *(f"scene_{i:02d}" for i in range(27)), "woman")
CSIQ_TAGS = {  # word in the sheet: folder, part of the name
    "noise": ("awgn", "AWGN"),
    "blur": ("blur", "BLUR"),
    "contrast": ("contrast", "contrast"),
    "fnoise": ("fnoise", "fnoise"),
    "jpeg": ("jpeg", "JPEG"),
    "jpeg 2000": ("jpeg2000", "jpeg2000"),
}


def csiq(
    folder: Path,
    references: Sequence[str] = (CSIQ_NAMES[0], CSIQ_NAMES[-1]),
    rows: Sequence[tuple[str, str, int, float]] | None = None,
    empty: bool = False,
) -> Path:
    """CSIQ: a number among the names, empty rows and columns before the header, another sheet with #REF!.

    Args:
        folder: is made.
        references: whose images are made.
        rows: reference, word for the type, level, dmos; None: made up.
        empty: images have no content.
    """
    if rows is None:
        rows = [
            (name, word, level, round((4.9 - made_up((i, kind, level))) / 4, 6))
            for i, name in enumerate(CSIQ_NAMES)
            for kind, word in enumerate(CSIQ_TAGS)
            for level in range(1, (4 if i % 8 == 1 else 5) if word == "contrast" else 6)
        ]
    cells: list[list[str | float | None]] = [[], [], []]
    cells.append([None, None, None, "image", "dst_idx", "dst_type", "dst_lev", "dmos_std", "dmos"])
    for name, word, level, dmos in rows:
        shown: str | float = 1600.0 if name == "1600" else name
        cells.append([None, None, None, shown, 1.0, word, float(level), 0.05, dmos])
        place, tag = CSIQ_TAGS[word]
        if name in references:
            image(folder / "dst_imgs" / place / f"{name}.{tag}.{level}.png", empty)
    for name in references:
        image(folder / "src_imgs" / f"{name}.png", empty)
    workbook(folder / "csiq.DMOS.xlsx", {"all_by_distortion": [["#REF!"]], "all_by_image": cells})
    return folder


def workbook(path: Path, sheets: Mapping[str, Sequence[Sequence[str | float | None]]]) -> None:
    """An Excel workbook: texts are shared between its sheets, empty cells and rows are not written."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    texts: dict[str, int] = {}

    def cell(value: str | float, row: int, column: int) -> str:
        place = f'r="{chr(ord("A") + column)}{row}"'
        if isinstance(value, float):
            return f"<c {place}><v>{value!r}</v></c>"
        if value.startswith("#"):
            return f'<c {place} t="e"><v>{value}</v></c>'
        return f'<c {place} t="s"><v>{texts.setdefault(value, len(texts))}</v></c>'

    names = "".join(f'<sheet name="{name}" sheetId="{i}" r:id="rId{i}"/>' for i, name in enumerate(sheets, 1))
    links = "".join(f'<Relationship Id="rId{i}" Target="worksheets/sheet{i}.xml"/>' for i in range(1, len(sheets) + 1))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(
            "xl/workbook.xml", f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>{names}</sheets></workbook>'
        )
        file.writestr("xl/_rels/workbook.xml.rels", f'<Relationships xmlns="{package}">{links}</Relationships>')
        for i, rows in enumerate(sheets.values(), 1):
            written = "".join(
                f'<row r="{r}">{"".join(cell(v, r, c) for c, v in enumerate(row) if v is not None)}</row>'
                for r, row in enumerate(rows, 1)
                if row
            )
            file.writestr(
                f"xl/worksheets/sheet{i}.xml", f'<worksheet xmlns="{main}"><sheetData>{written}</sheetData></worksheet>'
            )
        # a text may be in several runs
        entries = "".join(f"<si><r><t>{t[:2]}</t></r><r><t>{t[2:]}</t></r></si>" for t in texts)
        file.writestr("xl/sharedStrings.xml", f'<sst xmlns="{main}">{entries}</sst>')


LIVE_COUNTS = {"jp2k": (227, 169), "jpeg": (233, 175), "wn": (174, 145), "gblur": (174, 145), "fastfading": (174, 145)}
LIVE_NAMES = ("bikes.bmp", *(f"scene{i:02d}.bmp" for i in range(27)), "womanhat.bmp")
LiveRow = tuple[str, int, str, float, float]  # type, number, reference, dmos, realigned dmos


def made_up_live() -> list[LiveRow]:
    """Rows of 779 distorted images; the first image of each type, and as many as there have to be, are copies."""
    rows: list[LiveRow] = []
    for kind, (total, distorted) in LIVE_COUNTS.items():
        numbers = [i for i in range(2, total) if i % 7][:distorted]
        for i, number in enumerate(numbers):
            realigned = 20 + 60 * ((37 * i) % distorted) / distorted + len(rows) / 1000
            rows.append((kind, number, LIVE_NAMES[i % 29], realigned * 1.3 - 10, realigned))
    return rows


def live(
    folder: Path,
    references: Sequence[str] = (LIVE_NAMES[0], LIVE_NAMES[-1]),
    rows: Sequence[LiveRow] | None = None,
    empty: bool = False,
) -> Path:
    """LIVE: MATLAB files in the order of the numbers, copies of references among the images, references in cells.

    Args:
        folder: is made.
        references: whose images are made; None: all.
        rows: see `LiveRow`; None: made up.
        empty: images have no content.
    """
    rows = rows or made_up_live()
    listed = {row[:2]: row for row in rows}
    entries = [(kind, i) for kind, (total, _) in LIVE_COUNTS.items() for i in range(1, total + 1)]
    columns: dict[str, list[float]] = {"dmos": [], "dmos_new": [], "dmos_std": [], "orgs": []}
    names = np.empty((1, len(entries)), dtype=object)
    for at, (kind, i) in enumerate(entries):
        row = listed.get((kind, i))
        reference = row[2] if row else rows[at % 700][2]
        names[0, at] = np.array([reference])
        values = (row[3], row[4], 2.0, 0) if row else (0.0, 0.0, 0.0, 1)
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
        needed = i == LIVE_COUNTS[kind][0]
        if reference in references or needed:
            image(folder / kind / f"img{i}.bmp", empty or needed)
        if reference in references:
            image(folder / "refimgs" / reference, empty)
        (folder / kind).mkdir(parents=True, exist_ok=True)
        (folder / kind / "info.txt").touch()
    matrix = {name: np.array([column]) for name, column in columns.items()}
    savemat(folder / "dmos.mat", {name: matrix[name] for name in ("dmos", "orgs")})
    savemat(folder / "dmos_realigned.mat", {name: matrix[name] for name in ("dmos_new", "dmos_std", "orgs")})
    savemat(folder / "refnames_all.mat", {"refnames_all": names})
    return folder


RAID_TYPES = ("rot", "trans", "scale", "gn")


def raid(folder: Path, references: Sequence[int] = (1, 24), empty: bool = False) -> Path:
    """RAID: a list whose first level is the image itself, images in sub-folders."""
    lines = ["Reference,Distorted,Curve_Value,Sigmas,Percept_scale,Estimated_MOS"]
    for kind, reference, level in itertools.product(range(4), range(1, 25), range(1, 11)):
        name = f"{RAID_TYPES[kind]}_img_{reference:02d}_level_{level:02d}.png"
        scale = round((level - 1) * (0.3 + 0.011 * kind) + 0.0007 * reference * (level > 1), 6)
        lines.append(f"img_{reference:02d}.png,{name},{scale / 4:.5f},0.2207109,{scale:g},{5.4 - scale / 2:.4f}")
        if reference in references and level > 1:  # the original is not there again
            image(folder / "images" / RAID_TYPES[kind] / name, empty)
    for reference in {*references} & {*range(1, 25)}:
        image(folder / "images" / "references" / f"img_{reference:02d}.PNG", empty)
    (folder / "perceptual_scales.csv").write_text("\r\n".join([*lines, ""]), newline="")
    return folder
