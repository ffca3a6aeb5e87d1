# SPDX-License-Identifier: Apache-2.0
"""One sheet of an Excel workbook (.xlsx) as rows of cells: values only, no formulas, formats or dates."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

__all__ = ["Cell", "read_sheet"]

Cell = str | float | None

_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_RELATIONS = "{http://schemas.openxmlformats.org/package/2006/relationships}"
_ID = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_COLUMN = re.compile(r"[A-Z]+")


def read_sheet(path: Path, sheet: str) -> list[list[Cell]]:
    """The rows of a sheet from its first one, empty ones too: numbers, texts, None for cells that are empty.

    Cells with an error (``#REF!``) hold that as a text. ValueError where the file is no workbook or has no such sheet.
    """
    try:
        with zipfile.ZipFile(path) as book:
            texts = _shared_texts(book)
            root = ElementTree.fromstring(book.read(_sheet_file(book, sheet)))
    except (zipfile.BadZipFile, ElementTree.ParseError, KeyError, EOFError, NotImplementedError) as error:
        raise ValueError(f"no Excel workbook ({error})") from error
    rows: list[list[Cell]] = []
    for row in root.iter(f"{_MAIN}row"):
        number = int(row.get("r") or len(rows) + 1)
        rows += [[] for _ in range(number - len(rows))]
        rows[number - 1] = _cells(row, texts)
    return rows


def _shared_texts(book: zipfile.ZipFile) -> list[str]:
    if "xl/sharedStrings.xml" not in book.namelist():
        return []
    root = ElementTree.fromstring(book.read("xl/sharedStrings.xml"))
    # an entry may be in several runs, each with its own format
    return ["".join(t.text or "" for t in entry.iter(f"{_MAIN}t")) for entry in root.iter(f"{_MAIN}si")]


def _sheet_file(book: zipfile.ZipFile, sheet: str) -> str:
    sheets = {
        entry.get("name"): entry.get(_ID)
        for entry in ElementTree.fromstring(book.read("xl/workbook.xml")).iter(f"{_MAIN}sheet")
    }
    if sheet not in sheets:
        raise ValueError(f"no sheet {sheet}; sheets: {', '.join(str(name) for name in sheets)}")
    links = ElementTree.fromstring(book.read("xl/_rels/workbook.xml.rels")).iter(f"{_RELATIONS}Relationship")
    targets = {link.get("Id"): link.get("Target") or "" for link in links}
    target = targets[sheets[sheet]]
    return target.lstrip("/") if target.startswith("/") else f"xl/{target}"


def _cells(row: ElementTree.Element, texts: list[str]) -> list[Cell]:
    cells: list[Cell] = []
    for column, value in _values(row, texts):
        at = len(cells) if column is None else column
        cells += [None] * (at - len(cells) + 1)
        cells[at] = value
    return cells


def _values(row: ElementTree.Element, texts: list[str]) -> Iterator[tuple[int | None, Cell]]:
    """Columns, from 0, and values of the cells that a row has."""
    for cell in row.iter(f"{_MAIN}c"):
        name, kind = _COLUMN.match(cell.get("r") or ""), cell.get("t")
        text = cell.findtext(f"{_MAIN}v")
        value: Cell = text
        if kind == "inlineStr":
            value = "".join(t.text or "" for t in cell.iter(f"{_MAIN}t"))
        elif text is not None and kind == "s":
            value = texts[int(text)]
        elif text is not None and kind in (None, "n"):
            value = float(text)
        yield _number(name[0]) if name else None, value


def _number(letters: str) -> int:
    """Number of a column from 0: A is 0, AA is 26."""
    number = 0
    for letter in letters:
        number = 26 * number + ord(letter) - ord("A") + 1
    return number - 1
