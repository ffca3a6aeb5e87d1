# SPDX-License-Identifier: Apache-2.0
"""Samples that training did without, as events in the record: bad ones when they come and at the end; filtered ones."""

from __future__ import annotations

from typing import Any

from clip_align.data.bad_samples import BadSampleCounter, Causes, causes_of
from clip_align.processes.ranks import Ranks


class BadSampleLog:
    """Follows the tally of this rank's loader; what the index had left out was reported before step 0.

    Each sample counts once, however often it was met. ``tally`` None: the batches do not count.
    """

    def __init__(self, tally: BadSampleCounter | None) -> None:
        self._tally = tally or BadSampleCounter(1.0, 0.0, Causes(), 1)
        self._reported = self._filtered_reported = 0

    def news(self) -> dict[str, Any] | None:
        """Fields of an event when there are bad samples and at least twice as many as were reported."""
        met = self._tally.met
        if len(met) < max(1, 2 * self._reported):  # doubling: some ten lines for a thousand bad samples
            return None
        self._reported = len(met)
        return _event(causes_of(met), self._tally.stand_ins, self._tally.copies, "so far")

    def filtered(self) -> dict[str, Any] | None:
        """Fields of an event when samples were left out on purpose, and at least twice as many as were reported.

        Every rank reads the same shards: these numbers are those of all.
        """
        causes, kept = self._tally.filtered, self._tally.kept
        if causes.total < max(1, 2 * self._filtered_reported):
            return None
        self._filtered_reported = causes.total
        read = causes.total + kept
        message = f"data: {causes.total:,} of {read:,} samples read were left out as configured: {causes}"
        counts = {"filtered": causes.total, "kept": kept, "causes": dict(causes.counts)}
        return {"event": "filtered_samples", "message": message, **counts}

    def total(self, ranks: Ranks) -> dict[str, Any] | None:
        """Fields of an event about all ranks, on rank 0; None where nothing was skipped. Called on every rank."""
        tally = self._tally
        every = ranks.gather((list(tally.met), tally.stand_ins, tally.copies))
        # ranks may have met the same one in different epochs
        causes = causes_of(dict.fromkeys(sample for met, *_ in every for sample in met))
        if not causes.total:
            return None
        return _event(causes, sum(one[1] for one in every), sum(one[2] for one in every), "in this run")


def _event(causes: Causes, stand_ins: int, copies: int, when: str) -> dict[str, Any]:
    message = f"data: {causes.total:,} bad sample{'s' if causes.total > 1 else ''} skipped {when}: {causes}"
    if stand_ins:
        message += f"; samples of other batches stood in for them {stand_ins:,} times"
    if copies:
        message += (
            f"; {copies:,} places in batches had no other sample to take and are left out of the loss: an epoch of one "
            "batch has no other; take a smaller data.batch_size or more data"
        )
    repeats = {"stand_ins": stand_ins, "copies": copies}
    return {"event": "skipped_samples", "message": message, "skipped": causes.total, "causes": causes.counts, **repeats}
