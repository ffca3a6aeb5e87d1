# SPDX-License-Identifier: Apache-2.0
"""What types and ranges cannot say: combinations of keys, names of models and runs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from clip_align import open_clip_names
from clip_align.config import (
    CallbackConfig,
    CheckpointConfig,
    Config,
    DataConfig,
    FolderData,
    ModelConfig,
    PathsConfig,
    ShardData,
    TrainerConfig,
    WorldData,
)
from clip_align.errors import Problem, related
from clip_align.runs.folder import bad_name

TINY_STRIDE = 8  # models.tiny.STRIDE, which cannot be imported without torch
HALF_WITHOUT_GPU = Problem("trainer.precision", "16-mixed needs a GPU; on the CPU take bf16-mixed or 32")
BATCH = ("data.batch_size", "trainer.accumulate", "trainer.devices")  # what a global batch is made of
RECORD_KEY = re.compile(r"[a-z0-9_]+/[a-z0-9_]+/[a-z0-9_]+(@[a-z0-9_]+)?")


class Found(NamedTuple):
    """A problem, and the keys that it was concluded from (none: its own)."""

    problem: Problem
    reads: tuple[str, ...] = ()


def problems(config: Config, refused: Collection[str] = ()) -> list[Problem]:
    """Everything wrong with a configuration whose types and single values are right.

    Args:
        config: where a value was refused, its default stands in its place.
        refused: keys of those values; what follows from one of them is left out.
    """
    checks = (
        _name(config.name, config.resume),
        _paths(config.paths),
        _best(config.checkpoint.best, config.callbacks, config.resume is not None),
        _data(config.data, config.trainer),
        _noise(config.data, config.callbacks),
        _model(config.model),
        _trainer(config.trainer, config.data.batch_size),
    )
    found = [one for check in checks for one in check]
    return [p for p, reads in found if not any(related(key, read) for key in refused for read in reads or [p.key])]


def _name(name: str | None, resume: str | None) -> Iterator[Found]:
    if name is not None and (problem := bad_name(name)):
        yield Found(problem)
    if resume == "auto" and name is None:
        yield Found(Problem("resume", "auto needs to know which run: type name=… too"), ("resume", "name"))


def _paths(paths: PathsConfig) -> Iterator[Found]:
    if not paths.runs.strip():
        yield Found(Problem("paths.runs", "empty; give a folder: paths.runs=runs"))
    if paths.cache is not None and not paths.cache.strip():
        yield Found(Problem("paths.cache", "empty; give a folder, or null for the user's cache folder"))


def _best(best: str | None, callbacks: Mapping[str, CallbackConfig], resumed: bool) -> Iterator[Found]:
    """The score whose best value is kept; the default one may be one that this run does not measure."""
    if best is None:
        return
    if not RECORD_KEY.fullmatch(best):
        yield Found(
            Problem("checkpoint.best", f"'{best}' is not a key of the record; it looks like human/tid2013_remade/srocc")
        )
    elif best != CheckpointConfig().best:
        names = [str(c.arguments.get("name") or name) for name, c in callbacks.items()]
        if best.split("/")[1] not in names:
            none = "for no best: checkpoint.best=null"
            hint = "leave the callback in, a run continues with it" if resumed else none
            what = f"no callback that is chosen writes {best}; chosen are: {', '.join(names) or 'none'}; {hint}"
            reads = ("checkpoint.best", "callbacks.*.name", *(f"callbacks.{name}.name" for name in callbacks))
            yield Found(Problem("checkpoint.best", what), reads)


def _data(data: DataConfig, trainer: TrainerConfig) -> Iterator[Found]:
    yield from _backwards("data.crop_scale", data.crop_scale)
    if isinstance(data, WorldData):
        yield from _backwards("data.scale", data.scale)
        batch = data.batch_size * trainer.accumulate * (trainer.devices or 1)
        if batch > data.images:
            most = data.images // (trainer.accumulate * (trainer.devices or 1))
            what = f"a global batch of {batch} is larger than the data, {data.images} images; at most {most} here"
            yield Found(Problem("data.batch_size", what), ("data.images", *BATCH))
    if isinstance(data, ShardData):
        if not data.shards:
            yield Found(Problem("data.shards", "not given; type data.shards='/a/x-{000..003}.tar'", missing=True))
        for source in data.shards:
            if not source.shards.strip():
                yield Found(Problem("data.shards", "empty; type data.shards='/a/x-{000..003}.tar'"))
            if source.shards.startswith("pipe:") or "://" in source.shards:
                what = f"{source.shards} is not a local path; download the shards first"
                yield Found(Problem("data.shards", what))
    if isinstance(data, FolderData) and not data.csv:
        yield Found(Problem("data.csv", "not given; type data.csv=/path/captions.csv", missing=True))


def _backwards(key: str, span: tuple[float, float]) -> Iterator[Found]:
    low, high = span
    if low > high:
        yield Found(Problem(key, f"[{low}, {high}] runs backwards; the smaller share comes first"))


def _noise(data: DataConfig, callbacks: Mapping[str, CallbackConfig]) -> Iterator[Found]:
    """Noise that images have in training must be weaker than any that is tested."""
    if not isinstance(data, WorldData):
        return
    for name, callback in callbacks.items():
        sigmas = callback.arguments.get("sigmas")
        tested = [s for s in sigmas if isinstance(s, (int, float))] if isinstance(sigmas, (list, tuple)) else []
        if tested and data.sensor_noise >= min(tested):
            what = (
                f"{data.sensor_noise} is not below {min(tested)}, the smallest sigma that a "
                "callback tests; noise that is trained on tests nothing"
            )
            yield Found(Problem("data.sensor_noise", what), ("data.sensor_noise", f"callbacks.{name}.sigmas"))


def _model(model: ModelConfig) -> Iterator[Found]:
    if model.kind == "tiny":
        if model.name is not None:
            what = f"'{model.name}' with model=tiny; type model=open_clip model.name={model.name}"
            yield Found(Problem("model.name", what))
        if model.image_size is None:
            what = "null; model=tiny has no size of its own, type model.image_size=32"
            yield Found(Problem("model.image_size", what))
        elif model.image_size % TINY_STRIDE:
            near = round(model.image_size / TINY_STRIDE) * TINY_STRIDE
            what = f"{model.image_size}; model=tiny takes multiples of {TINY_STRIDE}: model.image_size={near}"
            yield Found(Problem("model.image_size", what))
    elif model.name is None:
        yield Found(Problem("model.name", "not given; type model.name=ViT-B-32"))
    elif model.name == "tiny":
        what = "tiny is not an open_clip architecture but a model of its own; type model=tiny"
        yield Found(Problem("model.name", what))
    elif problem := open_clip_names.problem(model.name):
        yield Found(Problem("model.name", problem))


def _trainer(trainer: TrainerConfig, batch_size: int) -> Iterator[Found]:
    lengths = ("trainer.max_steps", "trainer.samples")
    if trainer.max_steps is None and trainer.samples is None:
        yield Found(Problem("trainer", "neither max_steps nor samples is given; type one of them"), lengths)
    if trainer.max_steps is not None and trainer.samples is not None:
        what = f"both max_steps={trainer.max_steps} and samples={trainer.samples} are given"
        yield Found(Problem("trainer", f"{what}; keep one and set the other to null"), lengths)
    batch = batch_size * trainer.accumulate * (trainer.devices or 1)
    if trainer.samples is not None and trainer.samples < batch:
        what = f"{trainer.samples} are fewer than one global batch of {batch}"
        yield Found(Problem("trainer.samples", what), ("trainer.samples", *BATCH))
    if trainer.kind == "cpu" and trainer.precision == "16-mixed":
        yield Found(HALF_WITHOUT_GPU, ("trainer.kind", "trainer.precision"))
