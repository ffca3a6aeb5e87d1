# SPDX-License-Identifier: Apache-2.0
"""A score: how a benchmark's items become one number, and all a reader needs to judge it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from clip_align.evaluation.items import Items
from clip_align.metrics.estimate import Estimate
from clip_align.record.schema import Role as Role

Panel = str  # of the figure: the name of a family, or one of a benchmark's own (lower case, words)


@dataclass(frozen=True)
class Score:
    """One number of a benchmark, self-describing: all of it goes into the record's first lines.

    name: last part of the key ``family/benchmark/name``.
    label: what a figure calls it.
    compute: from items to a value with its interval (float64), undefined with a reason.
    direction: what a higher value means, in words.
    higher_is_better: which end a best value is at, for best checkpoints and trackers' summaries; None, unless
        declared: neither (texture bias describes, it does not rate), so there is no best value.
    chance: the value of an observer who knows nothing; None where it has no single value.
    unit: what the interval resamples ("24 references, jackknife, t"); empty where it has none.
    axis: limits of the axis it is drawn on.
    ceilings, baselines: reference values by name; a panel draws those of its headlines as lines, the report's
        page lists them all.
    role: ``headline`` is drawn with its band, ``companion`` beside it (thinner), ``detail`` is in the
        record only.
    drawn_after: at how many evaluations running it must be defined before figures, console and
        trackers show it (2 for texture bias: one evaluation above the gate may be luck).
    drawn_after_of: name of the benchmark's score whose evaluations running count for that; None: its own.
    by: name of a column of the items (clusters or conditions): the score is recorded once more for each of its
        values, over the items that have it, as a detail ``<name>_<by>_<value>`` (``srocc_type_jpeg``).
    value: of such a detail, which value of ``by`` it is about; not for authors to give.
    clusters: names of the items' clusters that its interval resamples, in this order; (): as the items have them.
    flat_margin: for the verdict about rise and fall at the end, the margin below which a change counts as
        flat; None: no verdict about this score.
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
    role: Role = "detail"
    drawn_after: int = 1
    drawn_after_of: str | None = None
    flat_margin: float | None = None
    higher_is_better: bool | None = None
    by: str | None = None
    value: str | None = None
    clusters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        low, high = self.axis
        if low >= high:
            raise ValueError(f"score {self.name}: axis is {self.axis}; give (low, high) with low < high")

    def estimate(self, items: Items) -> Estimate:
        """The score of the items, its interval over the clusters it names."""
        return self.compute(items.clustered(*self.clusters) if self.clusters else items)
