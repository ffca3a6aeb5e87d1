# SPDX-License-Identifier: Apache-2.0
"""A data set that its authors distribute: what it is, where to get it, and whether a folder holds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from clip_align.errors import Problem, UserError, option_problem, some_of

__all__ = ["Download", "lacking"]

NAMED = 3  # missing paths that an error message lists


@dataclass(frozen=True)
class Download:
    """A data set as its authors distribute it.

    name: title by which the field knows it (``TID2013``). what: what it holds, in a few words. address: where its
    authors offer it. size: of the download, as text (``0.9 GB``). terms: licence or conditions, as its authors state
    them. citation: of the paper. needed: paths below its folder without which it is not whole, in the authors'
    spelling; upper and lower case are not distinguished, and ``*`` stands for any part of a name. places: sub-folders
    that may hold them instead of the folder itself, as in a clone of the authors' repository.
    """

    name: str
    what: str
    address: str
    size: str
    terms: str
    citation: str
    needed: tuple[str, ...]
    places: tuple[str, ...] = ()

    def missing(self, root: Path) -> list[str]:
        """Those of ``needed`` that are not below ``root``; all of them where there is no such folder.

        None where one of the ``places`` below it holds them all.
        """
        below = self._missing(root)
        return [] if below and self._place(root) is not None else below

    def folder(self, root: str, benchmark: str) -> Path:
        """The folder ``root`` if it holds the data set, or the one of ``places`` below it that does.

        Args:
            root: as typed; ``~`` stands for the user's home.
            benchmark: key of the benchmark that needs it, for the error message.

        UserError with the expected tree and the address where something is missing.
        """
        place = Path(root).expanduser()
        missing = self._missing(place)
        if not missing:
            return place
        if (inside := self._place(place)) is not None:
            return inside
        what = f"{place} lacks {some_of(missing, NAMED)}" if place.is_dir() else f"no such folder: {place}"
        text = (
            f"{what}; expected below it: {', '.join(self.needed)}. {self.name} ({self.size}) is at {self.address}; "
            f"unpack it there, or name its folder with callbacks.{benchmark.rpartition('/')[2]}.root=…"
        )
        found = option_problem(benchmark, "root", text)
        raise UserError(Problem(found.key, found.text, missing=True, shown=found.shown))

    def verified_folder(self, root: Path) -> Path:
        """As `folder`, for a command with a ``root=`` of its own; UserError names what is missing, and the address."""
        missing = self.missing(root)
        if missing:
            what = f"{root} is not the data set: it lacks {', '.join(missing[:NAMED])}, …; it is at {self.address}"
            raise UserError(Problem("root", what))
        return self.folder(str(root), self.name)

    def _missing(self, folder: Path) -> list[str]:
        return lacking(folder, self.needed)

    def _place(self, root: Path) -> Path | None:
        return next((root / place for place in self.places if not self._missing(root / place)), None)


def lacking(folder: Path, needed: Sequence[str]) -> list[str]:
    """Those of the paths ``needed`` (see `Download`) that are not below ``folder``."""
    return [pattern for pattern in needed if not _matches(folder, pattern.split("/"))]


def _matches(folder: Path, parts: Sequence[str]) -> bool:
    """Whether something below ``folder`` is called so, in any case."""
    if not parts:
        return True
    pattern = parts[0].lower()
    try:
        # fnmatchcase: which names are equal must not depend on the operating system
        found = [one for one in folder.iterdir() if fnmatchcase(one.name.lower(), pattern)]
    except OSError:  # no folder, or one that cannot be read: it holds nothing that can be used
        return False
    return any(_matches(one, parts[1:]) for one in found)
