# SPDX-License-Identifier: Apache-2.0
"""The vertical axis of a panel: it fits the curves and their bands; what lies outside is marked at the margin."""

from __future__ import annotations

from matplotlib.ticker import MaxNLocator

from clip_align.report.panels import Panel

MARGIN = 0.06  # of the span, above and below


def limits(panel: Panel) -> tuple[float, float]:
    """Limits that hold every value, and bands and bounds as far as the scores' widest limits.

    Reference lines do not count: a ceiling of .99 would flatten a rise of .04. Without any value they do, inside the
    widest limits.
    """
    values = [p.value for c in panel.curves for p in c.points if p.value is not None]
    least, most = min([*values, panel.axis[0]]), max([*values, panel.axis[1]])
    wide = [v for c in panel.curves if not c.behind for p in c.defined for v in (p.low, p.high) if v is not None]
    wide += [y for bound in panel.bounds for _, y in bound.points]
    values += [min(max(v, least), most) for v in wide]
    if not values:
        values = [r.value for r in panel.references if least <= r.value <= most] or list(panel.axis)
    low, high = min(values), max(values)
    margin = MARGIN * (high - low) or 0.05 * abs(high) or 0.05
    return low - margin, high + margin


def side(value: float, ends: tuple[float, float]) -> int:
    """1 above the axis, -1 below it, 0 on it; ``ends`` are its limits."""
    return int(value > ends[1]) - int(value < ends[0])


def value_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values between the ends of a vertical axis, at equal distances.

    Args:
        low, high: its ends.
        most: number of the distances at most.
    """
    ticks = MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(t) for t in ticks if low <= t <= high]
