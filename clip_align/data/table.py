# SPDX-License-Identifier: Apache-2.0
"""Columns of a csv or tab-separated file, read strictly: a row that does not fit its header is an error."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TextIO

from clip_align.data.file_reader import open_file
from clip_align.errors import Problem, UserError, option_problem

Row = tuple[int, tuple[str | None, ...]]  # line in the file; the wanted fields, None where the row is too short


class ColumnsMissingError(Exception):
    """A table lacks columns. names: the missing ones. found: those it has."""

    def __init__(self, names: Sequence[str], found: Sequence[str]) -> None:
        super().__init__(", ".join(names))
        self.names, self.found = names, found


def read_columns(path: Path, names: Sequence[str], key: str, hint: str, skip_blanks: bool = False) -> list[Row]:
    """The rows of a table, empty lines left out.

    The first line names the columns. Fields are separated by commas; by tabs where the first line has a tab and no
    comma. Between commas a field may be quoted; between tabs a quote is a character like any other.

    Args:
        path: of the file, in UTF-8.
        names: of the wanted columns, in the order of the result.
        key: the option that error messages name, ``data.csv``, or a benchmark's key whose option ``csv`` it is.
        hint: advice for a row with too many fields.
        skip_blanks: ignore blanks after commas.

    Raises:
        ColumnsMissingError: the table lacks some of ``names``.
        UserError: for rows longer than the header, unpaired quotes, a wanted column that occurs twice, other
            encodings.
        OSError: the file cannot be read.
    """
    open_file(str(path)).close()  # refuses a named pipe, which would block and can be read only once
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read(file, names, key, path, hint, skip_blanks)
    except UnicodeDecodeError as error:
        raise UserError(_problem(key, f"{path} is not a csv in UTF-8 ({error}); save it as one")) from error


def benchmark_columns(
    path: Path,
    names: Sequence[str],
    key: str,
    option: str,
    hint: str,
    *,
    if_missing: Mapping[str, str] = MappingProxyType({}),
    skip_blanks: bool = False,
) -> list[Row]:
    """`read_columns` for a benchmark: a file that cannot be read, and a missing column, are problems of its option.

    Args:
        path, names, hint, skip_blanks: as for `read_columns`.
        key: of the benchmark.
        option: that names the file.
        if_missing: what to do, by the name of a missing column.

    UserError.
    """
    try:
        return read_columns(path, names, key, hint, skip_blanks)
    except OSError as error:
        raise UserError(option_problem(key, option, f"cannot read {path}: {error.strerror}")) from error
    except ColumnsMissingError as error:
        what = f"{path} has no column {', '.join(error.names)}; columns found: {', '.join(error.found) or 'none'}"
        advice = next((f"; {if_missing[name]}" for name in error.names if name in if_missing), "")
        raise UserError(option_problem(key, option, what + advice)) from None


def _read(file: TextIO, names: Sequence[str], key: str, path: Path, hint: str, skip_blanks: bool) -> list[Row]:
    first = file.readline()
    file.seek(0)  # the reader takes the header itself: a quoted name may hold a line break
    if "\t" in first and "," not in first:
        numbered = _numbered(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE), key, path)
    else:
        numbered = _numbered(csv.reader(file, strict=True, skipinitialspace=skip_blanks), key, path)
    header = next(numbered, (0, []))[1]  # an empty file has no columns
    return list(_rows(numbered, len(header), _places(header, names, key, path), key, path, hint))


def _numbered(reader: Any, key: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows of a csv reader with the numbers of the lines in which they begin."""
    line = 1
    try:
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 1  # a quoted field may span lines
    except csv.Error as error:
        what = (
            f"{path}, line {line}: {error}; a quoted field ends with its quote and doubles those inside: "
            '"a ""red"" disc, large"; between tabs quotes are plain characters'
        )
        raise UserError(_problem(key, what)) from error


def _places(header: Sequence[str], names: Sequence[str], key: str, path: Path) -> list[int]:
    missing = [name for name in names if name not in header]
    if missing:
        raise ColumnsMissingError(missing, header)
    for name in names:
        if header.count(name) > 1:
            what = f"{path} has the column '{name}' {header.count(name)} times; rename all but one"
            raise UserError(_problem(key, what))
    return [header.index(name) for name in names]


def _rows(
    numbered: Iterator[tuple[int, list[str]]], columns: int, places: Sequence[int], key: str, path: Path, hint: str
) -> Iterator[Row]:
    """The fields at ``places``; UserError, after all rows, if any row is too long."""
    long: list[tuple[int, int]] = []
    for line, row in numbered:
        if len(row) > columns:
            long.append((line, len(row)))
        yield line, tuple(row[place] if place < len(row) else None for place in places)
    if long:
        line, fields = long[0]
        more = f" (and {len(long) - 1:,} more row{'s' if len(long) > 2 else ''})" if len(long) > 1 else ""
        what = f"{path}, line {line}: {fields} fields, the header has {columns}{more}; {hint}"
        raise UserError(_problem(key, what))


def _problem(key: str, text: str) -> Problem:
    return option_problem(key, "csv", text) if "/" in key else Problem(key, text)
