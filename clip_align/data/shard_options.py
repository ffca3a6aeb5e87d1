# SPDX-License-Identifier: Apache-2.0
"""The options that shards have in common, whether they are indexed before step 0 or streamed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from clip_align.config import DataConfig, Source
from clip_align.errors import Finding, Problem

if TYPE_CHECKING:
    from clip_align.data.sample_rules import SampleRules


@dataclass(frozen=True)
class ShardOptions(DataConfig):
    """``shards``: one path or pattern, or a list of them, optionally with weights.

    ``where``: condition on the fields of a sample's json, see `where.condition`; samples that do not meet it are left
    out. ``caption_fields``: where captions are, with the weight with which each is drawn: fields of the json, or
    ``txt``; None: in the txt, else in ``caption`` of the json. ``caption_lines``: each line of a txt is a caption.
    ``captions``: of several captions each epoch draws one, or the first is used as if there were no others.
    ``unique_keys``: of the samples of all shards with one key only the first is used.
    """

    shards: tuple[Source, ...] = ()
    where: str | None = None
    caption_fields: Mapping[str, float] | None = None
    caption_lines: bool = False
    captions: Literal["random", "first"] = "random"
    unique_keys: bool = False

    @property
    def rules(self) -> SampleRules:
        """These options, for whoever reads samples."""
        from clip_align.data.sample_rules import SampleRules

        fields = tuple((self.caption_fields or {}).items())
        return SampleRules(self.where, fields, self.caption_lines, self.captions == "first")

    def combinations(self, batches: int) -> Iterator[Finding]:
        """Problems of a condition that cannot be read, and of weights, too."""
        from clip_align.data.where import VALID, ConditionError, condition

        yield from super().combinations(batches)
        if self.where is not None:
            try:
                condition(self.where)
            except ConditionError as error:
                yield Finding(Problem("data.where", f"{self.where or 'empty'}: {error}; {VALID}"))
        weights = self.caption_fields
        if weights is None:
            return
        for name, weight in weights.items():
            if not (math.isfinite(weight) and weight > 0):
                what = f"{weight:g} is no weight; give a number above 0, or leave {name} out"
                yield Finding(Problem(f"data.caption_fields.{name}", what), ("data.caption_fields",))
        if not weights:
            what = "{} names no field; give some with weights, {txt: 1, synthetic: 3}, or null"
            yield Finding(Problem("data.caption_fields", what))
