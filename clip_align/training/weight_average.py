# SPDX-License-Identifier: Apache-2.0
"""An average of the weights over the last part of training, for evaluation; training itself never reads it.

After every optimizer step t the average moves towards the new weights by a fraction a(t),

    average <- (1 - a(t)) average + a(t) weights,

so it is a weighted mean of the weights after the steps so far. It *spans* S steps when the sum of the squares of those
fractions is 1/S: independent jitter of the weights is as small in it as in the plain mean of the last S. a(t) is chosen
such that the span is exactly S(t), or one step more than before while S(t) is not reached yet: with q = 1/S(t - 1),

    a(t) = (q + sqrt(max(0, (1 + q) / S(t) - q))) / (1 + q).

A constant S gives the exponential average, a = 2 / (S + 1). S(t) = h t gives the power-law average of Karras et al.
2024 (Analyzing and Improving the Training Dynamics of Diffusion Models, section 3.1), whose fractions grow like a power
of the step, with their gamma + 1 = (1 + sqrt(1 - h)) / h: it forgets the beginning of a training at every length.

Two events share weights: the jitter of one correlates with that of the other by c sqrt(S(later) / S(earlier)), where c,
the product of 1 - a over the steps between them, is the fraction of the later average that is not younger than the
earlier event. Both numbers are in the record (``weights/ema/span_steps``, ``weights/ema/carried_fraction``).

Lightning's ``WeightAveraging`` is not used here: it saves the averages as the model's ``state_dict`` and exchanges
weights for validation only; it counts steps that a gradient scaler skips, averages constant buffers too (an attention
mask of minus infinity becomes NaN), and its averaging functions see a count of updates, not the spacing of the events.
torch's ``AveragedModel`` copies the whole module, for the one operation that is left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from clip_align.evaluation.schedule import Schedule, Scheduled, shortest_spacing
from clip_align.evaluation.weights import EMA, RAW, Swap, swapped
from clip_align.models.sharding import gathered, own_part, part_of

Span = Callable[[int], float]  # from an optimizer step to the steps that the average spans


def newest_fraction(noise: float, span: float) -> float:
    """The fraction of the average that the newest weights get, 0 to 1: a(t) of the module's formula.

    Args:
        noise: sum of the squared fractions of the average before, 0 to 1.
        span: steps that the average is to span, at least 1.
    """
    return (noise + math.sqrt(max(0.0, (1.0 + noise) / span - noise))) / (1.0 + noise)


def span_of(horizon: float, most: int | None, benchmarks: Iterable[Scheduled], schedule: Schedule) -> Span:
    """The steps that the average spans after each step: never more than lie between a benchmark's events there.

    Args:
        horizon: fraction of the steps so far, above 0, at most 1.
        most: steps; None: no limit.
        benchmarks: of the run.
        schedule: of the run.
    """
    among = list(benchmarks)

    def span(step: int) -> float:
        spacing = shortest_spacing(among, schedule, step) if among else math.inf
        return max(1.0, min(horizon * step, spacing, math.inf if most is None else most))

    return span


class WeightAverage:
    """The average of one model's weights, on one rank: equal on all ranks but for running statistics.

    Averaged are the parameters, and the buffers that training changes (BatchNorm's running statistics): floating-point,
    in the ``state_dict`` and finite. Other buffers are the model's own. ``tensors`` holds them by name; of a sharded
    model, this rank's parts.

    Args:
        model: the trained model.
        span: steps that the average is to span after each step.
    """

    def __init__(self, model: nn.Module, span: Span) -> None:
        self._model, self._span = model, span
        self.tensors: dict[str, Tensor] = {}
        self.noise = 1.0  # sum of the squared fractions
        self.carried = 1.0  # fraction of the average that is as old as the last event, or older
        self._current: dict[str, Tensor] = {}

    @property
    def span_steps(self) -> float:
        """Steps that the average spans now."""
        return 1.0 / self.noise

    def start(self) -> None:
        """Begin with the model's weights, or those loaded, on the model's device: call it once the model is there."""
        kept = self._model.state_dict(keep_vars=True).keys()
        buffers = {n: b for n, b in self._model.named_buffers() if n in kept and b.is_floating_point()}
        own = {**dict(self._model.named_parameters()), **{n: b for n, b in buffers.items() if torch.isfinite(b).all()}}
        loaded = self.tensors
        self.tensors = {
            n: (part_of(loaded[n], t) if n in loaded else own_part(t.detach()).clone()).to(t.dtype)
            for n, t in own.items()
        }
        self._current = own

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after optimizer step ``step`` (from 1); not for a step that was skipped."""
        newest = newest_fraction(self.noise, self._span(step))
        torch._foreach_lerp_(list(self.tensors.values()), [own_part(t) for t in self._current.values()], newest)
        self.noise = (1.0 - newest) ** 2 * self.noise + newest**2
        self.carried *= 1.0 - newest

    def used(self) -> AbstractContextManager[None]:
        """Inside, the model has the averaged weights."""
        return swapped(self._model, self.tensors)

    def evaluated(self, step: int, scores: Mapping[str, float | None]) -> None:
        """Listener of evaluations: what is averaged now is what the next event shares with this one."""
        self.carried = 1.0

    def notes(self) -> dict[str, float]:
        """For the line of an evaluation: what statistics need to know of the average."""
        return {f"weights/{EMA}/span_steps": self.span_steps, f"weights/{EMA}/carried_fraction": self.carried}

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint: whole tensors and numbers. A collective where the model is sharded."""
        tensors = {n: gathered(t, self._current[n]) if n in self._current else t for n, t in self.tensors.items()}
        return {"tensors": tensors, "noise": self.noise, "carried": self.carried}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """As saved; call it before `start`."""
        self.tensors = dict(state["tensors"])
        self.noise, self.carried = float(state["noise"]), float(state["carried"])


def weight_sets(names: Sequence[str], average: WeightAverage | None) -> dict[str, Swap]:
    """The sets of weights that an event encodes with, in the order of ``names``.

    Args:
        names: raw and ema, or one of them.
        average: of the weights; None where ``names`` is without ema.
    """
    known: dict[str, Swap] = {RAW: nullcontext, **({EMA: average.used} if average is not None else {})}
    return {name: known[name] for name in names}
