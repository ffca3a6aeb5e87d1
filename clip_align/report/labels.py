# SPDX-License-Identifier: Apache-2.0
"""Numbers, ticks and label places of figures and pages: pure functions, no drawing."""

from __future__ import annotations

import math
import os
import re
import textwrap
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise

UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
SMALL = ((1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))


def number(value: float | None, digits: int = 2) -> str:
    """A score as text without a leading zero (``.62``, ``-.05``, ``1.20``); an en dash for None.

    From 100 on there are fewer digits behind the point.

    >>> number(0.6249), number(-0.05), number(1.2), number(12345.67), number(None)
    ('.62', '-.05', '1.20', '12,346', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if abs(value) >= 100:
        return f"{value:,.{max(0, digits - (1 if abs(value) < 1000 else digits))}f}"
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        return f".{'0' * digits}" if digits else "0"
    return text.replace("0.", ".", 1) if abs(float(text)) < 1 else text


def interval(low: float | None, high: float | None, digits: int = 2) -> str:
    """``[.59, .66]``, empty where there is no interval.

    Args:
        low, high: its ends, None without one.
        digits: behind the point.
    """
    return "" if low is None or high is None else f"[{number(low, digits)}, {number(high, digits)}]"


def count(value: float) -> str:
    """A count of samples in at most four characters and a unit: ``0``, ``640``, ``12.8k``, ``3M``.

    >>> count(0), count(640), count(12800), count(3e6), count(1.28e10)
    ('0', '640', '12.8k', '3M', '12.8G')
    """
    for size, unit in UNITS:
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def digits_for(span: float) -> int:
    """How many digits tell values apart that lie ``span`` from each other: 2 for scores between 0 and 1."""
    return max(2, math.ceil(-math.log10(span)) + 1) if span > 0 else 2


def tick_texts(ticks: Sequence[float]) -> list[str]:
    """The ticks of one axis, at equal distances, each with as many digits as that distance needs.

    >>> tick_texts([0.0, 0.5, 1.0]), tick_texts([0.0, 5e-5, 1e-4]), tick_texts([12e3, 12.5e3]), tick_texts([20.0, 25.0])
    (['.00', '.50', '1.00'], ['.00m', '.05m', '.10m'], ['12.0k', '12.5k'], ['20', '25'])
    """
    largest = max(map(abs, ticks), default=0.0)
    size, unit = next((u for u in UNITS if largest >= 10 * u[0]), (1.0, ""))
    if 0 < largest < 1e-3:
        size, unit = next((u for u in SMALL if largest >= 0.1 * u[0]), SMALL[-1])
    apart = min((b - a for a, b in pairwise(ticks)), default=size) / size
    fewest = 2 if largest < 10 * size else 0
    digits = next((d for d in range(fewest, 6) if _whole(apart * 10**d)), 6)
    return [f"{_plain(tick / size, digits)}{unit}" for tick in ticks]


def _plain(value: float, digits: int) -> str:
    return number(value, digits) if abs(value) < 100 else f"{value:.{digits}f}"


def _whole(value: float) -> bool:
    return round(value) > 0 and abs(value - round(value)) < 1e-6 * value


def duration(seconds: float | None) -> str:
    """``45 s``, ``3 min 05 s``, ``2 h 10 min``, ``3 d 4 h``; an en dash where unknown."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def compress(samples: float, linear: float) -> float:
    """Place of a sample count on the axis: linear near 0 (up to about ``linear``), logarithmic beyond it."""
    return math.log1p(max(samples, 0.0) / linear)


def sample_ticks(end: float, linear: float, room: float) -> list[float]:
    """Round sample counts: 0, and 1, 2 and 5 times powers of ten.

    Args:
        end: the last sample on the axis.
        linear: where the axis turns from linear to logarithmic, in samples.
        room: least distance between two ticks, as a fraction of the axis.
    """
    top = compress(end, linear)
    if top <= 0:
        return [0.0]
    ticks = [0.0]
    for exponent in range(int(math.log10(end)), -1, -1):  # powers of ten first: they are easiest to read
        ticks += _fitting([10.0**exponent], ticks, end, linear, room * top)
    for exponent in range(int(math.log10(end)), -1, -1):
        ticks += _fitting([2 * 10.0**exponent, 5 * 10.0**exponent], ticks, end, linear, room * top)
    return sorted(ticks)


def _fitting(wanted: Sequence[float], taken: list[float], end: float, linear: float, gap: float) -> list[float]:
    found: list[float] = []
    for tick in wanted:
        places = [compress(t, linear) for t in (*taken, *found)]
        if tick <= end and all(abs(compress(tick, linear) - p) >= gap for p in places):
            found.append(tick)
    return found


def spread_out(wanted: Sequence[float], heights: Sequence[float], low: float, high: float) -> list[float]:
    """Centres as near to ``wanted`` as possible so that boxes of the given heights do not overlap.

    All boxes lie within [low, high] where they fit at all; the order of ``wanted`` is kept. Least
    squares by pooling neighbours that collide.

    Args:
        wanted: centre of each box, in any unit.
        heights: of the boxes, in the same unit, as all else.
        low, high: ends of the room for them.
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    blocks: list[tuple[float, list[int]]] = []  # (sum of wanted starts of the block, its members)
    for i in order:
        members, total = [i], wanted[i] - heights[i] / 2
        while blocks:
            before_total, before = blocks[-1]
            height = sum(heights[k] for k in before)
            if _start(before_total, len(before), sum(heights[k] for k in before), low, high) + height <= _start(
                total, len(members), sum(heights[k] for k in members), low, high
            ):
                break
            blocks.pop()
            total = before_total + total - height * len(members)
            members = before + members
        blocks.append((total, members))
    centres = [0.0] * len(wanted)
    for total, members in blocks:
        y = _start(total, len(members), sum(heights[k] for k in members), low, high)
        for i in members:
            centres[i] = y + heights[i] / 2
            y += heights[i]
    return centres


def _start(total: float, n: int, height: float, low: float, high: float) -> float:
    return max(low, min(total / n, high - height))


def wrapped(text: str, width: int, lines: int) -> str:
    """Text broken at spaces, an ellipsis where it is cut.

    Args:
        text: on one line.
        width: characters of a line.
        lines: most of them.
    """
    parts = textwrap.wrap(text, width=max(width, 8))
    if len(parts) > lines:
        cut = parts[lines - 1]
        parts = [*parts[: lines - 1], (cut if len(cut) < width else cut.rsplit(" ", 1)[0]).rstrip(" ,;:") + " …"]
    return "\n".join(parts)


def named(
    label: str, value: str, room: float, measure: Callable[[str], float], lines: int = 2, tail: bool = False
) -> str:
    """``label: value`` in a narrow column.

    Args:
        label: shortened where it leaves the value no room.
        value: always whole.
        room: width of a line, in the unit of ``measure``.
        measure: width of a text.
        lines: most of them.
        tail: shorten the label in the middle instead of at its end, because names of runs mostly differ at their end.
    """

    def with_label(characters: int) -> list[str]:
        return broken(f"{shortened(label, characters, tail)}:\xa0{value}", room, measure)

    kept = bisect_right(range(1, len(label) + 1), lines, key=lambda n: len(with_label(n)))
    return "\n".join(with_label(kept)) if kept else value


def shortened(text: str, characters: int, tail: bool = False) -> str:
    """The text in at most so many characters, one of them an ellipsis where it is cut.

    Args:
        text: on one line.
        characters: most of them.
        tail: cut in the middle, so that the end stays.

    >>> shortened("learning-rate-3", 8), shortened("learning-rate-3", 8, tail=True)
    ('learnin…', 'le…ate-3')
    """
    if len(text) <= characters:
        return text
    head = (characters - 1) // 3 if tail else characters - 1
    return text[:head].rstrip(" ,;:") + "…" + (text[len(text) - characters + 1 + head :] if tail else "")


def short_home(text: str, home: str | None = None) -> str:
    """The text with ``~`` for the user's home folder wherever a path begins with it; ``home``: by default the user's.

    >>> short_home("data.shards=/home/me/a.tar /home/media", "/home/me")
    'data.shards=~/a.tar /home/media'
    """
    folder = (os.path.expanduser("~") if home is None else home).rstrip("/")
    if not os.path.isabs(folder or "~"):  # none known, or the root
        return text
    return re.sub(rf"(?<![\w/.~-]){re.escape(folder)}(?![\w.-])", "~", text)


def fitted(text: str, room: float, measure: Callable[[str], float]) -> str:
    """The text on one line, its end cut where it is wider than the line.

    Args:
        text: on one line.
        room: width of the line, in the unit of ``measure``.
        measure: width of a text.
    """
    if measure(text) <= room:
        return text
    return shortened(text, bisect_right(range(2, len(text)), room, key=lambda n: measure(shortened(text, n))) + 1)


def broken(text: str, room: float, measure: Callable[[str], float]) -> list[str]:
    """Lines broken at spaces; inside a word only where it is wider than a line.

    Args:
        text: on one line.
        room: width of a line, in the unit of ``measure``.
        measure: width of a text.
    """
    lines: list[str] = []
    for word in text.split(" "):
        if lines and measure(f"{lines[-1]} {word}") <= room:
            lines[-1] += f" {word}"
            continue
        while measure(word) > room and len(word) > 1:
            cut = _cut(word, room, measure)
            lines.append(word[:cut].rstrip("\xa0"))
            word = word[cut:].lstrip("\xa0")
        lines.append(word)
    return lines


def _cut(word: str, room: float, measure: Callable[[str], float]) -> int:
    """Where to break a word: before its value, else behind a joint, else where the line ends."""
    most = bisect_right(range(2, len(word)), room, key=lambda n: measure(word[:n])) + 1
    before_value = word.find("\xa0", 0, -1) + 1
    if 0 < before_value <= most:
        return before_value
    joint = max(word.rfind(sign, 0, most) for sign in "-_/=") + 1
    return joint if 2 * joint > most else most
