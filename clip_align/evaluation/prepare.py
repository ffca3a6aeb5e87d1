# SPDX-License-Identifier: Apache-2.0
"""What is settled before step 0: stimuli listed and cut, prompts checked, blocks known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from clip_align.errors import UserError
from clip_align.evaluation.benchmark import Benchmark
from clip_align.evaluation.encode import PROJECTION
from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.evaluation.event import PreparedBenchmark
from clip_align.evaluation.model_info import ModelInfo, model_info
from clip_align.evaluation.stimulus import Stimulus, View
from clip_align.evaluation.stimulus_cache import Job, load, plan
from clip_align.evaluation.stimulus_fingerprint import maker
from clip_align.evaluation.views import VIEWS, chosen_view

NAMED_WORDS = 5  # unknown words that a reason names

Jobs = Mapping[View, Job]
T = TypeVar("T")


def planned(benchmark: Benchmark, evaluated_model: EvaluatedModel, cache: Path) -> tuple[Jobs, str | None]:
    """The benchmark's images by view, or none and the reason why its scores are null for this model."""
    reason = benchmark.null_reason = why_null(benchmark, evaluated_model)
    if reason:
        return {}, reason
    groups = by_view(benchmark, evaluated_model.image_size)
    return {
        view: plan(cache, benchmark.key, benchmark.version, stimuli, view, evaluated_model.image_size, benchmark.tiles)
        for view, stimuli in groups.items()
    }, None


def refuse_conflicts(plans: Mapping[str, tuple[Jobs, str | None]]) -> None:
    """UserError where two benchmarks mean different images by one id: only one of them would be encoded."""
    first: dict[tuple[str, View], tuple[str, Stimulus]] = {}
    for key, (jobs, _) in plans.items():
        for view, job in jobs.items():
            for stimulus in job.stimuli:
                other, same = first.setdefault((stimulus.id, view), (key, stimulus))
                if other != key and maker(same) != maker(stimulus):
                    raise UserError(f"{key} and {other} name the stimulus {stimulus.id} and make it differently")


def opened(benchmark: Benchmark, jobs: Jobs, reason: str | None) -> PreparedBenchmark:
    """The benchmark with its images, once they are made."""
    images = {view: ([s.id for s in job.stimuli], load(job)) for view, job in jobs.items()}
    prompts = {} if reason else {name: tuple(texts) for name, texts in benchmark.prompts().items()}
    return PreparedBenchmark(benchmark, images, prompts, reason)


def by_view(benchmark: Benchmark, size: int) -> dict[View, list[Stimulus]]:
    """The stimuli under the view each is seen in: the callback's, else its own, else by size in pixels."""
    stimuli = _called(benchmark, "stimuli", lambda: list(benchmark.stimuli()))
    ids = [stimulus.id for stimulus in stimuli]
    if not ids:
        raise UserError(f"{benchmark.key}: names no stimuli; check its data")
    if len(set(ids)) != len(ids):
        twice = next(i for i in ids if ids.count(i) > 1)
        raise UserError(f"{benchmark.key}: stimulus {twice} is named twice; yield each image once")
    groups: dict[View, list[Stimulus]] = {}
    for stimulus in stimuli:
        view = chosen_view(benchmark.view or stimulus.view, size)
        if view not in VIEWS:
            raise UserError(f"{benchmark.key}: unknown view {view}; valid: {', '.join(VIEWS)}")
        groups.setdefault(view, []).append(stimulus)
    if "tiles" in groups and len(groups) > 1 and benchmark.tiles > 1:
        other = next(view for view in groups if view != "tiles")
        raise UserError(
            f"{benchmark.key}: some of its stimuli are seen as {benchmark.tiles} tiles and some as one image "
            f"({other}), but its features need as many of all; give every stimulus the same view"
        )
    return groups


def why_null(benchmark: Benchmark, evaluated_model: EvaluatedModel) -> str | None:
    """Let the benchmark adapt to the model; the reason why its scores are null for it, None where they are not.

    A reason of its own, layers or a tokenizer that the model lacks, prompts with words that its tokenizer never saw.
    UserError for what the user asked for and cannot have.
    """
    info = model_info(evaluated_model)
    if benchmark.adapted is None or benchmark.adapted[0] != info:
        benchmark.adapted = (info, _called(benchmark, "adapt", lambda: benchmark.adapt(info)))
    reason = benchmark.adapted[1]
    prompts = _called(benchmark, "prompts", benchmark.prompts) if reason is None else {}
    if prompts and any(layer != PROJECTION for layer in benchmark.layers):
        raise UserError(f"{benchmark.key}: decisions by prompts need the projection; remove its layers=…")
    missing = _missing_layer(benchmark, info)
    if missing and benchmark.layers_given:
        raise UserError(f"{benchmark.key}: {missing}")
    if reason is not None or missing or not prompts:
        return (reason or "it gives no reason") if reason is not None else missing
    if evaluated_model.tokenizer is None:
        return evaluated_model.no_tokenizer
    words = info.unknown([text for texts in prompts.values() for text in texts])
    return unknown_words(words) if words else None


def unknown_words(words: Sequence[str]) -> str:
    """The reason why prompts cannot be embedded: words that the tokenizer does not know, the first few named."""
    named = ", ".join(words[:NAMED_WORDS]) + (", …" if len(words) > NAMED_WORDS else "")
    return f"{len(words)} prompt word{'s are' if len(words) > 1 else ' is'} unknown to the tokenizer: {named}"


def _missing_layer(benchmark: Benchmark, model: ModelInfo) -> str | None:
    wrong = [layer for layer in benchmark.layers if layer not in model.layers]
    if not wrong:
        return None
    count = max((layer for layer in model.layers if isinstance(layer, int)), default=0)
    has = f"blocks 1 to {count}" if count else "no blocks that it gives out"
    return f"layers: no block {wrong[0]}; this model's image tower has {has}"


def _called(benchmark: Benchmark, name: str, call: Callable[[], T]) -> T:
    """What a method of the benchmark returns; an error in it is named by benchmark and method."""
    try:
        return call()
    except UserError:
        raise
    except Exception as error:
        line = f"{benchmark.key}: {name}() failed: {type(error).__name__}: {error}"
        raise UserError(" ".join(line.split())) from error


def images_per_event(benchmarks: Iterable[Benchmark], size: int) -> int:
    """Images that an event of all ``benchmarks`` encodes at an input size in pixels, tiles counted, none twice.

    Those that are null for their model encode none.
    """
    seen: set[tuple[str, View, int]] = set()
    for benchmark in (b for b in benchmarks if b.null_reason is None):
        for view, stimuli in by_view(benchmark, size).items():
            seen |= {(s.id, view, benchmark.tiles if view == "tiles" else 1) for s in stimuli}
    return sum(tiles for _, _, tiles in seen)


def refuse_same_keys(benchmarks: Sequence[Benchmark]) -> None:
    """UserError where two benchmarks would write the same curves."""
    keys = [benchmark.key for benchmark in benchmarks]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise UserError(*(f"{key}: two callbacks have this key; give one of them another name=…" for key in twice))
