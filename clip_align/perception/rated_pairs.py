# SPDX-License-Identifier: Apache-2.0
"""Image-quality databases: pairs of image files with people's opinion of them, and what their readers share.

A reader of `quality_databases` takes a folder and returns `RatedPair` objects. What it finds damaged is a `UserError`
of one line, under the option ``root`` of the benchmark that reads it.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clip_align.errors import UserError, option_problem, some_of

__all__ = [
    "Numbering",
    "RatedPair",
    "complete",
    "damaged",
    "entry",
    "files",
    "number",
    "numbered_pairs",
    "present",
    "spread",
    "text_lines",
]

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)


@dataclass(frozen=True)
class RatedPair:
    """One distorted image with its reference, and people's opinion of it.

    opinion: on the database's own scale, negated where a higher one means worse: higher = better in all databases.
    type: of the distortion. level: of its strength, from 1; None where the database has no common levels. cluster: name
    of the reference, which intervals resample.
    """

    reference: Path
    distorted: Path
    opinion: float
    type: str
    level: int | None
    cluster: str


def damaged(key: str, text: str) -> UserError:
    """The error for data that are not as their authors distribute them.

    Args:
        key: of the benchmark, ``family/name``.
        text: what, which file, which line, what would be valid.
    """
    return UserError(option_problem(key, "root", text))


def files(folder: Path, key: str) -> dict[str, Path]:
    """Entries of a folder by their names in lower case, hidden ones left out.

    Lists and disks differ in case (``i25.bmp``, ``I01.BMP``). UserError where two names differ in case only.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):  # macOS leaves ._i01.bmp beside i01.bmp
            continue
        other = found.setdefault(path.name.lower(), path)
        if other != path:
            raise damaged(key, f"{folder} has {other.name} and {path.name}, which differ in case only; remove one")
    return found


def entry(folder: Path, name: str, key: str) -> Path:
    """The file or folder below ``folder`` with this relative name, in whatever case; UserError if there is none."""
    at = folder
    for part in name.split("/"):
        found = files(at, key).get(part.lower()) if at.is_dir() else None
        if found is None:
            raise damaged(key, f"{at} lacks {part}; unpack the database again")
        at = found
    return at


def text_lines(path: Path, key: str) -> list[tuple[int, str]]:
    """Lines of a text file that are not blank, each with its number; line ends of any system are removed."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise damaged(key, f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise damaged(key, f"{path} is no text ({error}); unpack the database again") from error
    return [(i, line.strip()) for i, line in enumerate(text.splitlines(), 1) if line.strip()]


def number(text: str, where: str, key: str, low: float = -math.inf, high: float = math.inf) -> float:
    """An opinion as a finite number in a range; UserError for anything else.

    Args:
        text: as written.
        where: file and line, for the message.
        key: of the benchmark.
        low, high: range of the database's scale, both included.
    """
    value = float(text) if _NUMBER.fullmatch(text.strip()) else math.nan
    if math.isfinite(value) and low <= value <= high:
        return value
    scale = f" from {low:g} to {high:g}" if math.isfinite(low) else ""
    raise damaged(key, f"{where}: {text!r} is no opinion; valid: a number{scale}, written with a point")


def complete(names: Sequence[str], expected: Iterable[str], where: Path, key: str) -> None:
    """UserError unless ``names``, as a file lists them, are the ``expected`` ones, each once, in any order."""
    wanted, found = set(expected), set(names)
    twice = sorted(name for name in found if names.count(name) > 1) if len(found) < len(names) else []
    for what, wrong in (("lacks", wanted - found), ("has the unknown", found - wanted), ("has twice", twice)):
        if wrong:
            of = f"the {len(wanted):,} images of the database, each once"
            raise damaged(key, f"{where} {what} {some_of(sorted(wrong))}; valid: {of}")


def present(names: Iterable[str], found: Mapping[str, Path], folder: Path, key: str) -> None:
    """UserError unless the image files ``names``, in lower case, are among those ``found`` in a folder."""
    wanted = list(names)
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise damaged(
            key, f"{folder} lacks {some_of(missing)} of {len(set(wanted)):,} images; unpack the database again"
        )


@dataclass(frozen=True)
class Numbering:
    """Images that are named by numbers, ``i01_24_5.bmp``: reference, type and level, each from 1.

    references, levels: numbers of them. types: names, in the order of their numbers. suffix: of files, with its dot.
    level_digits: of the level's number; the others have two.
    """

    references: int
    types: Sequence[str]
    levels: int
    suffix: str
    level_digits: int = 1

    def names(self) -> Iterator[str]:
        """Names of all distorted images in lower case."""
        numbers = (range(1, count + 1) for count in (self.references, len(self.types), self.levels))
        for reference, type, level in itertools.product(*numbers):
            yield f"i{reference:02d}_{type:02d}_{level:0{self.level_digits}d}{self.suffix}"

    def condition(self, name: str) -> tuple[int, int]:
        """Numbers of type and level in a name."""
        return int(name[4:6]), int(name.removesuffix(self.suffix)[7:])


def numbered_pairs(
    of: Numbering,
    opinions: Mapping[str, float],
    folders: tuple[Path, Path],
    wanted: Callable[[int, int], bool],
    references: int | None,
    key: str,
) -> list[RatedPair]:
    """The pairs of a database whose images are named by numbers, in the order of ``opinions``.

    Args:
        of: its numbering.
        opinions: by name of the distorted image, in lower case.
        folders: of the references, and of the distorted images; may be one.
        wanted: whether a type and level, by their numbers, are.
        references: number of references, spread evenly; None: all.
        key: of the benchmark, for error messages.

    UserError for images that are missing.
    """
    kept = set(spread([f"i{n:02d}" for n in range(1, of.references + 1)], references))
    names = [name for name in opinions if name[:3] in kept and wanted(*of.condition(name))]
    originals, versions = (files(folder, key) for folder in folders)
    present((f"{name[:3]}{of.suffix}" for name in names), originals, folders[0], key)
    present(names, versions, folders[1], key)
    pairs = []
    for name in names:
        type, level = of.condition(name)
        label = f"{type:02d} {of.types[type - 1]}"
        reference = originals[f"{name[:3]}{of.suffix}"]
        pairs.append(RatedPair(reference, versions[name], opinions[name], label, level, name[:3].upper()))
    return pairs


def spread(names: Sequence[str], count: int | None) -> list[str]:
    """``count`` of the names, the first and the last among them, spread evenly; all for None or a larger count."""
    if count is None or count >= len(names):
        return list(names)
    return [names[round(i * (len(names) - 1) / (count - 1))] for i in range(count)]
