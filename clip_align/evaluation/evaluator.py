# SPDX-License-Identifier: Apache-2.0
"""A run's evaluations: benchmarks are prepared once, then evaluated event by event, on all ranks together."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import ArrayLike

from clip_align.data.progress import Notify, Progress
from clip_align.errors import RunError, UserError
from clip_align.evaluation.benchmark import Benchmark
from clip_align.evaluation.description import described
from clip_align.evaluation.encode import Context, EncodedFeatures, encode
from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.evaluation.evaluation_mode import evaluating, same_random_state
from clip_align.evaluation.event import PreparedBenchmark, StimulusUnion, as_fields, benchmark_results, failed
from clip_align.evaluation.items import Items
from clip_align.evaluation.prepare import BenchmarkPlan, jobs_of, opened, planned, refuse_same_keys
from clip_align.evaluation.render_stimuli import ensure
from clip_align.evaluation.schedule import Schedule
from clip_align.evaluation.scoring import BenchmarkResult, ContractError, difference, refuse_names
from clip_align.evaluation.weights import OWN, Swap
from clip_align.processes.ranks import Ranks
from clip_align.record.record import Position

Scores = Mapping[str, float | None]
Listener = Callable[[int, Scores], None]
DEFAULT_BATCH_SIZE = 256
DEFAULT_SCHEDULE = Schedule()


class RecordWriter(Protocol):
    """What an event writes to: the methods of `Record` that it calls, with their arguments."""

    def append(self, kind: str, position: Position, fields: Mapping[str, Any], /) -> None: ...  # noqa: D102
    def write_items(  # noqa: D102
        self,
        key: str,
        step: int,
        ids: Sequence[str],
        clusters: Mapping[str, ArrayLike],
        conditions: Mapping[str, ArrayLike],
        human: ArrayLike,
        model: Mapping[str, ArrayLike],
        every: int,
        /,
    ) -> None: ...
    def items_differ(  # noqa: D102
        self,
        key: str,
        ids: Sequence[str],
        clusters: Mapping[str, ArrayLike],
        conditions: Mapping[str, ArrayLike],
        human: ArrayLike,
        /,
    ) -> Path | None: ...


def _never() -> bool:
    return False


def _to_stderr(line: str | Progress) -> None:
    print(line, file=sys.stderr, flush=True)


def _nowhere(text: str) -> None:
    """The default ``log``: discards the text."""


@dataclass(frozen=True)
class EvaluationSettings:
    """The settings that all callbacks of a run have in common (``callbacks.base.attach``); only ``cache`` is required.

    cache: folder of files that are made once; images are in ``stimuli/`` below it.
    record: the record that rank 0 writes, None on the other ranks. None on rank 0: a record in ``clip-align/`` under
        the trainer's log folder.
    batch_size: images per forward pass, on every rank; the smallest of it and those of the callbacks, else 256.
    schedule: which steps are evaluated before the regular ones.
    max_steps: last optimizer step of the run; None: the trainer's ``max_steps``.
    evaluated_model: the model under evaluation; None: found in the LightningModule.
    position: from an optimizer step to its `Position` (samples seen, epoch, seconds); None: counted from the batches.
    interrupted: called before an event and between its batches, equally often on every rank; must return the same
        value on all ranks. Once it returns True the event is dropped: nothing is recorded for that step.
    notify: shows a line or progress to the user; called on rank 0.
    log: writes a text to the log file only (tracebacks of failed benchmarks); called on rank 0.
    listeners: called on all ranks with (step, scores by key, None where undefined) once an event is recorded; the
        best checkpoint is saved in one, with exactly the weights that were scored.
    weights: by name, context managers inside which the model has that set of weights (`weights.swapped`); every
        event encodes with each. Scores of the first set have plain keys, those of others the suffix ``@<name>``.
    notes: returns further numbers for the line of an evaluation, by key; called on rank 0.
    """

    cache: Path
    record: RecordWriter | None = None
    batch_size: int | None = None
    schedule: Schedule = DEFAULT_SCHEDULE
    max_steps: int | None = None
    evaluated_model: EvaluatedModel | None = None
    position: Callable[[int], Position] | None = None
    interrupted: Callable[[], bool] = _never
    notify: Notify = _to_stderr
    log: Callable[[str], None] = _nowhere
    listeners: Sequence[Listener] = ()
    weights: Mapping[str, Swap] = field(default_factory=lambda: dict(OWN))
    notes: Callable[[], Mapping[str, float]] = dict

    def __post_init__(self) -> None:
        wrong = [name for name in self.weights if not re.fullmatch(r"[a-z0-9_]+", name)]
        if wrong or not self.weights:
            raise ValueError(f"weights: {wrong or 'none'}; give sets named by lower-case letters, digits, underscores")


@dataclass(frozen=True, eq=False)
class EncodingPass:
    """Benchmarks whose images one model encodes together, in one precision.

    union: their distinct images, pairs and texts. full_precision: whether the run's autocast is left out.
    """

    evaluated_model: EvaluatedModel
    full_precision: bool
    benchmarks: Sequence[PreparedBenchmark]
    union: StimulusUnion


class Evaluator:
    """The benchmarks of one run and their models: call ``prepare`` once, then ``evaluate`` at each event.

    In the record, ``time/evaluation_seconds`` is the duration of encoding and scoring, ``time/evaluation_fraction`` the
    fraction of the time since training began that all events took, including recording and listeners (a best
    checkpoint), except those of the current event, whose line is written before them.

    Args:
        benchmarks: with the model under evaluation of each, in the same order on all ranks; UserError for two with the
            same key.
        settings: see there; ``record`` is None on all ranks but the first.
        ranks: the process group.
        position: from an optimizer step to its `Position`.
    """

    def __init__(
        self,
        benchmarks: Sequence[tuple[Benchmark, EvaluatedModel]],
        settings: EvaluationSettings,
        ranks: Ranks,
        position: Callable[[int], Position],
    ) -> None:
        refuse_same_keys([benchmark for benchmark, _ in benchmarks])
        self.settings, self.ranks, self.position = settings, ranks, position
        self._evaluated_models = {benchmark.key: evaluated_model for benchmark, evaluated_model in benchmarks}
        self.benchmarks = {benchmark.key: benchmark for benchmark, _ in benchmarks}
        self._prepared: dict[str, PreparedBenchmark] = {}
        # by keys of the due benchmarks: the same few combinations recur
        self._unions: dict[tuple[str, ...], StimulusUnion] = {}
        # numbers of items and of scores in the last benchmark line of each key
        self._described: dict[str, tuple[int | None, int]] = {}
        self._first_items: dict[str, Items] = {}
        self._warned: set[str] = set()  # errors that were recorded, once each
        self._started = time.monotonic()
        self._spent = 0.0  # seconds of all events so far

    def prepare(self, local_rank: int = 0) -> None:
        """List, render and open all images, before step 0: local rank 0 of each machine renders, the others wait."""
        ranks = self.ranks
        with same_random_state():
            plans = ranks.together(self._planned, UserError, "preparation")
            for key, plan in plans.items():
                if plan.reason is not None:
                    self._notify(f"{key}: null in this run: {plan.reason}")
            jobs = ranks.together(lambda: jobs_of(plans.values(), self.settings.cache), UserError, "preparation")
            ranks.together(
                lambda: ensure(jobs.values(), self._notify) if local_rank == 0 else None, UserError, "preparation"
            )
            self._prepared = ranks.together(lambda: opened(plans, jobs), UserError, "preparation")

    def begin(self) -> None:
        """Start the clock of ``time/evaluation_fraction``; call when training begins."""
        self._started = time.monotonic()

    @property
    def warnings(self) -> list[str]:
        """Assumptions made about the models, a line each."""
        return sorted(
            {line for evaluated_model in self._evaluated_models.values() for line in evaluated_model.warnings}
        )

    def _planned(self) -> dict[str, BenchmarkPlan]:
        plans: dict[str, BenchmarkPlan] = {}
        for key, benchmark in self.benchmarks.items():
            benchmark.scored = False
            benchmark.tables.clear()
            plans[key] = planned(benchmark, self._evaluated_models[key])
            refuse_names(benchmark)
        return plans

    def evaluate(self, step: int, due: Iterable[str], context: Context) -> Scores | None:
        """One event: encode, score, record, call the listeners.

        Args:
            step: optimizer steps done.
            due: keys of the benchmarks, in the same order on all ranks.
            context: the run's precision (autocast).

        Returns:
            Scores by full key, None where undefined; None instead if the event was interrupted.

        RunError on all ranks if one rank fails.
        """
        start = time.monotonic()
        try:
            return self._event(step, [self._prepared[key] for key in due], context, start)
        finally:
            self._spent += time.monotonic() - start

    def _event(self, step: int, chosen: Sequence[PreparedBenchmark], context: Context, start: float) -> Scores | None:
        with same_random_state():
            results = self._results(chosen, context)
            if results is None:
                return None
            self.ranks.together(lambda: self._recorded(step, chosen, results, time.monotonic() - start), RunError)
            # without items, which only rank 0 has
            on_all_ranks = self.ranks.broadcast({k: replace(r, items=None) for k, r in results.items()})
            scores = {f"{k}/{name}": e.value for k, r in on_all_ranks.items() for name, e in r.estimates.items()}
            for listener in self.settings.listeners:
                listener(step, scores)
        return scores

    def _results(self, due: Sequence[PreparedBenchmark], context: Context) -> dict[str, BenchmarkResult] | None:
        """Results of all due benchmarks by key on rank 0, empty elsewhere; None when interrupted."""
        results: dict[str, BenchmarkResult] = {}
        for one in self._passes(due):
            group, union = one.benchmarks, one.union
            with evaluating(one.evaluated_model.model):
                precision, settings = nullcontext if one.full_precision else context, self.settings
                answers = encode(
                    one.evaluated_model, union.request, self.batch_size, self.ranks, precision,
                    settings.interrupted, settings.weights,
                )  # fmt: skip
                if answers is None:
                    return None
                # an error on rank 0 is raised on all ranks
                results.update(self.ranks.together(lambda: self._scored(union, group, answers)))  # noqa: B023
        return {p.benchmark.key: results[p.benchmark.key] for p in due if p.benchmark.key in results}

    def passes(self, due: Iterable[str]) -> list[EncodingPass]:
        """What an event encodes: one pass over the distinct images for each model and precision.

        Args:
            due: keys of the benchmarks.
        """
        return self._passes([self._prepared[key] for key in due])

    def _passes(self, due: Sequence[PreparedBenchmark]) -> list[EncodingPass]:
        groups: dict[tuple[int, bool], list[PreparedBenchmark]] = {}
        for prepared in due:
            model, full_precision = self._evaluated_models[prepared.benchmark.key], prepared.benchmark.full_precision
            groups.setdefault((id(model), full_precision), []).append(prepared)
        return [
            EncodingPass(self._evaluated_models[group[0].benchmark.key], full_precision, group, self._union(group))
            for (_, full_precision), group in groups.items()
        ]

    @property
    def batch_size(self) -> int:
        """Images per forward pass."""
        given = (self.settings.batch_size, *(b.batch_size for b in self.benchmarks.values()))
        return min((size for size in given if size is not None), default=DEFAULT_BATCH_SIZE)

    def _scored(
        self, union: StimulusUnion, group: Sequence[PreparedBenchmark], answers: Mapping[str, EncodedFeatures]
    ) -> dict[str, BenchmarkResult]:
        if self.ranks.rank != 0:
            return {}
        return {key: self._same_items(key, result) for key, result in benchmark_results(union, group, answers).items()}

    def _same_items(self, key: str, result: BenchmarkResult) -> BenchmarkResult:
        """``result``, or a failed one if its items are not those that the record has under this key."""
        items = result.items
        if items is None:
            return result
        before = self._first_items.get(key)
        if before is None:
            recorded = self.settings.record and self.settings.record.items_differ(
                key, items.ids, items.clusters, items.conditions, items.human
            )
            if recorded:
                line = f"its items are not those of {recorded}; a callback with other items needs another name=…"
                return failed(self._prepared[key], list(self.settings.weights), ContractError(line))
            self._first_items[key] = items
        elif what := difference(before, items):
            return failed(
                self._prepared[key],
                list(self.settings.weights),
                ContractError(f"its items changed ({what}); they are fixed for a run"),
            )
        return result

    def _union(self, group: Sequence[PreparedBenchmark]) -> StimulusUnion:
        keys = tuple(prepared.benchmark.key for prepared in group)
        if keys not in self._unions:
            self._unions[keys] = StimulusUnion(group)
        return self._unions[keys]

    def _recorded(
        self, step: int, due: Sequence[PreparedBenchmark], results: Mapping[str, BenchmarkResult], seconds: float
    ) -> None:
        record = self.settings.record
        if self.ranks.rank != 0 or record is None:
            return
        position = self.position(step)
        for prepared in due:
            benchmark, result = prepared.benchmark, results[prepared.benchmark.key]
            items = result.items
            self._warn(record, benchmark.key, result, position)
            self._describe(record, benchmark, items, position)
            if items is not None:
                every = benchmark.every_n_steps
                record.write_items(
                    benchmark.key, step, items.ids, items.clusters, items.conditions, items.human, items.model, every
                )
        elapsed = max(time.monotonic() - self._started, 1e-9)
        spent = self._spent + seconds  # recording and listeners of this event are counted in the next one
        times = {"time/evaluation_seconds": seconds, "time/evaluation_fraction": min(1.0, spent / elapsed)}
        record.append("evaluation", position, {**as_fields(results), **self.settings.notes(), **times})

    def _describe(self, record: RecordWriter, benchmark: Benchmark, items: Items | None, position: Position) -> None:
        """Write the benchmark's line: at its first event, and again when its number of items or scores changes."""
        # while no event had items, their number is unknown (None)
        n = self._described.get(benchmark.key, (None, 0))[0] if items is None else len(items)
        about = described(benchmark, n, next(iter(self.settings.weights)))
        known = n, len(about["scores"])
        if self._described.get(benchmark.key) != known:
            record.append("benchmark", position, about)
            self._described[benchmark.key] = known

    def _warn(self, record: RecordWriter, key: str, result: BenchmarkResult, position: Position) -> None:
        """Record a warning for each distinct error of a benchmark, and write its traceback to the log."""
        if result.failure is None:
            return
        reason = next(iter(result.estimates.values())).reason
        if f"{key}: {reason}" in self._warned:
            return
        self._warned.add(f"{key}: {reason}")
        message = f"{key}: {reason}; its scores are null at step {position.global_step}, training continues"
        record.append("event", position, {"event": "warning", "message": message})
        self.settings.log(
            f"{key}: traceback of what it raised at step {position.global_step}\n{result.failure.rstrip()}"
        )

    def _notify(self, line: str | Progress) -> None:
        if self.ranks.rank == 0:
            self.settings.notify(line)
