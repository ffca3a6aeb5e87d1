# SPDX-License-Identifier: Apache-2.0
"""The trivial observers as subjects: judges of pairs without an embedding, pixels as an embedding, untrained models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import nn

from clip_align.config import ModelConfig
from clip_align.data.progress import Notify, Progress
from clip_align.errors import Problem, UserError
from clip_align.evaluation.benchmark import Benchmark
from clip_align.evaluation.description import described
from clip_align.evaluation.evaluated_model import EvaluatedModel, find_model
from clip_align.evaluation.evaluator import RecordWriter
from clip_align.evaluation.event import as_fields
from clip_align.evaluation.observers import observed
from clip_align.evaluation.scoring import BenchmarkResult, all_undefined
from clip_align.evaluation.weights import RAW, Swap
from clip_align.models.build import build_model
from clip_align.perception.observers import LEVEL_ALONE, PSNR, PSNR_LUMINANCE, SSIM, ConditionAlone, Observer
from clip_align.record.record import Position
from clip_align.series.one_model import OneModel
from clip_align.series.subject import Member, Place, Subject, Unreadable
from clip_align.spelling import nearest

JUDGES: Mapping[str, tuple[Observer, str]] = {
    "level": (LEVEL_ALONE, "the level of the distortion alone"),
    "type": (ConditionAlone(("type",)), "the mean opinion of the type of distortion over the other references"),
    "psnr": (PSNR, "PSNR over red, green and blue"),
    "psnr_luminance": (PSNR_LUMINANCE, "PSNR of the luminance"),
    "ssim": (SSIM, "structural similarity of the luminance"),
}
MODELS: Mapping[str, str] = {
    "pixels": "the pixels of the model's input as its embedding, through the same views and tiles",
    "grey": "the same of their luminance: an observer that sees no colour",
    "untrained": "a model with random weights: model=…, seed=…",
}
NAMES = (*JUDGES, *MODELS)
BT601 = (0.299, 0.587, 0.114)
NO_TEXT = "this observer has no text tower, and its prompts need one"


class PixelEmbedding(nn.Module):
    """Images as their own embedding. ``grey``: of their luminance (BT.601) alone."""

    def __init__(self, grey: bool = False) -> None:
        super().__init__()
        weights = torch.tensor([BT601] if grey else [[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
        # a parameter, not a buffer: device and precision of a model are those of its parameters
        self.channels = nn.Parameter(weights, requires_grad=False)

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """Pixels [N, C * S * S] of images [N, 3, S, S] on [0, 1]."""
        return torch.einsum("kc,nchw->nkhw", self.channels, images.float()).flatten(1)


def observer_subject(name: str, model: ModelConfig, seed: int, device: torch.device) -> Subject:
    """The observer that ``observer=<name>`` names; UserError with the names that there are.

    Args:
        name: one of `NAMES`.
        model: whose input size pixels have, and what is untrained.
        seed: of untrained weights.
        device: where it is evaluated.
    """
    if name in JUDGES:
        return ObserverSubject(name)
    if name == "untrained":
        which = model.name or "tiny"
        about = {**asdict(model), "kind": "observer", "observer": name, "model": which, "seed": seed}
        return OneModel(f"observer-untrained-{which}-{seed}", lambda: _untrained(model, seed, device), about)
    if name in MODELS:
        size = model.image_size or 224
        about = {"kind": "observer", "observer": name, "image_size": size}
        return OneModel(f"observer-{name}-{size}px", lambda: _pixels(name == "grey", size, device), about)
    guess = nearest(name, NAMES)
    hint = f"did you mean {guess}? " if guess else ""
    raise UserError(Problem("observer", f"no observer {name!r}; {hint}valid: {', '.join(NAMES)}"))


class ObserverSubject:
    """A judge of pairs: it has no model, weights or steps."""

    def __init__(self, name: str) -> None:
        self.observer, what = JUDGES[name]
        self.label = f"observer-{name}"
        self.identity = f"observer={name}"
        self.about: Mapping[str, Any] = {"kind": "observer", "observer": name, "is": what}
        self.weights: Mapping[str, Swap] = {RAW: nullcontext}

    def members(self) -> tuple[list[Member], list[Unreadable]]:
        """The observer."""
        return [Member(Place(0), self.label)], []

    def load(self, member: Member) -> Observer:
        """The observer."""
        return self.observer

    def notes(self, member: Member) -> Mapping[str, float]:
        """None."""
        return {}


class ObserverEvaluator:
    """Evaluates a judge on the pairs of benchmarks, and writes the same lines and items as events of models do.

    Args:
        benchmarks: of which one at least declares pairs; the others are null, with the reason.
        observer: the judge.
        record: written to.
        position: of the evaluation.
        notify: takes progress.
        stopped: whether to give up; called between two benchmarks.
    """

    def __init__(
        self,
        benchmarks: Sequence[Benchmark],
        observer: Observer,
        record: RecordWriter,
        position: Callable[[], Position],
        notify: Notify,
        stopped: Callable[[], bool],
    ) -> None:
        self._benchmarks = {benchmark.key: benchmark for benchmark in benchmarks}
        self._observer, self._record = observer, record
        self._position, self._notify, self._stopped = position, notify, stopped

    def prepare(self) -> None:
        """UserError where no benchmark declares pairs."""
        if not any(list(benchmark.pairs()) for benchmark in self._benchmarks.values()):
            keys = ", ".join(self._benchmarks)
            raise UserError(
                Problem("observer", f"it judges pairs of images, and none of {keys} declares any; callbacks=[…]")
            )

    def evaluate(self, step: int, due: Iterable[str], context: object = None) -> dict[str, float | None] | None:
        """Judge the pairs of the benchmarks that are due, and record; None where it was stopped.

        Args:
            step: of the record.
            due: keys of benchmarks.
            context: ignored: a judge has no precision.
        """
        results: dict[str, BenchmarkResult] = {}
        keys = list(due)
        for number, key in enumerate(keys):
            self._notify(Progress("observer", number, len(keys), "benchmarks judged"))
            if self._stopped():
                return None
            results[key] = self._result(self._benchmarks[key])
        for key, result in results.items():
            items = result.items
            about = described(self._benchmarks[key], None if items is None else len(items))
            self._record.append("benchmark", self._position(), about)
            if items is not None:
                self._record.write_items(
                    key, step, items.ids, items.clusters, items.conditions, items.human, items.model, 1
                )
        self._record.append("evaluation", self._position(), as_fields(results))
        return {f"{k}/{name}": e.value for k, r in results.items() for name, e in r.estimates.items()}

    def _result(self, benchmark: Benchmark) -> BenchmarkResult:
        try:
            return observed(benchmark, self._observer)
        except UserError as error:  # no pairs, or no such column
            return BenchmarkResult(all_undefined(benchmark, error.lines[0].removeprefix(f"{benchmark.key}: ")))


def _pixels(grey: bool, size: int, device: torch.device) -> EvaluatedModel:
    model = PixelEmbedding(grey).to(device)
    return EvaluatedModel(model, size, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), None, no_tokenizer=NO_TEXT)


def _untrained(config: ModelConfig, seed: int, device: torch.device) -> EvaluatedModel:
    torch.manual_seed(seed)
    # the tiny model's vocabulary is made from captions, of which an untrained model has none
    clip = build_model(config, ["image"] if config.has_words else None)
    model = clip.model.to(device).eval().requires_grad_(False)
    if not config.has_words:
        return replace(find_model(model), mean=clip.mean, std=clip.std)
    return EvaluatedModel(model, clip.image_size, clip.mean, clip.std, None, no_tokenizer=NO_TEXT)
