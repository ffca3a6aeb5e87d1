# SPDX-License-Identifier: Apache-2.0
"""What every perceptual callback has to pass, ours and others'.

``check_all(make, folder)`` runs everything that needs one process; ``make`` constructs the callback again, as its yaml
does. Images are replaced by small random ones (`cheap`), except where the real ones are looked at (`eight_images`).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import pickle
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytorch_lightning as pl
import stubs
import torch
from random_images import random_image
from torch.utils.data import DataLoader, TensorDataset

from clip_align.callbacks.base import EvaluationSettings, PerceptualCallback, Stimulus, attach
from clip_align.evaluation import event
from clip_align.evaluation.benchmark import described

Make = Callable[[], PerceptualCallback]
SCORE = re.compile(r"[a-z0-9][a-z0-9_]*")


def cheap(callback: PerceptualCallback) -> PerceptualCallback:
    """The same callback, each stimulus a random image of the model's size that depends on its id alone."""
    real = callback.stimuli

    def stimuli() -> Iterator[Stimulus]:
        for stimulus in real():
            yield Stimulus(stimulus.id, partial(random_image, stimulus.id, stubs.SIZE, stubs.SIZE), "native")

    callback.stimuli = stimuli  # type: ignore[method-assign]
    return callback


def says_what_it_is(make: Make, folder: Path) -> None:
    """Version, human data, stand-in, source, licence; per score a label, a direction, chance and limits."""
    callback = make()
    about = described(callback, 8)
    assert json.loads(json.dumps(about)) == about, "the benchmark line is plain JSON"
    assert callback.version >= 1
    for name in ("human_data", "stand_in", "source", "licence"):
        assert about[name].strip(), f"{callback.key} does not say its {name}"
    assert (type(callback).__doc__ or "").strip()
    names = [score.name for score in callback.scores]
    assert names
    assert len(set(names)) == len(names)
    for score in callback.scores:
        assert SCORE.fullmatch(score.name), score.name
        assert score.label.strip()
        assert score.direction.strip()
        assert score.axis[0] < score.axis[1]
        assert score.chance is None or math.isfinite(score.chance)
        assert score.role == "detail" or score.unit, f"{score.name} is drawn with a band, of what unit?"
    assert any(score.role == "headline" for score in callback.scores)


def eight_images(make: Make, folder: Path) -> None:
    """The first eight real stimuli: images, the same twice, that another process can make."""
    stimuli = list(itertools.islice(make().stimuli(), 8))
    assert len({s.id for s in stimuli}) == len(stimuli)
    for stimulus in stimuli:
        image = stimulus.load()
        assert image.ndim == 3
        assert image.shape[2] == 3
        assert image.dtype in (np.uint8, np.float32)
        again = pickle.loads(pickle.dumps(stimulus)).load()
        assert np.array_equal(image, again)


def twice_the_same(make: Make, folder: Path) -> None:
    """Two events of the same weights give the same fields."""
    made, record = stubs.evaluator([cheap(make())], stubs.evaluated_model(), folder)
    key = next(iter(made._benchmarks))
    for step in (0, 1):
        made.evaluate(step, [key], contextlib.nullcontext)
    assert record.scores(0) == record.scores(1)
    items = [record.items[key, step] for step in (0, 1)]
    assert all(np.array_equal(items[0][name], items[1][name]) for name in items[0])


def writes_what_it_declares(make: Make, folder: Path) -> None:
    """Each declared score has a key with its band, or null with a reason; further numbers are finite."""
    callback = cheap(make())
    fields = stubs.evaluated([callback], stubs.evaluated_model(), folder)
    expected: set[str] = set()
    for score in callback.scores:
        path = f"{callback.key}/{score.name}"
        assert path in fields, f"{path} was declared and not written"
        value = fields[path]
        if value is None:
            expected |= {path, f"{path}/reason"}
            assert fields[f"{path}/reason"].strip()
            continue
        expected |= {path, f"{path}/low", f"{path}/high"}
        low, high = fields[f"{path}/low"], fields[f"{path}/high"]
        assert low is None or low <= value <= high
    notes = {name: value for name, value in fields.items() if name not in expected}
    assert all(re.fullmatch(rf"{callback.key}/{SCORE.pattern}", name) for name in notes), notes
    assert all(isinstance(value, float) for value in notes.values())


def constant_model_is_null(make: Make, folder: Path) -> None:
    """A model that has not looked, and one whose weights are NaN: every score null with a reason.

    The event says so before a benchmark is asked; here the benchmark's own code has to know it too.
    """
    for model in (stubs.ConstantModel(), stubs.BrokenModel()):
        for asked in (contextlib.nullcontext(), mock.patch.object(event, "why_unusable", return_value=None)):
            callback = cheap(make())
            with asked:
                fields = stubs.evaluated([callback], stubs.evaluated_model(model), folder)
            for score in callback.scores:
                assert fields[f"{callback.key}/{score.name}"] is None, score.name
                assert fields[f"{callback.key}/{score.name}/reason"], score.name


class Training(pl.LightningModule):
    """Draws random numbers at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.clip, self.losses = stubs.StubModel(), []

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        loss = self.clip.encode_image(batch[0]).pow(2).mean()
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def does_not_disturb_training(make: Make, folder: Path) -> None:
    """Losses of a training with dropout and shuffling are bit-identical with the callback and without."""
    losses = []
    for callbacks in ([], [cheap(make())]):
        for callback in callbacks:
            callback.every_n_steps = 2
            callback.tokenizer = stubs.Words()
        attach(callbacks, EvaluationSettings(folder, notify=lambda line: None))
        torch.manual_seed(1)
        module = Training()
        images = torch.randn(24, 3, stubs.SIZE, stubs.SIZE, generator=torch.Generator().manual_seed(0))
        trainer = pl.Trainer(
            accelerator="cpu",
            callbacks=list(callbacks),
            default_root_dir=folder,
            max_steps=5,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, DataLoader(TensorDataset(images), 4, shuffle=True))
        assert all(callback.last_step == 5 for callback in callbacks)
        losses.append(module.losses)
    assert losses[0] == losses[1]


CHECKS: tuple[Callable[[Make, Path], None], ...] = (
    says_what_it_is,
    eight_images,
    twice_the_same,
    writes_what_it_declares,
    constant_model_is_null,
    does_not_disturb_training,
)


def check_all(make: Make, folder: Path) -> None:
    """All checks of one callback, for tests of outside packages."""
    for check in CHECKS:
        check(make, folder / check.__name__)


def event_fields(callback: PerceptualCallback, cache: Path, ranks: Any) -> dict[str, Any] | None:
    """Fields of one event, on rank 0 of however many."""
    made, record = stubs.evaluator([cheap(callback)], stubs.evaluated_model(), cache, ranks)
    made.evaluate(0, [callback.key], contextlib.nullcontext)
    return record.scores() if ranks.rank == 0 else None
