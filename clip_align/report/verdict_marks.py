# SPDX-License-Identifier: Apache-2.0
"""What a verdict marks on its curve: the windows it compared, stretches that rose or fell, the range of the peak."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from clip_align.analysis.verdict_sentence import lower

Direction = Literal["rose", "fell"]
Steps = tuple[int, int]  # first and last optimizer step


@dataclass(frozen=True)
class Stretch:
    """Steps between which a curve certainly rose or fell, by ``at_least`` in units of the score where that is known."""

    start: int
    end: int
    direction: Direction
    at_least: float | None = None

    @property
    def words(self) -> str:
        """``fell by at least .010 between steps 225 and 330``."""
        by = "" if self.at_least is None else f" by at least {lower(self.at_least)}"
        return f"{self.direction}{by} between steps {self.start} and {self.end}"


@dataclass(frozen=True)
class Marks:
    """What the verdict about the score ``key`` (full) says and marks.

    ``windows`` are those that its fall compares. ``peak`` is the range in which the peak lies, only where both a rise
    and a fall are shown.
    """

    key: str
    sentence: str = ""
    windows: tuple[Steps, ...] = ()
    stretches: tuple[Stretch, ...] = ()
    peak: Steps | None = None


def marks_of(verdict: Mapping[str, object]) -> Marks:
    """The marks of one ``verdict`` line; keys that its release did not write mark nothing."""
    stretches = tuple(_stretches(verdict.get("stretches")))
    # those of the fall that is shown, else those of the upper bound that the sentence gives
    of = "fall" if _above(verdict.get("fall/low")) else "compared"
    windows = tuple(w for side in ("earlier", "later") if (w := _steps(verdict.get(f"{of}/{side}"))))
    rose = _above(verdict.get("rise/low")) or any(s.direction == "rose" for s in stretches)
    fell = _above(verdict.get("fall/low")) or any(s.direction == "fell" for s in stretches)
    peak = _steps([verdict.get("peak_from"), verdict.get("peak_to")]) if rose and fell else None
    return Marks(str(verdict["score"]), str(verdict.get("sentence") or ""), windows, stretches, peak)


def _stretches(value: object) -> Iterator[Stretch]:
    for found in _listed(value):
        if isinstance(found, Mapping) and found.get("direction") in get_args(Direction):
            steps, least = _steps([found.get("first"), found.get("last")]), found.get("at_least")
            if steps:
                yield Stretch(*steps, found["direction"], float(least) if isinstance(least, (int, float)) else None)


def _listed(value: object) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []


def _steps(value: object) -> Steps | None:
    ends = _listed(value)
    if len(ends) != 2 or not all(isinstance(end, (int, float)) for end in ends):
        return None
    return int(ends[0]), int(ends[1])


def _above(value: object) -> bool:
    return isinstance(value, (int, float)) and value > 0
