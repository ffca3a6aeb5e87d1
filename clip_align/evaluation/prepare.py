# SPDX-License-Identifier: Apache-2.0
"""Preparation before step 0: list the stimuli, check pairs, prompts and layers, open the cached images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from clip_align.errors import UserError, option_problem
from clip_align.evaluation.benchmark import Benchmark
from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.evaluation.event import Kept, PreparedBenchmark
from clip_align.evaluation.inputs import CachedImages
from clip_align.evaluation.model_info import ModelInfo, model_info
from clip_align.evaluation.reading import ALL, PROJECTION, Layer, Reading, readings
from clip_align.evaluation.stimulus import Stimulus, View
from clip_align.evaluation.stimulus_cache import Job, found, load
from clip_align.evaluation.stimulus_fingerprint import maker
from clip_align.evaluation.views import VIEWS, chosen_view

NAMED_WORDS = 5  # unknown words that a reason lists

T = TypeVar("T")
Group = tuple[str | None, View]  # a part, None for the benchmark's own, and the view


@dataclass(frozen=True, eq=False)
class BenchmarkPlan:
    """One benchmark for one model: stimuli by part and view, readings, pairs; all empty if a ``reason`` is given."""

    benchmark: Benchmark
    size: int
    stimuli: Mapping[Group, Sequence[Stimulus]]
    readings: Mapping[Layer, Reading]
    pairs: Sequence[tuple[str, str]] = ()
    reason: str | None = None


def planned(benchmark: Benchmark, evaluated_model: EvaluatedModel) -> BenchmarkPlan:
    """The plan of a benchmark for this model; sets ``benchmark.null_reason``."""
    reason = benchmark.null_reason = why_null(benchmark, evaluated_model)
    if reason:
        return BenchmarkPlan(benchmark, evaluated_model.image_size, {}, {}, reason=reason)
    found = readings(benchmark.key, benchmark.layers, benchmark.tokens, benchmark.readers, evaluated_model.model)
    stimuli = by_view(benchmark, evaluated_model.image_size)
    return BenchmarkPlan(benchmark, evaluated_model.image_size, stimuli, found, checked_pairs(benchmark, stimuli))


def jobs_of(plans: Iterable[BenchmarkPlan], cache: Path) -> dict[tuple[str, Group], Job]:
    """Rendering jobs by benchmark and group; benchmarks that use images of the same part have one job in common.

    UserError if two benchmarks define different images under one id: only one of them would be encoded.
    """
    plans = list(plans)  # walked twice
    _refuse_conflicts(plans)
    by_kind: dict[tuple[str, int, View, int, int], dict[str, Stimulus]] = {}
    of: dict[tuple[str, Group], tuple[str, int, View, int, int]] = {}
    for plan in plans:
        for (part, view), stimuli in plan.stimuli.items():
            tiles = plan.benchmark.tiles if view == "tiles" else 1
            own = (plan.benchmark.key, plan.benchmark.version)
            # a common part has no benchmark's version: its arguments identify the images
            name, version = own if part is None else (part, 0)
            kind = (name, version, view, plan.size, tiles)
            of[plan.benchmark.key, (part, view)] = kind
            # by id: an image that several benchmarks use is rendered once
            by_kind.setdefault(kind, {}).update((stimulus.id, stimulus) for stimulus in stimuli)
    made = {
        kind: Job(kind[0], tuple(stimuli.values()), kind[2], kind[3], kind[4], kind[1], cache)
        for kind, stimuli in by_kind.items()
    }
    return {key: made[kind] for key, kind in of.items()}


def opened(plans: Mapping[str, BenchmarkPlan], jobs: Mapping[tuple[str, Group], Job]) -> dict[str, PreparedBenchmark]:
    """The benchmarks with their images opened; all jobs must have been rendered."""
    # each file is opened once, whichever benchmarks use it
    kept = {id(job): (CachedImages(images, job.view), rows) for job in jobs.values() for images, rows in [load(job)]}
    prepared = {}
    for key, plan in plans.items():
        images = []
        for group, stimuli in plan.stimuli.items():
            job = jobs[key, group]
            source, rows = kept[id(job)]
            places = {stimulus.id: number for number, stimulus in enumerate(job.stimuli)}
            images.append(Kept([s.id for s in stimuli], source, rows[[places[s.id] for s in stimuli]]))
        prompts = {name: tuple(texts) for name, texts in plan.benchmark.prompts().items()}
        prepared[key] = PreparedBenchmark(plan.benchmark, images, prompts, plan.readings, plan.pairs, plan.reason)
    return prepared


def files_of(jobs: Mapping[tuple[str, Group], Job]) -> dict[str, list[str]]:
    """The image files of each benchmark, relative to the cache; a name contains the digest of its images."""
    files: dict[str, list[str]] = {}
    for (key, _), job in jobs.items():
        files.setdefault(key, []).append(str((found(job) or job.target).relative_to(job.cache)))
    return files


def _refuse_conflicts(plans: Sequence[BenchmarkPlan]) -> None:
    first: dict[tuple[str, View], tuple[str, Stimulus]] = {}
    for plan in plans:
        key = plan.benchmark.key
        for view, stimulus in ((view, s) for (_, view), stimuli in plan.stimuli.items() for s in stimuli):
            other, same = first.setdefault((stimulus.id, view), (key, stimulus))
            # within one benchmark ids are unique already
            if other != key and maker(same) != maker(stimulus):
                raise UserError(f"{key} and {other} name the stimulus {stimulus.id} and make it differently")


def by_view(benchmark: Benchmark, size: int) -> dict[Group, list[Stimulus]]:
    """The stimuli by part and view; ``size`` is the side of the model's input in px. UserError for invalid stimuli."""
    stimuli = _called(benchmark, "stimuli", lambda: list(benchmark.stimuli()))
    ids = [stimulus.id for stimulus in stimuli]
    if not ids:
        raise UserError(f"{benchmark.key}: names no stimuli; check its data")
    if len(set(ids)) != len(ids):
        twice = next(i for i in ids if ids.count(i) > 1)
        raise UserError(f"{benchmark.key}: stimulus {twice} is named twice; yield each image once")
    groups: dict[Group, list[Stimulus]] = {}
    for stimulus in stimuli:
        # the callback's view, else the stimulus's own, else by input size
        view = chosen_view(benchmark.view or stimulus.view, size, stimulus.places)
        if view not in VIEWS:
            raise UserError(option_problem(benchmark.key, "view", f"unknown view {view}; valid: {', '.join(VIEWS)}"))
        groups.setdefault((stimulus.part, view), []).append(stimulus)
    views = {view for _, view in groups}
    if "tiles" in views and len(views) > 1 and benchmark.tiles > 1:  # features are one array [N, V, D]
        other = next(view for _, view in groups if view != "tiles")
        raise UserError(
            f"{benchmark.key}: some of its stimuli are seen as {benchmark.tiles} tiles and some as one image "
            f"({other}), but its features need as many of all; give every stimulus the same view"
        )
    return groups


def checked_pairs(benchmark: Benchmark, stimuli: Mapping[Group, Sequence[Stimulus]]) -> list[tuple[str, str]]:
    """The pairs that the benchmark declares; UserError for a pair with an image that is not among the stimuli."""
    if not callable(benchmark.pairs):  # a subclass that stores its own pairs under this name
        raise UserError(f"{benchmark.key}: pairs is a method of benchmarks; give the attribute another name")
    pairs = _called(benchmark, "pairs", lambda: [(reference, other) for reference, other in benchmark.pairs()])
    ids = {stimulus.id for group in stimuli.values() for stimulus in group}
    for pair in pairs:
        missing = next((name for name in pair if name not in ids), None)
        if missing is not None:
            raise UserError(f"{benchmark.key}: pairs() names {missing}, which stimuli() does not; yield that image too")
    if pairs and benchmark.prompts():
        paired = {name for pair in pairs for name in pair}
        if not ids - paired:
            raise UserError(
                f"{benchmark.key}: prompts() needs the features of some images, but all are in pairs(), of which only "
                "the differences are kept; leave pairs() out, or name images that are in no pair"
            )
    return pairs


def why_null(benchmark: Benchmark, evaluated_model: EvaluatedModel) -> str | None:
    """Let the benchmark adapt to the model; returns why its scores are null for this model, None if they are not.

    Reasons are the one that ``adapt`` returns, a layer or a tokenizer that the model lacks, and words in prompts that
    its tokenizer does not know. UserError for a layer that the user configured and the model lacks.
    """
    info = model_info(evaluated_model)
    if benchmark.adapted is None or benchmark.adapted[0] != info:  # called again for another model only
        benchmark.adapted = (info, _called(benchmark, "adapt", lambda: benchmark.adapt(info)))
    reason = benchmark.adapted[1]
    # after adapt, which may choose the prompts; a null benchmark need not have any
    prompts = _called(benchmark, "prompts", benchmark.prompts) if reason is None else {}
    if prompts and any(layer != PROJECTION for layer in benchmark.layers):
        raise UserError(
            option_problem(benchmark.key, "layers", "decisions by prompts need the projection; remove its layers=…")
        )
    missing = _missing_layer(benchmark, info)
    if missing and benchmark.layers_given:
        raise UserError(option_problem(benchmark.key, "layers", missing))
    if reason is not None or missing or not prompts:
        # adapt may return an empty text: still null, and the record needs words
        return (reason or "it gives no reason") if reason is not None else missing
    if evaluated_model.tokenizer is None:
        return evaluated_model.no_tokenizer
    words = info.unknown([text for texts in prompts.values() for text in texts])
    return unknown_words(words) if words else None


def unknown_words(words: Sequence[str]) -> str:
    """The reason for prompts with words that the tokenizer does not know; lists the first few."""
    named = ", ".join(words[:NAMED_WORDS]) + (", …" if len(words) > NAMED_WORDS else "")
    return f"{len(words)} prompt word{'s are' if len(words) > 1 else ' is'} unknown to the tokenizer: {named}"


def _missing_layer(benchmark: Benchmark, model: ModelInfo) -> str | None:
    numbers = [layer for layer in model.layers if isinstance(layer, int)]
    known = (*model.layers, *benchmark.readers, *([ALL] if numbers else []))
    wrong = [layer for layer in benchmark.layers if layer not in known]
    if not wrong:
        return None
    has = f"layers 0 to {max(numbers)}" if numbers else "no accessible layers"
    return f"layers: no layer {wrong[0]}; this model's image tower has {has}"


def _called(benchmark: Benchmark, name: str, call: Callable[[], T]) -> T:
    """``call()``; an error in it becomes a UserError that names benchmark and method."""
    try:
        return call()
    except UserError:  # a benchmark's own message is clear already
        raise
    except Exception as error:  # code of any author
        line = f"{benchmark.key}: {name}() failed: {type(error).__name__}: {error}"
        raise UserError(" ".join(line.split())) from error


def images_per_event(benchmarks: Iterable[Benchmark], size: int) -> int:
    """Distinct images, tiles counted, that an event of all benchmarks encodes; ``size``: of the input in px.

    Benchmarks that are null for their model encode none.
    """
    seen: set[tuple[str, View, int]] = set()  # what distinguishes images in `event.StimulusUnion`
    for benchmark in (b for b in benchmarks if b.null_reason is None):
        for (_, view), stimuli in by_view(benchmark, size).items():
            seen |= {(s.id, view, benchmark.tiles if view == "tiles" else 1) for s in stimuli}
    return sum(tiles for _, _, tiles in seen)


def refuse_same_keys(benchmarks: Sequence[Benchmark]) -> None:
    """UserError for two benchmarks with the same key."""
    keys = [benchmark.key for benchmark in benchmarks]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise UserError(
            *(
                option_problem(key, "name", "two callbacks have this key; give one of them another name=…")
                for key in twice
            )
        )
