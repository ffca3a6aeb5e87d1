# SPDX-License-Identifier: Apache-2.0
"""Bad samples that training met and did without: told in the record when they come, and in the end."""

from __future__ import annotations

from collections import Counter
from typing import Any

from clip_align.data.skipped import Causes, Tally
from clip_align.evaluation.ranks import Ranks


class Skips:
    """Follows the tally of this rank's loader; what the index had left out was told before step 0.

    ``tally`` None: the batches do not count.
    """

    def __init__(self, tally: Tally | None) -> None:
        self._tally = tally
        self._before = Counter(tally.causes.counts) if tally else Counter()
        self._told = 0

    def news(self) -> dict[str, Any] | None:
        """Fields of an event when there are bad samples and at least twice as many as were told of."""
        if self._tally is None or self._tally.bad < max(1, 2 * self._told):
            return None
        self._told = self._tally.bad
        return _event(self._causes(), "so far")

    def total(self, ranks: Ranks) -> dict[str, Any] | None:
        """Fields of an event about all ranks, on rank 0; None where nothing was skipped. Called on every rank."""
        everyone = Causes()
        for causes in ranks.gather(self._causes()):
            everyone.merge(causes)
        return _event(everyone, "in this run") if everyone.total else None

    def _causes(self) -> Causes:
        if self._tally is None:
            return Causes()
        counts = Counter(self._tally.causes.counts) - self._before
        return Causes(dict(counts), {cause: self._tally.causes.first[cause] for cause in counts})


def _event(causes: Causes, when: str) -> dict[str, Any]:
    message = f"data: {causes.total:,} bad sample{'s' if causes.total > 1 else ''} skipped {when}: {causes}"
    return {"event": "skipped_samples", "message": message, "skipped": causes.total, "causes": causes.counts}
