# SPDX-License-Identifier: Apache-2.0
"""Training samples that are found while the run is under way: shards are fetched, indexed and read window by window."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

from clip_align.data.bad_samples import BadSample, BadSampleCounter, Causes
from clip_align.data.held_out import MOST_BY_DEFAULT, HeldOutSamples
from clip_align.data.progress import Notify
from clip_align.data.samples import MIB
from clip_align.data.sampling_plan import Task
from clip_align.data.selection import check_selection
from clip_align.data.shared_memory import PREFETCH
from clip_align.data.streaming.held_out import collected
from clip_align.data.streaming.options import StreamingOptions
from clip_align.data.streaming.plan import Place, StreamedBatch, StreamingPlan
from clip_align.data.streaming.remote import shown
from clip_align.data.streaming.samples import StreamedSamples
from clip_align.data.streaming.shard_counts import LearntCounts, known_counts
from clip_align.data.streaming.shard_fetcher import FetchedShard
from clip_align.data.streaming.shard_supply import ShardSupply
from clip_align.data.streaming.tasks import StreamedTasks
from clip_align.data.training_set import LINES, check_enough
from clip_align.errors import RunError, UserError, visible


class StreamedSet:
    """A `TrainingSet` of shards that are read one window after the other.

    Args:
        data: the configured source.
        paths: of each source's shards.
        notes: lines for the user about them.
        seed: of the order.
        ranks: number of them.
        cache: folder of indexes and downloads.
        notify: takes lines and progress, also while the run is under way.
        accumulate: batches that are contrasted together: the plan deals them as one.
    """

    def __init__(
        self,
        data: StreamingOptions,
        paths: Sequence[Sequence[str]],
        notes: Sequence[str],
        seed: int,
        ranks: int,
        cache: Path,
        notify: Notify,
        accumulate: int = 1,
    ) -> None:
        self.data, self.ranks, self._cache, self._notify = data, ranks, cache, notify
        self._notes, self.accumulate = notes, accumulate
        self.urls = [url for part in paths for url in part]
        largest = max(source.weight for source, part in zip(data.shards, paths, strict=True) if part)
        self.plan = StreamingPlan(
            tuple(number for number, part in enumerate(paths) for _ in part),
            tuple(source.weight / largest for source in data.shards),
            seed,
            data.window_shards,
            data.batch_size * accumulate,
            ranks,
            data.epoch_samples if data.resampled else None,
        )
        self.settings = data.fetching(cache)
        self.reader = StreamedSamples(self.urls, self.settings, data.max_image_mb * MIB, 3 * data.window_shards)
        self._learnt = LearntCounts(cache)
        self._reported, self._checked = 0, False

    @cached_property
    def supply(self) -> ShardSupply:
        """Fetches the shards; its process is started by the first request."""
        return ShardSupply(self.urls, self.settings, self._notify)

    @cached_property
    def fingerprint(self) -> str:
        """Of the shards' names and all options that the order depends on; not of their content, which is read later."""
        names = [os.path.basename(urlsplit(url).path) for url in self.urls]
        order = (self.plan.window, self.plan.epoch_samples, self.plan.rates, self.held_out_limit)
        rules = [self.data.rules.of_samples] if self.data.rules.of_samples else []
        text = "\n".join(["streaming", *names, *map(str, self.plan.sources), str(order), *rules])
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]

    @cached_property
    def _counts(self) -> list[int | None]:
        return known_counts(self.urls, self._learnt, self.data.transfer)

    @property
    def samples(self) -> int | None:
        """Samples of all shards, bad ones among them; None if some shards' are not known, or some are filtered."""
        return None if self.data.where is not None else self._found

    @cached_property
    def _found(self) -> int | None:
        """Samples of all shards, whether they are used or not; None if some shards' are not known."""
        counts = [count for count in self._counts if count is not None]
        return sum(counts) if len(counts) == len(self.urls) else None

    @property
    def batches_per_epoch(self) -> int | None:
        """Batches of ``data.batch_size`` of each rank in an epoch; None where not known before it has ended."""
        whole = self._global_batches
        return None if whole is None else whole * self.accumulate

    @property
    def _global_batches(self) -> int | None:
        if self.plan.epoch_samples is not None:
            return self.plan.epoch_samples // self.plan.global_batch
        if self.samples is None or set(self.plan.rates) != {1.0}:
            return None
        return self.samples // self.plan.global_batch

    @property
    def held_out_count(self) -> int:
        """How many held-out samples benchmarks show: as configured, else as many as of large data anywhere."""
        return MOST_BY_DEFAULT if self.data.held_out is None else self.data.held_out

    @property
    def held_out_limit(self) -> str | None:
        """The largest hash of a key that is held out."""
        limit = self.settings.held_out
        return None if limit is None else f"{limit:016x}"

    @cached_property
    def held_out(self) -> HeldOutSamples:
        """`held_out_count` of the samples that are never trained on, from the first shards that hold them."""
        if self.settings.held_out is None:
            return HeldOutSamples(())
        count = self.held_out_count
        digest = hashlib.sha256(f"{self.fingerprint} {count}".encode()).hexdigest()[:16]
        kept = self._cache / "held_out" / f"{digest}.json"
        if not kept.is_file():
            self._check_first_window()
        found, note = collected(self.supply, self.reader, self.data, count, kept)
        if note:
            self._notify(note)
        return found

    def check(self, grad_batches: int) -> tuple[str, ...]:
        """Lines for the user before step 0. UserError if there are too few samples, as far as that is known."""
        if (samples := self.plan.epoch_samples or self._found) is not None:
            check_enough(samples, self.data.batch_size, self.ranks, self.accumulate, grad_batches)
        return (*map(visible, self._notes), self._summary(), *self._about_held_out())

    def captions(self, limit: int | None) -> Iterator[str]:
        """Captions of the shards that the first epoch begins with: reading all would take an epoch."""
        self._check_first_window()
        shards = self.plan.shards(0, 0).tolist()
        each = None if limit is None else -(-limit // len(shards))  # of each as many: captions of one may be alike
        self.supply.hold(shards)
        try:
            for captions in islice(self._captions_of(shards, each), limit):
                yield from captions
        except RunError as error:
            raise UserError(*error.problems) from error
        finally:
            self.supply.release(shards)

    def _captions_of(self, shards: Sequence[int], each: int | None) -> Iterator[list[str]]:
        """The captions of each sample, of the first ``each`` of every shard or of all."""
        for found in self.supply.wait(shards):
            samples = self.reader.shard(found.number)
            for number in range(found.samples)[:each]:
                try:
                    yield samples.captions(number)
                except BadSample:  # counted once training meets it
                    continue

    def counter(self) -> BadSampleCounter:
        """A new counter, which learns what indexes leave out while shards are found."""
        epoch = (self.batches_per_epoch or 10**9) * self.data.batch_size
        return BadSampleCounter(self.data.max_bad_share, 0.0, Causes(), epoch)

    def tasks(self, rank: int, start: Sequence[int], workers: int, counter: BadSampleCounter) -> Iterable[Task]:
        """The batches of one rank, endless; the first window is fetched before this returns.

        UserError where one of its shards cannot be used.
        """

        def learnt(shard: FetchedShard) -> None:
            self._report(shard)
            if rank == 0:
                self._learnt.learn(self.urls[shard.number], shard.found)

        in_making = PREFETCH * workers  # without workers a batch is made before the next task is asked for
        place = Place(*map(int, start))
        tasks = StreamedTasks(
            self.plan, rank, place, self.supply, in_making, counter, learnt, self._epoch_ended, self.accumulate
        )
        try:
            tasks.begin()
        except RunError as error:  # nothing was trained yet: a refusal
            raise UserError(*error.problems) from error
        if place == Place():  # later windows may hold sources of which nothing is used
            self._check_first_window()
        return tasks

    def _check_first_window(self) -> None:
        """UserError where ``data.where`` names a field that no sample of the first window has, or leaves none."""
        where = self.data.where
        if where is None or self._checked:
            return
        shards = self.plan.shards(0, 0).tolist()
        self.supply.hold(shards)
        try:
            fetched = self.supply.wait(shards)
        except RunError as error:
            raise UserError(*error.problems) from error
        finally:
            self.supply.release(shards)
        filtered = Causes()
        for shard in fetched:
            filtered.merge(shard.filtered)
        left = sum(shard.samples for shard in fetched)
        check_selection(where, [one.fields for one in fetched], left, filtered, f"the first {len(shards):,} shards")
        self._checked = True

    def _report(self, shard: FetchedShard) -> None:
        """Lines about a shard that lacks samples; after `LINES` of them no more."""
        url, found = shown(self.urls[shard.number]), shard.found
        expected = self._counts[shard.number]
        lines = [f"{url} {shard.note}: its {shard.samples:,} whole samples are used"] if shard.note else []
        if expected not in (None, found):
            lines.append(f"{url} holds {found:,} samples, and {expected:,} were expected")
        for line in lines:
            self._reported += 1
            if self._reported <= LINES:
                self._notify(visible(f"data.shards: {line}"))
            elif self._reported == LINES + 1:
                self._notify("data.shards: more shards lack samples, which are not named")

    def _epoch_ended(self, end: StreamedBatch, left_out: Causes, filtered: Causes) -> None:
        bad = f", {left_out.total:,} left out: {left_out}" if left_out.total else ""
        if filtered.total:
            bad += f", {filtered.total:,} left out by data.where: {filtered}"
        self._notify(
            f"data: epoch {end.epoch} ends after {end.used:,} samples in {end.used // self.plan.global_batch:,} "
            f"batches, {end.left:,} left over{bad}"
        )

    def _summary(self) -> str:
        known = [count for count in self._counts if count is not None]
        count = len(self.urls)
        if self._found is not None:
            text = f"{self._found:,} samples in {count:,} shards"
        elif known:
            text = f"{count:,} shards, about {round(sum(known) / len(known) * count):,} samples (as in {len(known):,})"
        else:
            text = f"{count:,} shards, whose numbers of samples show once they are read"
        if self.data.where is not None:
            text += f", of which those count that meet data.where={visible(self.data.where)}"
        if self.plan.epoch_samples is not None:
            text += f", drawn with replacement; an epoch is {self._global_batches:,} batches"
        elif self._global_batches is not None:
            text += f"; an epoch is {self._global_batches:,} batches"
        else:
            text += f"; an epoch reads {self.plan.shards_per_epoch:,} shards in batches"
        return f"data: {text} of {self.plan.global_batch:,}"

    def _about_held_out(self) -> tuple[str, ...]:
        if self.settings.held_out is None:
            return ()
        fraction = f"{self.data.held_out_fraction:.3g}"
        return (f"data: a fraction of {fraction} of the keys is never trained on (data.held_out_fraction)",)
