# SPDX-License-Identifier: Apache-2.0
"""Which samples of a shard are used, and where their captions are, as the options of shards say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TXT = "txt"  # among fields with captions: the member of that extension


@dataclass(frozen=True)
class SampleRules:
    """See `shard_options.ShardOptions`, whose options these are. Plain values: other processes get them as JSON.

    where: condition on the fields of a sample's json; None: all samples. fields: that hold captions, with the weight of
    each; empty: the txt, else ``caption`` of the json. lines: each line of a txt is a caption. first: of several
    captions only the first one counts.
    """

    where: str | None = None
    fields: tuple[tuple[str, float], ...] = ()
    lines: bool = False
    first: bool = False

    @property
    def of_index(self) -> str:
        """What the index of a shard depends on; empty by default."""
        if self.where is None and not self.fields:
            return ""
        return repr((self.where, [name for name, _ in self.fields]))

    @property
    def of_samples(self) -> str:
        """What the samples depend on; empty by default."""
        return "" if self == SampleRules() else repr(self)

    @property
    def weights(self) -> Mapping[str, float]:
        """Weight of each field."""
        return dict(self.fields)


ALL_SAMPLES = SampleRules()


def rules_of(facts: Mapping[str, Any]) -> SampleRules:
    """From the values of its fields, as JSON has them."""
    return SampleRules(**{**facts, "fields": tuple((name, weight) for name, weight in facts["fields"])})
