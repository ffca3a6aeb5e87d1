# SPDX-License-Identifier: Apache-2.0
"""What models of this kind score before they have learnt anything: a baseline of every human score.

Five random initialisations, after the last step, on rank 0; kept in the cache, since they depend on the
model's configuration and the benchmark's version only.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from clip_align.callbacks.base import PerceptualCallback
from clip_align.data.progress import Progress
from clip_align.evaluation.description import described
from clip_align.evaluation.encode import Context
from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.evaluation.evaluator import DEFAULT_BATCH_SIZE, EvaluationSettings, Evaluator, Scores
from clip_align.evaluation.prepare import images_per_event
from clip_align.evaluation.weights import RAW
from clip_align.processes.ranks import Ranks
from clip_align.record.record import Position
from clip_align.runs.folder import write_atomic

INITIALISATIONS = 5  # enough for a standard deviation; each costs one evaluation
MEAN, SD = "untrained nets", "untrained nets sd"

Baselines = Mapping[str, Mapping[str, float]]  # score -> {label: value}
MakeModel = Callable[[int], EvaluatedModel]  # of the model with the weights of a seed


def with_untrained_baseline(callbacks: Iterable[PerceptualCallback]) -> list[PerceptualCallback]:
    """The callbacks whose scores have this baseline."""
    return [c for c in callbacks if c.family == "human" and hasattr(c, "add_baselines")]


def cached(callback: PerceptualCallback, model: Mapping[str, Any], cache: Path) -> Baselines | None:
    """The baselines from an earlier run; None where there was none.

    Args:
        callback: whose scores they are of.
        model: what it is built from, plain python.
        cache: folder that they are kept in.
    """
    try:
        found = json.loads(_file(callback, model, cache).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none there, or one that was damaged: measured again
        return None
    return found if isinstance(found, dict) else None


def measure(
    callback: PerceptualCallback,
    make: MakeModel,
    settings: EvaluationSettings,
    stopped: Callable[[], bool],
    context: Context = nullcontext,
) -> Baselines | None:
    """Mean and standard deviation of every score over the initialisations; None when ``stopped()``.

    Call it in a process that has left its process group: the other ranks have gone.

    Args:
        callback: whose scores are measured.
        make: builds the model with the weights of a seed.
        settings: of the run's evaluations; record and listeners are left out.
        stopped: called between batches; True gives up.
        context: the run's precision.
    """
    alone = Ranks()  # no process group is left: this rank alone
    scores: list[Scores] = []
    for seed in range(INITIALISATIONS):
        model = make(seed)
        encoding = _Encoding(callback, seed, model.image_size, settings, stopped)
        silent = replace(settings, record=None, listeners=(), interrupted=encoding.before_batch)
        session = Evaluator([(callback, model)], silent, alone, lambda step: Position(step, 0, 0, 0.0))
        session.prepare()
        encoding.show()
        answer = session.evaluate(0, [callback.key], context)
        if answer is None:
            return None
        scores.append(answer)
        encoding.show()
    result = {
        score.name: _mean_and_sd([s.get(f"{callback.key}/{score.name}") for s in scores]) for score in callback.scores
    }
    return {name: values for name, values in result.items() if values}


def keep(callback: PerceptualCallback, model: Mapping[str, Any], cache: Path, baselines: Baselines) -> None:
    """Leave the baselines in the cache for the next run; OSError where it cannot be written.

    Args:
        callback: whose scores they are of.
        model: what it is built from, plain python.
        cache: folder that they are kept in.
        baselines: as `measure` returns them.
    """
    write_atomic(_file(callback, model, cache), json.dumps(baselines))


def carry(callback: PerceptualCallback, baselines: Baselines) -> None:
    """Let the callback's scores carry these baselines from now on."""
    callback.add_baselines(baselines)  # type: ignore[attr-defined]  # has it: see with_untrained_baseline


def carried(callback: PerceptualCallback) -> bool:
    """Whether it does already."""
    return any(MEAN in score.baselines for score in callback.scores)


def line_with(callback: PerceptualCallback, baselines: Baselines, n: int | None, weights: str = RAW) -> dict[str, Any]:
    """The callback's ``benchmark`` line with these baselines.

    Args:
        callback: carries them from now on.
        baselines: as `measure` returns them.
        n: number of its items; None where it was never evaluated.
        weights: name of the set of weights that the run's keys without a suffix belong to.
    """
    carry(callback, baselines)
    return described(callback, n, weights)


class _Encoding:
    """Progress over all initialisations, which take a minute where a run takes five: shown between batches.

    Args:
        callback: whose images are encoded.
        seed: number of the initialisation.
        size: side of the model's input in px.
        settings: of the evaluation.
        stopped: whether to give up.
    """

    def __init__(
        self,
        callback: PerceptualCallback,
        seed: int,
        size: int,
        settings: EvaluationSettings,
        stopped: Callable[[], bool],
    ) -> None:
        self._what, self._notify, self._stopped = f"{callback.key} of untrained models", settings.notify, stopped
        self._batch = min(filter(None, (settings.batch_size, callback.batch_size)), default=DEFAULT_BATCH_SIZE)
        self._images = images_per_event([callback], size)
        self._done, self._limit = seed * self._images, (seed + 1) * self._images

    def show(self) -> None:
        """Report what is encoded so far."""
        self._notify(Progress(self._what, self._done, INITIALISATIONS * self._images, "images encoded"))

    def before_batch(self) -> bool:
        """Report, then whether to give up; called before each batch."""
        self.show()
        self._done = min(self._done + self._batch, self._limit)
        return self._stopped()


def _mean_and_sd(values: Sequence[float | None]) -> dict[str, float]:
    defined = [v for v in values if v is not None]
    if len(defined) < 2:  # one value has no standard deviation
        return {}
    mean = sum(defined) / len(defined)
    return {MEAN: mean, SD: math.sqrt(sum((v - mean) ** 2 for v in defined) / (len(defined) - 1))}


def _file(callback: PerceptualCallback, model: Mapping[str, Any], cache: Path) -> Path:
    # all that the numbers depend on: another version, option or model has another file
    key = {"benchmark": callback.key, "version": callback.version, "options": dict(callback.options), "model": model}
    text = json.dumps({**key, "view": callback.view, "initialisations": INITIALISATIONS}, sort_keys=True, default=str)
    return cache / "untrained" / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
