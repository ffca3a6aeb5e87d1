# SPDX-License-Identifier: Apache-2.0
"""What an event costs beside the bare forward passes of its distinct images and texts, measured in pairs.

The bare passes call ``encode_image`` and ``encode_text`` as often, in the event's own batch size and precision, with
inputs that are on the device already: no reading, enlarging, normalizing, reducing, copying or scoring. What an event
takes beyond them is what clip-align adds. Both are timed in turn, since machines change their speed over minutes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from clip_align.evaluation.evaluation_mode import evaluating
from clip_align.evaluation.evaluator import EncodingPass, Evaluator
from clip_align.evaluation.tokens import tokenized
from clip_align.models.short_texts import encode_text, text_groups

Context = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class EventCost:
    """Seconds of events and of the bare forward passes measured right before each of them.

    images, texts: distinct ones of an event, over all its passes.
    """

    images: int
    texts: int
    forward_seconds: Sequence[float]
    event_seconds: Sequence[float]

    @property
    def ratios(self) -> list[float]:
        """Event over bare forward passes, of each pair, ascending."""
        return sorted(e / f for e, f in zip(self.event_seconds, self.forward_seconds, strict=True))

    def __str__(self) -> str:
        r = self.ratios
        return (
            f"{self.images:,} images and {self.texts:,} texts: event {median(self.event_seconds):.2f} s, bare forward "
            f"passes {median(self.forward_seconds):.2f} s, ratio {median(r):.3f} [{r[0]:.3f}, {r[-1]:.3f}] "
            f"over {len(r)} pairs"
        )


def event_cost(
    evaluator: Evaluator,
    due: Sequence[str],
    repeats: int = 5,
    context: Context = nullcontext,
    clock: Callable[[], float] = time.perf_counter,
) -> EventCost:
    """Time events and their bare forward passes in turn, after one of each that is not counted.

    Args:
        evaluator: prepared; its record gets ``repeats + 1`` evaluations, at the steps 0, 1, ….
        due: keys of the benchmarks.
        repeats: pairs that are counted.
        context: the run's precision (autocast).
        clock: returns seconds; ``time.process_time`` counts what a CPU computed, whatever else a machine does.

    The first event is left out: it opens files, computes baselines and tokenizes.
    """
    passes = evaluator.passes(due)
    forward, event = [], []
    for repeat in range(repeats + 1):
        start = clock()
        for one in passes:
            _forward(one, evaluator, nullcontext if one.full_precision else context)
        forward.append(clock() - start)
        start = clock()
        evaluator.evaluate(repeat, due, context)
        _wait()
        event.append(clock() - start)
    images, texts = (sum(len(of) for of in column) for column in zip(*map(_distinct, passes), strict=True))
    return EventCost(images, texts, forward[1:], event[1:])


def _forward(one: EncodingPass, evaluator: Evaluator, context: Context) -> None:
    """Every distinct image and text through the model once for each set of weights."""
    model, size, at_a_time = one.evaluated_model.model, one.evaluated_model.image_size, evaluator.batch_size
    parameter = one.evaluated_model.parameter
    rows, texts = _distinct(one)
    generator = torch.Generator().manual_seed(0)  # never torch's own, which training draws from
    images = torch.randn(min(at_a_time, len(rows)), 3, size, size, generator=generator)
    images = images.to(parameter.device, parameter.dtype)
    prompts = []
    for start in range(0, len(texts), at_a_time):
        tokens = tokenized(one.evaluated_model, list(texts[start : start + at_a_time]))
        prompts.append((tokens.to(parameter.device), text_groups(model, tokens, parameter.device)))
    with evaluating(model), context():
        for _ in evaluator.settings.weights:
            for start in range(0, len(rows), at_a_time):
                model.encode_image(images[: len(rows) - start])  # type: ignore[operator]
            for tokens, groups in prompts:
                encode_text(model, tokens, groups)
        _wait()


def _distinct(one: EncodingPass) -> tuple[Sequence[Any], Sequence[str]]:
    request = one.union.request
    return request.rows.tolist(), request.texts


def _wait() -> None:
    """Until the device has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
