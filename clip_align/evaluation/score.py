# SPDX-License-Identifier: Apache-2.0
"""A score: how a benchmark's items become one number, and what a reader needs to interpret it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from clip_align.evaluation.items import Items
from clip_align.metrics.estimate import Estimate
from clip_align.record.schema import Role as Role

Panel = str  # panel of the figure: of a family, or of one benchmark (lower-case words)


@dataclass(frozen=True)
class Score:
    """One number of a benchmark with its description, which is written to the record's first lines.

    name: last part of the key ``family/benchmark/name``.
    label: its name in figures.
    compute: from items to an `Estimate`: a value with its interval (float64), or undefined with a reason.
    direction: meaning of a higher value, as text.
    higher_is_better: whether the best value is the highest, for best checkpoints and trackers' summaries; None: there
        is no best value (texture bias is descriptive).
    chance: the expected value of guessing; None where it has no single value.
    unit: what the interval resamples ("24 references, jackknife, t"); empty without an interval.
    axis: limits of the axis it is drawn on.
    ceilings, baselines: reference values by name; a panel draws those of its headlines, and of companions with a
        verdict, as lines; the report's page lists them all.
    context: what others report for comparison, on other images or by another protocol, by name; the report's page lists
        it below the panel and no line is drawn at it. context_source: where it is from, and what it is of.
    role: ``headline`` is drawn with its band, ``companion`` beside it (thinner; with ``has_verdict`` in
        a panel of its own), ``detail`` is in the record only.
    drawn_after: number of consecutive evaluations at which it must be defined before figures, console and trackers
        show it (2 for texture bias: a single evaluation above the gate may be chance).
    drawn_after_of: name of the benchmark's score whose consecutive evaluations are counted instead of its own.
    by: name of a column of the items (clusters or conditions): for each of its values the score over the items with
        that value is recorded too, as a detail ``<name>_<by>_<value>`` (``srocc_type_jpeg``).
    value: the value of ``by`` in such a detail; set by the framework only.
    clusters: names of the items' clusters that its interval resamples, in this order; (): as the items have them.
    has_verdict: whether the end of a run brings a verdict about its rise and fall; the rule is for ``srocc`` and
        ``within_level_srocc``.
    """

    name: str
    label: str
    compute: Callable[[Items], Estimate]
    direction: str
    chance: float | None = None
    unit: str = ""
    axis: tuple[float, float] = (0.0, 1.0)
    ceilings: Mapping[str, float] = field(default_factory=dict)
    baselines: Mapping[str, float] = field(default_factory=dict)
    context: Mapping[str, float] = field(default_factory=dict)
    context_source: str = ""
    role: Role = "detail"
    drawn_after: int = 1
    drawn_after_of: str | None = None
    has_verdict: bool = False
    higher_is_better: bool | None = None
    by: str | None = None
    value: str | None = None
    clusters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        low, high = self.axis
        if low >= high:
            raise ValueError(f"score {self.name}: axis is {self.axis}; give (low, high) with low < high")

    def estimate(self, items: Items) -> Estimate:
        """The score of the items, with its interval over ``clusters``."""
        # statistics resample the first clusters
        return self.compute(items.clustered(*self.clusters) if self.clusters else items)
