# SPDX-License-Identifier: Apache-2.0
"""Evaluate a model that a program has in memory, with or without a record on the disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clip_align.callbacks.base import PerceptualCallback
from clip_align.callbacks.build import build_callbacks
from clip_align.errors import Problem, RunError, UserError
from clip_align.evaluation.description import described
from clip_align.evaluation.evaluated_model import EvaluatedModel, find_model
from clip_align.evaluation.evaluator import EvaluationSettings, Evaluator
from clip_align.processes.ranks import Ranks
from clip_align.record.lines import as_read
from clip_align.record.record import History, Position, deliver, read
from clip_align.record.tidy import Tidy, of_history, tidy
from clip_align.report import page
from clip_align.runs.folder import RunFolder, user_cache, write_provenance
from clip_align.runs.provenance import provenance
from clip_align.series.series_record import KIND, SeriesRecord, check_folder, check_options, make_folder
from clip_align.series.table import write_csv
from clip_align.settings.load_config import load
from clip_align.tracking.console_lines import Lines
from clip_align.training.components import held_out_world


class FunctionEncoder(nn.Module):
    """A function of images as a model.

    Args:
        function: [N, 3, S, S], normalized -> [N, D].
        device: where it takes its images.
    """

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], device: str) -> None:
        super().__init__()
        parameters = function.parameters() if isinstance(function, nn.Module) else iter(())
        dtype = next((p.dtype for p in parameters if p.is_floating_point()), torch.float32)
        # device and precision of a model are those of its parameters: this is the first of them
        self.place = nn.Parameter(torch.zeros((), device=device, dtype=dtype), requires_grad=False)
        self._function = function

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """Embeddings [N, D] of images [N, 3, S, S]."""
        return self._function(images)


def model_under_evaluation(
    model: nn.Module | Callable[[torch.Tensor], torch.Tensor],
    size: int | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    tokenizer: Callable[[list[str]], torch.Tensor] | None,
    device: str | None,
) -> EvaluatedModel:
    """The model under evaluation; arguments as of `clip_align.api.evaluate`.

    UserError for what is missing: a function says neither its size nor its normalization.
    """
    if isinstance(model, nn.Module) and hasattr(model, "encode_image"):
        if device is not None:
            raise UserError(Problem("device", "of a function only; a module is evaluated where it is: model.to(…)"))
        own = getattr(getattr(model, "visual", None), "image_size", None)
        if own is not None and size in (None, own):
            return find_model(model, tokenizer=tokenizer, mean=mean, std=std)
        return _given(model, size, mean, std, tokenizer)
    if not callable(model):
        what = f"{type(model).__name__} has no encode_image and is no function of images"
        raise UserError(Problem("model", what))
    if isinstance(model, nn.Module):  # one that is called: its forward makes embeddings, on its own device
        device = device or str(next((p.device for p in model.parameters()), "cpu"))
    return _given(FunctionEncoder(model, device or "cpu"), size, mean, std, tokenizer)


def evaluate_model(
    model: EvaluatedModel,
    callbacks: Sequence[str | PerceptualCallback],
    batch_size: int | None,
    cache: str | None,
    output: Path | None,
    place: tuple[int, int],
) -> Tidy:
    """Evaluate and return the scores; RunError where an evaluation fails.

    Args:
        model: the model under evaluation.
        callbacks: names of the configuration, or objects.
        batch_size: images per forward pass; None: 256.
        cache: as ``paths.cache``.
        output: folder of the record; None: in memory.
        place: optimizer steps and samples, for the record.
    """
    folder, line = user_cache(cache)
    notify = Lines()
    if line:
        notify(line)
    benchmarks = _callbacks(callbacks, folder)
    memory = MemoryRecord()
    position = Position(*place, 0, 0.0)
    record = None
    run = RunFolder(output) if output is not None else None
    if run is not None:
        identity = {"subject": "python"}
        check_folder(run, identity)
        record = SeriesRecord(run.path)
    settings = EvaluationSettings(cache=folder, record=record or memory, batch_size=batch_size, notify=notify)
    evaluator = Evaluator([(b, model) for b in benchmarks], settings, Ranks(), lambda step: position)
    evaluator.prepare()
    for warning in evaluator.warnings:
        notify(f"warning: {warning}")
    with _recorded(run, record, benchmarks, position) if run is not None and record is not None else nullcontext():
        if evaluator.evaluate(place[0], [b.key for b in benchmarks], nullcontext) is None:
            raise RunError(Problem("evaluate", "interrupted"))
    if run is None:
        return of_history(memory.history)
    page.write(run.path, status="done")
    write_csv(read(run.path), run.path)
    return tidy(run.path)


class MemoryRecord:
    """A `RecordWriter` that keeps lines in memory, and no items."""

    def __init__(self) -> None:
        self.history = History()

    def append(self, kind: str, position: Position, fields: Mapping[str, Any]) -> None:
        """Add one line; arguments as for `Record.append`."""
        line = as_read({"kind": kind, **vars(position), **fields})
        if line is not None:
            deliver(line, self.history)

    def write_items(self, key: str, step: int, *columns: Any) -> None:
        """Items are not kept."""

    def items_differ(self, key: str, *columns: Any) -> Path | None:
        """There are no earlier items."""
        return None


def _callbacks(given: Sequence[str | PerceptualCallback], cache: Path) -> list[PerceptualCallback]:
    """Objects as they are, names from the configuration, in the order of ``given``."""
    if isinstance(given, str):
        raise UserError(Problem("callbacks", f"a list is needed: [{given!r}]"))
    names = [callback for callback in given if isinstance(callback, str)]
    others = [type(c).__name__ for c in given if not isinstance(c, str | PerceptualCallback)]
    if others or not given:
        what = f"{', '.join(others) or 'none'}; give names such as tid2013_remade, or perceptual callbacks"
        raise UserError(Problem("callbacks", what))
    built: list[PerceptualCallback] = []
    if names:
        config = load([f"callbacks=[{','.join(names)}]", "evaluation.every_n_steps=1", "tracker=none"])
        world = {"world": lambda: held_out_world(config.data, config.callbacks, cache, Lines())}
        built = build_callbacks(config.callbacks, world)
    return [*built, *(callback for callback in given if isinstance(callback, PerceptualCallback))]


def _given(
    model: nn.Module,
    size: int | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    tokenizer: Callable[[list[str]], torch.Tensor] | None,
) -> EvaluatedModel:
    absent = [name for name, value in (("size", size), ("mean", mean), ("std", std)) if value is None]
    if size is None or mean is None or std is None:
        what = f"give {', '.join(f'{name}=…' for name in absent)}: of the input in pixels, of the channels on [0, 1]"
        raise UserError(Problem("model", what))
    triples = [tuple(map(float, values)) for values in (mean, std)]
    if any(len(triple) != 3 for triple in triples):
        raise UserError(Problem("model", f"mean and std need three channels, got {triples[0]} and {triples[1]}"))
    (red, green, blue), (r, g, b) = triples
    return EvaluatedModel(model, size, (red, green, blue), (r, g, b), tokenizer)


@contextmanager
def _recorded(
    run: RunFolder, record: SeriesRecord, benchmarks: Sequence[PerceptualCallback], position: Position
) -> Iterator[None]:
    """Inside, the record is open and its folder held; afterwards both say how the evaluation ended."""
    check_options(run.path, [described(benchmark, None) for benchmark in benchmarks])
    held = make_folder(run)
    about = provenance(["clip_align.evaluate"], 0, status="running", exit_code=None, ended=None)
    write_provenance(run, **about, **{KIND: {"subject": "python"}})
    opened = record.open([])
    keys = ", ".join(benchmark.key for benchmark in benchmarks)
    started = {"event": "started", "message": f"evaluated in Python: {keys}", "run": run.path.name}
    opened.append("event", position, {**started, "regular_every": 1})
    code, event, status = RunError.exit_code, "stopped", "failed"
    try:
        yield
        code, event, status = 0, "finished", "done"
    finally:
        message = f"{status} at step {position.global_step}"
        opened.append("event", position, {"event": event, "message": message, "exit_code": code})
        opened.close(status)
        write_provenance(run, status=status, exit_code=code)
        if held is not None:
            os.close(held)
