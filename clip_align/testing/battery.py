# SPDX-License-Identifier: Apache-2.0
"""Checks that every perceptual callback must pass, shipped ones and those of outside packages.

In a test of an outside package, one line::

    from clip_align.testing import battery

    def test_my_pairs(tmp_path):
        battery.check_all(lambda: MyPairs(root="pairs"), tmp_path)

or, a test for each check, ``@pytest.mark.parametrize("check", battery.CHECKS)``; from a shell
``python -m clip_align.testing my_package.my_pairs.MyPairs root=pairs``.

``make`` constructs the callback again each time, as its yaml does. Images are replaced by small random ones
(`cheap`), except in the check of the real ones (`eight_images`).

The model is a stub of 16 px that knows every word. A benchmark that is null for it fails the first check, because
nothing of its items and scores would be looked at; give the stub that it needs::

    battery.check_all(lambda: MyPairs(root="pairs"), tmp_path, battery.Stub(size=64))

from a shell ``--size=64``. Other fields: `Stub`.
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
from typing import Any, Protocol
from unittest import mock

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from clip_align.callbacks.base import EvaluationSettings, PerceptualCallback, Stimulus, attach
from clip_align.evaluation import event
from clip_align.evaluation.description import described
from clip_align.evaluation.prepare import why_null
from clip_align.evaluation.scoring import NAME, all_scores, refuse_names
from clip_align.evaluation.stimulus import valid_image
from clip_align.processes.ranks import Ranks
from clip_align.testing import gloo_ranks, stubs
from clip_align.testing.random_images import random_image
from clip_align.testing.stubs import Stub

__all__ = [
    "CHECKS",
    "Check",
    "CheckFailedError",
    "Make",
    "Stub",
    "adapted",
    "cheap",
    "check_all",
    "event_fields",
    "same_on_two_ranks",
]

Make = Callable[[], PerceptualCallback]
DEFAULT = Stub()


class Check(Protocol):
    """A check: CheckFailedError if a callback violates the contract.

    ``make`` constructs the callback, ``folder`` is for its images, ``stub`` is the model.
    """

    __name__: str

    def __call__(self, make: Make, folder: Path, stub: Stub = DEFAULT) -> None: ...  # noqa: D102


class CheckFailedError(AssertionError):
    """A callback violates the contract in the way that the message describes."""


def require(condition: object, message: str) -> None:
    """CheckFailedError with ``message`` unless the condition holds (also under ``python -O``)."""
    if not condition:
        raise CheckFailedError(message)


def cheap(callback: PerceptualCallback, stub: Stub = DEFAULT) -> PerceptualCallback:
    """The same callback, each stimulus a random image of the stub's size that depends on its id alone."""
    real = callback.stimuli

    def stimuli() -> Iterator[Stimulus]:
        for stimulus in real():
            yield Stimulus(stimulus.id, partial(random_image, stimulus.id, stub.size, stub.size), "native")

    callback.stimuli = stimuli  # type: ignore[method-assign]
    return callback


def adapted(make: Make, stub: Stub = DEFAULT) -> PerceptualCallback:
    """A callback that has adapted to the stub model; ``null_reason`` is why it is null for that model, else None."""
    callback = make()
    callback.null_reason = why_null(callback, stub.evaluated())
    return callback


def is_not_null(make: Make, folder: Path, stub: Stub = DEFAULT) -> None:
    """The benchmark can be evaluated with the stub; otherwise the other checks would look at nothing."""
    callback = adapted(make, stub)
    require(
        callback.null_reason is None,
        f"{callback.key} is null for the battery's model ({stub.size} px, {stub.words:,} words), so that its items are "
        f"not checked: {callback.null_reason}; give it another one, battery.Stub(size=64) or --size=64",
    )


def describes_itself(make: Make, folder: Path, stub: Stub = DEFAULT) -> None:
    """Version, human data, stand-in, source, licence; per score a label, a direction, chance and limits."""
    callback = adapted(make, stub)
    about = described(callback, 8)
    require(json.loads(json.dumps(about)) == about, f"{callback.key}: its benchmark line is not plain JSON")
    require(callback.version >= 1, f"{callback.key}: version is {callback.version}; it counts from 1")
    for name in ("human_data", "stand_in", "source", "licence"):
        require(about[name].strip(), f"{callback.key} does not define its {name}; if there is none, write none")
    require((type(callback).__doc__ or "").strip(), f"{callback.key}: its class has no docstring")
    require(callback.scores, f"{callback.key} has no scores")
    refuse_names(callback)
    for score in callback.scores:
        name = f"{callback.key}/{score.name}"
        require(score.label.strip(), f"{name} has no label")
        require(score.direction.strip(), f"{name} does not define what a higher value means (direction)")
        require(score.chance is None or math.isfinite(score.chance), f"{name}: chance is {score.chance}")
        require(score.role == "detail" or score.unit, f"{name} is drawn with a band, of what unit?")
    require(any(score.role == "headline" for score in callback.scores), f"{callback.key} has no headline score")


def eight_images(make: Make, folder: Path, stub: Stub = DEFAULT) -> None:
    """The first eight real stimuli: images, the same twice, that another process can make."""
    callback = adapted(make, stub)
    if callback.null_reason is not None:  # then nothing is encoded
        return
    stimuli = list(itertools.islice(callback.stimuli(), 8))
    require(stimuli, "stimuli() names none")
    require(len({s.id for s in stimuli}) == len(stimuli), "two stimuli have the same id")
    for stimulus in stimuli:
        image = valid_image(stimulus.load())
        require(image.ndim == 3 and image.shape[2] == 3, f"{stimulus.id}: shape {image.shape}, not [H, W, 3]")
        require(image.dtype in (np.uint8, np.float32), f"{stimulus.id}: {image.dtype}, not uint8 or float32")
        again = pickle.loads(pickle.dumps(stimulus)).load()
        require(np.array_equal(image, again), f"{stimulus.id}: another image when it is made again")


def twice_the_same(make: Make, folder: Path, stub: Stub = DEFAULT) -> None:
    """Two events of the same weights give the same fields and items."""
    made, record = stubs.evaluator([cheap(make(), stub)], stub.evaluated(), folder)
    key = next(iter(made.benchmarks))
    # any two steps: an event depends on the weights alone
    for step in (0, 1):
        made.evaluate(step, [key], contextlib.nullcontext)
    require(record.scores(0) == record.scores(1), "two events of the same weights differ")
    if (key, 0) in record.items:  # absent if the callback is null for the model
        items = [record.items[key, step] for step in (0, 1)]
        same = all(np.array_equal(items[0][name], items[1][name], equal_nan=True) for name in items[0])
        require(same, "two events of the same weights differ in their items")


def writes_what_it_declares(make: Make, folder: Path, stub: Stub = DEFAULT) -> None:
    """Each declared score has a key with its band, or null with a reason; further numbers are finite."""
    callback = cheap(make(), stub)
    fields = stubs.evaluated([callback], stub.evaluated(), folder)
    expected: set[str] = set()
    for score in all_scores(callback):
        path = f"{callback.key}/{score.name}"
        require(path in fields, f"{path} was declared and not written")
        value = fields[path]
        if value is None:
            expected |= {path, f"{path}/reason"}
            reason = fields[f"{path}/reason"]
            require(reason.strip(), f"{path} is null without a reason")
            require(not reason.startswith("failed: "), f"{path} is null: {reason}")
            continue
        expected |= {path, f"{path}/low", f"{path}/high"}
    notes = {name: value for name, value in fields.items() if name not in expected}
    for name, value in notes.items():
        require(re.fullmatch(rf"{callback.key}/{NAME.pattern}", name), f"note {name}: not family/name/words")
        require(isinstance(value, float), f"note {name} is {value!r}, not a number")


def constant_model_is_null(make: Make, folder: Path, stub: Stub = DEFAULT) -> None:
    """For a model with constant embeddings, and one whose weights are NaN, every score is null with a reason.

    An event tests for this before it calls ``items()``; the second time that test is disabled, so that the benchmark's
    own code has to notice.
    """
    for kind in (stubs.ConstantModel, stubs.BrokenModel):
        for check in (contextlib.nullcontext(), mock.patch.object(event, "why_unusable", return_value=None)):
            callback = cheap(make(), stub)
            with check:
                fields = stubs.evaluated([callback], stub.evaluated(kind), folder)
            for score in callback.scores:
                path = f"{callback.key}/{score.name}"
                value, reason = fields[path], fields.get(f"{path}/reason")
                require(value is None, f"{path} is {value} for a {kind.__name__}, which knows nothing")
                require(reason and not reason.startswith("failed: "), f"{path} of a {kind.__name__}: {reason}")


class _Training(pl.LightningModule):
    """A training with dropout, which draws random numbers at every step."""

    def __init__(self, stub: Stub) -> None:
        super().__init__()
        self.clip = stub.evaluated().model
        self.losses: list[float] = []

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        """The loss, kept as a number too."""
        loss: torch.Tensor = self.clip.encode_image(batch[0]).pow(2).mean()  # type: ignore[operator]
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain gradient descent."""
        return torch.optim.SGD(self.parameters(), lr=0.1)


def does_not_disturb_training(make: Make, folder: Path, stub: Stub = DEFAULT) -> None:
    """The losses of a training with dropout and shuffling are bit-identical with and without the callback."""
    losses = []
    for callbacks in ([], [cheap(make(), stub)]):
        for callback in callbacks:
            callback.every_n_steps = 2  # events within the five steps, not only at their ends
            callback.tokenizer = stub.tokenizer()
        attach(callbacks, EvaluationSettings(folder, notify=lambda line: None))
        torch.manual_seed(1)  # of the weights, the dropout and the order of the images
        module = _Training(stub)
        images = torch.randn(24, 3, stub.size, stub.size, generator=torch.Generator().manual_seed(0))
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
        require(all(c.last_step == 5 for c in callbacks), "the last step was not evaluated")
        losses.append(module.losses)
    require(losses[0] == losses[1], "training losses differ with the callback and without")


CHECKS: tuple[Check, ...] = (
    is_not_null,
    describes_itself,
    eight_images,
    twice_the_same,
    writes_what_it_declares,
    constant_model_is_null,
    does_not_disturb_training,
)


def check_all(make: Make, folder: Path, stub: Stub = DEFAULT) -> None:
    """All checks of one callback that need a single process; CheckFailedError at the first one that fails.

    Args:
        make: constructs the callback again.
        folder: for the images of the checks (pytest's ``tmp_path``).
        stub: the model that it is evaluated with.
    """
    for check in CHECKS:
        check(make, folder / check.__name__, stub)


def event_fields(
    callback: PerceptualCallback, cache: Path, ranks: Ranks, stub: Stub = DEFAULT
) -> dict[str, Any] | None:
    """The fields of one event on rank 0; None on other ranks.

    Args:
        callback: evaluated with the stub model.
        cache: folder for its images.
        ranks: the process group.
        stub: the model.
    """
    made, record = stubs.evaluator([cheap(callback, stub)], stub.evaluated(), cache, ranks)
    made.evaluate(0, [callback.key], contextlib.nullcontext)
    return record.scores() if ranks.rank == 0 else None


def same_on_two_ranks(make: Make, folder: Path, stub: Stub = DEFAULT) -> None:
    """One and two ranks yield the same numbers. Forks: call before torch has computed anything in this process."""

    def work(ranks: Ranks) -> dict[str, Any] | None:
        return event_fields(make(), folder, ranks, stub)

    one, two = (gloo_ranks.on_ranks(world, work)[0] for world in (1, 2))
    for fields in (one, two):
        require("raised" not in fields, f"on ranks: {fields.get('raised')}")
    require(one == two, "the numbers of two ranks are not those of one")
