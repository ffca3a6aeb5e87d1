# SPDX-License-Identifier: Apache-2.0
"""Horizontal axes of a panel: samples or steps, logarithmic or linear."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from clip_align.report.axis_limits import value_ticks
from clip_align.report.labels import compress, count, sample_ticks
from clip_align.report.panels import Panel
from clip_align.report.score_curves import Point
from clip_align.report.svg_paths import Frame, Placed


@dataclass(frozen=True)
class Scale:
    """A horizontal axis from 0 to ``end`` (samples or steps), logarithmic beyond ``linear`` where that is given."""

    end: float
    linear: float | None

    def place(self, value: float) -> float:
        """0 at the start, 1 at the end."""
        if self.linear is None:
            return value / self.end
        return compress(value, self.linear) / compress(self.end, self.linear)

    def ticks(self) -> list[tuple[float, str]]:
        """Round values with their texts."""
        found = sample_ticks(self.end, self.linear, 0.13) if self.linear else value_ticks(0, self.end, 5)
        return [(tick, count(tick)) for tick in found] if self.end > 1 else [(0.0, "0")]


@dataclass(frozen=True)
class Plot:
    """Where samples and values of a panel are: its frame, and its horizontal axes by name (``samples log``)."""

    frame: Frame
    scales: Mapping[str, Scale]

    def x(self, samples: float) -> float:
        """Units of a number of samples on the axis that the page shows first."""
        return self.frame.x(self.scales["samples log"].place(samples))

    def seen_on(self) -> list[Callable[[float], float]]:
        """From samples to places on every axis that a page may show; those of steps are in proportion."""
        return [self.scales["samples log"].place, self.scales["samples linear"].place]

    def placed(self, points: Iterable[Point]) -> list[Placed]:
        """The points with their places."""
        return [(self.x(p.samples), p.value, p.low, p.high) for p in points]


def scales_of(panel: Panel, linear: float) -> dict[str, Scale]:
    """The panel's four axes, up to its last point.

    Args:
        panel: whose points they hold.
        linear: where a logarithmic one turns from linear, in samples.
    """
    points = [p for c in panel.curves for p in c.points]
    samples, steps = max((p.samples for p in points), default=1) or 1, max((p.step for p in points), default=1) or 1
    return {
        "samples log": Scale(samples, linear),
        "samples linear": Scale(samples, None),
        "steps log": Scale(steps, linear * steps / samples),
        "steps linear": Scale(steps, None),
    }


def step_at(panel: Panel, samples: int) -> int:
    """The step at so many samples, of the longest curve's points."""
    points = max((c.points for c in panel.curves), key=len, default=())
    at = bisect_left(points, samples, key=lambda p: p.samples)
    return points[min(at, len(points) - 1)].step if points else 0
