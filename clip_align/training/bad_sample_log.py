# SPDX-License-Identifier: Apache-2.0
"""Bad samples that training met and did without: told in the record when they come, and in the end."""

from __future__ import annotations

from typing import Any

from clip_align.data.bad_samples import BadSampleCounter, Causes, causes_of
from clip_align.processes.ranks import Ranks


class BadSampleLog:
    """Follows the tally of this rank's loader; what the index had left out was told before step 0.

    Each sample counts once, however often it was met. ``tally`` None: the batches do not count.
    """

    def __init__(self, tally: BadSampleCounter | None) -> None:
        self._met = tally.met if tally else {}
        self._told = 0

    def news(self) -> dict[str, Any] | None:
        """Fields of an event when there are bad samples and at least twice as many as were told of."""
        if len(self._met) < max(1, 2 * self._told):
            return None
        self._told = len(self._met)
        return _event(causes_of(self._met), "so far")

    def total(self, ranks: Ranks) -> dict[str, Any] | None:
        """Fields of an event about all ranks, on rank 0; None where nothing was skipped. Called on every rank."""
        everyone = causes_of(dict.fromkeys(sample for met in ranks.gather(list(self._met)) for sample in met))
        return _event(everyone, "in this run") if everyone.total else None


def _event(causes: Causes, when: str) -> dict[str, Any]:
    message = f"data: {causes.total:,} bad sample{'s' if causes.total > 1 else ''} skipped {when}: {causes}"
    return {"event": "skipped_samples", "message": message, "skipped": causes.total, "causes": causes.counts}
