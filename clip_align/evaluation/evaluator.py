# SPDX-License-Identifier: Apache-2.0
"""A run's evaluations: benchmarks prepared once, then one event after another, on all ranks together."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from clip_align.data.progress import Notify, Progress
from clip_align.errors import RunError, UserError
from clip_align.evaluation.benchmark import Benchmark
from clip_align.evaluation.description import described
from clip_align.evaluation.encode import Context, EncodedFeatures, encode
from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.evaluation.evaluation_mode import evaluating, same_random_state
from clip_align.evaluation.event import PreparedBenchmark, StimulusUnion, as_fields, benchmark_results, failed
from clip_align.evaluation.items import Items
from clip_align.evaluation.prepare import Plan, jobs_of, opened, planned, refuse_same_keys
from clip_align.evaluation.render_stimuli import ensure
from clip_align.evaluation.scoring import BenchmarkResult, ContractError, difference, refuse_names
from clip_align.evaluation.weights import OWN, Swap
from clip_align.processes.ranks import Ranks
from clip_align.record.record import Position, Record

Scores = Mapping[str, float | None]
Listener = Callable[[int, Scores], None]
DEFAULT_BATCH_SIZE = 256


def _never() -> bool:
    return False


def _to_stderr(line: str | Progress) -> None:
    print(line, file=sys.stderr, flush=True)


def _nowhere(text: str) -> None:
    """A training without a log of its own."""


@dataclass(frozen=True)
class EvaluationSettings:
    """What a training run hands to its callbacks (``callbacks.base.attach``); all but ``cache`` has a default.

    cache: folder for what is made once; the images go to ``stimuli/`` below it.
    record: on rank 0 where evaluations are written; None there: ``clip-align/`` under the trainer's log folder.
    batch_size: images encoded at a time, on every rank; the smallest of it and those that callbacks give, else 256.
    early_steps: extra evaluations of the human and zero-shot families, below their ``every_n_steps``.
    max_steps: the last step where it is known; None: the trainer's ``max_steps``.
    evaluated_model: the model with size, normalization and tokenizer; None: found in the module.
    position: where a step is (samples seen, epoch, seconds); None: counted from the batches.
    interrupted: asked on every rank equally often, before an event and between its batches; has to answer
        alike on all ranks. Once it says True the event is dropped: nothing is recorded for that step.
    notify: takes lines and progress, on rank 0.
    weights: sets of weights that every event encodes with, by name: what to enter around the model so that it has
        them, in place, put back to the bit (`weights.swapped`). Plain keys are of the first set; others have
        theirs with a suffix, ``…/srocc@<name>``.
    log: takes what is for the log alone (tracebacks of benchmarks that failed), on rank 0.
    listeners: called on all ranks with (step, scores by key, None where undefined) once an event is
        recorded; a best checkpoint saves here, with exactly the weights that were scored.
    """

    cache: Path
    record: Record | None = None
    batch_size: int | None = None
    early_steps: tuple[int, ...] = (2, 8, 32, 64)
    max_steps: int | None = None
    evaluated_model: EvaluatedModel | None = None
    position: Callable[[int], Position] | None = None
    interrupted: Callable[[], bool] = _never
    notify: Notify = _to_stderr
    log: Callable[[str], None] = _nowhere
    listeners: Sequence[Listener] = ()
    weights: Mapping[str, Swap] = field(default_factory=lambda: dict(OWN))

    def __post_init__(self) -> None:
        wrong = [name for name in self.weights if not re.fullmatch(r"[a-z0-9_]+", name)]
        if wrong or not self.weights:
            raise ValueError(f"weights: {wrong or 'none'}; give sets named by lower-case letters, digits, underscores")


class Evaluator:
    """The benchmarks of one run with whom each asks: ``prepare`` once, then ``evaluate`` at each event.

    ``position`` tells where a step is; ``record`` is None on all ranks but the first. In the record,
    ``time/evaluation_seconds`` is what asking and scoring took, ``time/evaluation_fraction`` the fraction of the time
    since training began that all events took with their recording and listeners (a best checkpoint), those of the
    last event excepted: its line is written before.
    """

    def __init__(
        self,
        asked: Sequence[tuple[Benchmark, EvaluatedModel]],
        settings: EvaluationSettings,
        ranks: Ranks,
        position: Callable[[int], Position],
    ) -> None:
        refuse_same_keys([benchmark for benchmark, _ in asked])
        self.settings, self.ranks, self.position = settings, ranks, position
        self.record = settings.record  # may be given until the first event
        self.listeners: list[Listener] = list(settings.listeners)
        self.log = settings.log
        self._evaluated_models = {benchmark.key: evaluated_model for benchmark, evaluated_model in asked}
        self.benchmarks = {benchmark.key: benchmark for benchmark, _ in asked}
        self._prepared: dict[str, PreparedBenchmark] = {}
        self._unions: dict[tuple[str, ...], StimulusUnion] = {}
        self._introduced: dict[str, tuple[int | None, int]] = {}  # numbers of items, and of scores
        self._first_items: dict[str, Items] = {}
        self._warned: set[str] = set()
        self._started = time.monotonic()
        self._spent = 0.0

    def prepare(self, local_rank: int = 0) -> None:
        """List, make and open all images, before step 0: one process a machine makes them, the others wait."""
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
        """Training begins: from here on counts the fraction of time that evaluation takes."""
        self._started = time.monotonic()

    @property
    def warnings(self) -> list[str]:
        """What had to be guessed about the models, a line each."""
        return sorted(
            {line for evaluated_model in self._evaluated_models.values() for line in evaluated_model.warnings}
        )

    def _planned(self) -> dict[str, Plan]:
        plans: dict[str, Plan] = {}
        for key, benchmark in self.benchmarks.items():
            benchmark.scored = False
            benchmark.tables.clear()
            plans[key] = planned(benchmark, self._evaluated_models[key])
            refuse_names(benchmark)
        return plans

    def evaluate(self, step: int, due: Iterable[str], context: Context) -> Scores | None:
        """One event: ask, score, record and tell the listeners; None where it was interrupted.

        ``due``: keys, in the same order on all ranks. RunError on all ranks where one fails.
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
            shared = self.ranks.broadcast({k: replace(r, items=None) for k, r in results.items()})
            scores = {f"{k}/{name}": e.value for k, r in shared.items() for name, e in r.estimates.items()}
            for listener in self.listeners:
                listener(step, scores)
        return scores

    def _results(self, due: Sequence[PreparedBenchmark], context: Context) -> dict[str, BenchmarkResult] | None:
        """Outcomes of all due benchmarks by key on rank 0, none elsewhere; None when interrupted."""
        results: dict[str, BenchmarkResult] = {}
        groups: dict[tuple[int, bool], list[PreparedBenchmark]] = {}
        for prepared in due:  # one pass over the images for each model that is asked, and precision
            benchmark = prepared.benchmark
            groups.setdefault((id(self._evaluated_models[benchmark.key]), benchmark.full_precision), []).append(
                prepared
            )
        for (_, full_precision), group in groups.items():
            evaluated_model, union = self._evaluated_models[group[0].benchmark.key], self._union(group)
            with evaluating(evaluated_model.model):
                precision, settings = nullcontext if full_precision else context, self.settings
                answers = encode(
                    evaluated_model, union.request, self._batch_size(), self.ranks, precision, settings.interrupted,
                    settings.weights,
                )  # fmt: skip
                if answers is None:
                    return None
                results.update(self.ranks.together(lambda: self._scored(union, group, answers)))  # noqa: B023
        return {p.benchmark.key: results[p.benchmark.key] for p in due if p.benchmark.key in results}

    def _scored(
        self, union: StimulusUnion, group: Sequence[PreparedBenchmark], answers: Mapping[str, EncodedFeatures]
    ) -> dict[str, BenchmarkResult]:
        if self.ranks.rank != 0:
            return {}
        return {key: self._same_items(key, result) for key, result in benchmark_results(union, group, answers).items()}

    def _same_items(self, key: str, result: BenchmarkResult) -> BenchmarkResult:
        """The outcome, or a failed one where its items are not those that the record has under this key."""
        items = result.items
        if items is None:
            return result
        before = self._first_items.get(key)
        if before is None:
            recorded = self.record and self.record.items_differ(
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

    def _batch_size(self) -> int:
        given = (self.settings.batch_size, *(b.batch_size for b in self.benchmarks.values()))
        return min((size for size in given if size is not None), default=DEFAULT_BATCH_SIZE)

    def _recorded(
        self, step: int, due: Sequence[PreparedBenchmark], results: Mapping[str, BenchmarkResult], seconds: float
    ) -> None:
        record = self.record
        if self.ranks.rank != 0 or record is None:
            return
        position = self.position(step)
        for prepared in due:
            benchmark, result = prepared.benchmark, results[prepared.benchmark.key]
            items = result.items
            self._warn(benchmark.key, result, position)
            self._introduce(record, benchmark, items, position)
            if items is not None:
                every = benchmark.every_n_steps
                record.write_items(
                    benchmark.key, step, items.ids, items.clusters, items.conditions, items.human, items.model, every
                )
        elapsed = max(time.monotonic() - self._started, 1e-9)
        spent = self._spent + seconds  # what is still to come of this event counts from the next one on
        times = {"time/evaluation_seconds": seconds, "time/evaluation_fraction": min(1.0, spent / elapsed)}
        record.append("evaluation", position, {**as_fields(results), **times})

    def _introduce(self, record: Record, benchmark: Benchmark, items: Items | None, position: Position) -> None:
        """The benchmark's line: at its first event, and again once its number of items or its scores are known."""
        n = self._introduced.get(benchmark.key, (None, 0))[0] if items is None else len(items)
        about = described(
            benchmark, n, next(iter(self.settings.weights))
        )  # n: not known while the model cannot be scored
        known = n, len(about["scores"])
        if self._introduced.get(benchmark.key) != known:
            record.append("benchmark", position, about)
            self._introduced[benchmark.key] = known

    def _warn(self, key: str, result: BenchmarkResult, position: Position) -> None:
        """One warning for each thing that a benchmark raises, and its traceback for the log."""
        if result.failure is None or self.record is None:
            return
        reason = next(iter(result.estimates.values())).reason
        if f"{key}: {reason}" in self._warned:
            return
        self._warned.add(f"{key}: {reason}")
        message = f"{key}: {reason}; its scores are null at step {position.global_step}, training continues"
        self.record.append("event", position, {"event": "warning", "message": message})
        self.log(f"{key}: traceback of what it raised at step {position.global_step}\n{result.failure.rstrip()}")

    def _notify(self, line: str | Progress) -> None:
        if self.ranks.rank == 0:
            self.settings.notify(line)
