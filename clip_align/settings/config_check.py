# SPDX-License-Identifier: Apache-2.0
"""What types and ranges cannot say: combinations of keys, names of models and runs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from clip_align import open_clip_names
from clip_align.config import CheckpointConfig, Config, FolderData, ModelConfig, ShardData, TrainerConfig, WorldData
from clip_align.errors import Missing
from clip_align.runs.folder import bad_name

TINY_STRIDE = 8  # models.tiny.STRIDE, which cannot be imported without torch
HALF_WITHOUT_GPU = "trainer.precision: 16-mixed needs a GPU; on the CPU take bf16-mixed or 32"
RECORD_KEY = re.compile(r"[a-z0-9_]+/[a-z0-9_]+/[a-z0-9_]+(@[a-z0-9_]+)?")


def problems(config: Config) -> list[str]:
    """Everything wrong with a configuration whose types and single values are right, a line each."""
    return [
        *_names(config),
        *_best(config),
        *_data(config),
        *_model(config.model),
        *_trainer(config),
    ]


def _names(config: Config) -> Iterator[str]:
    if config.name is not None and (problem := bad_name(config.name)):
        yield problem
    if not config.paths.runs.strip():
        yield "paths.runs: empty; give a folder: paths.runs=runs"
    if config.paths.cache is not None and not config.paths.cache.strip():
        yield "paths.cache: empty; give a folder, or null for the user's cache folder"
    if config.resume == "auto" and config.name is None:
        yield "resume: auto needs to know which run: type name=… too"


def _best(config: Config) -> Iterator[str]:
    """The score whose best value is kept; the default one may be one that this run does not measure."""
    best = config.checkpoint.best
    if best is None:
        return
    if not RECORD_KEY.fullmatch(best):
        yield f"checkpoint.best: '{best}' is not a key of the record; it looks like human/tid2013_remade/srocc"
    elif best != CheckpointConfig().best:
        names = [str(c.arguments.get("name") or name) for name, c in config.callbacks.items()]
        if best.split("/")[1] not in names:
            none = "for no best: checkpoint.best=null"
            hint = "leave the callback in, a run continues with it" if config.resume else none
            yield (
                f"checkpoint.best: no callback that is chosen writes {best}; "
                f"chosen are: {', '.join(names) or 'none'}; {hint}"
            )


def _data(config: Config) -> Iterator[str]:
    data, trainer = config.data, config.trainer
    low, high = data.crop_scale
    if low > high:
        yield f"data.crop_scale: [{low}, {high}] runs backwards; the smaller share comes first"
    if isinstance(data, WorldData):
        if data.scale[0] > data.scale[1]:
            yield f"data.scale: [{data.scale[0]}, {data.scale[1]}] runs backwards; the smaller share comes first"
        batch = data.batch_size * trainer.accumulate * (trainer.devices or 1)
        if batch > data.images:
            yield (
                f"data.batch_size: a global batch of {batch} is larger than the data, {data.images} images; "
                f"at most {data.images // (trainer.accumulate * (trainer.devices or 1))} here"
            )
        tested = [s for c in config.callbacks.values() for s in _numbers(c.arguments.get("sigmas"))]
        if tested and data.sensor_noise >= min(tested):
            yield (
                f"data.sensor_noise: {data.sensor_noise} is not below {min(tested)}, the smallest sigma that a "
                "callback tests; noise that is trained on tests nothing"
            )
    if isinstance(data, ShardData):
        if not data.shards:
            yield Missing("data.shards: not given; type data.shards='/a/x-{000..003}.tar'")
        for source in data.shards:
            if not source.shards.strip():
                yield "data.shards: empty; type data.shards='/a/x-{000..003}.tar'"
            if source.shards.startswith("pipe:") or "://" in source.shards:
                yield f"data.shards: {source.shards} is not a local path; download the shards first"
    if isinstance(data, FolderData) and not data.csv:
        yield Missing("data.csv: not given; type data.csv=/path/captions.csv")


def _numbers(value: object) -> list[float]:
    return [v for v in value if isinstance(v, (int, float))] if isinstance(value, (list, tuple)) else []


def _model(model: ModelConfig) -> Iterator[str]:
    if model.kind == "tiny":
        if model.name is not None:
            yield f"model.name: '{model.name}' with model=tiny; type model=open_clip model.name={model.name}"
        if model.image_size is None:
            yield "model.image_size: null; model=tiny has no size of its own, type model.image_size=32"
        elif model.image_size % TINY_STRIDE:
            near = round(model.image_size / TINY_STRIDE) * TINY_STRIDE
            what = f"model=tiny takes multiples of {TINY_STRIDE}: model.image_size={near}"
            yield f"model.image_size: {model.image_size}; {what}"
    elif model.name is None:
        yield "model.name: not given; type model.name=ViT-B-32"
    elif model.name == "tiny":
        yield "model.name: tiny is not an open_clip architecture but a model of its own; type model=tiny"
    elif problem := open_clip_names.problem(model.name):
        yield f"model.name: {problem}"


def _trainer(config: Config) -> Iterator[str]:
    trainer: TrainerConfig = config.trainer
    if trainer.max_steps is None and trainer.samples is None:
        yield "trainer: neither max_steps nor samples is given; type one of them"
    if trainer.max_steps is not None and trainer.samples is not None:
        yield (
            f"trainer: both max_steps={trainer.max_steps} and samples={trainer.samples} are given; "
            "keep one and set the other to null"
        )
    batch = config.data.batch_size * trainer.accumulate * (trainer.devices or 1)
    if trainer.samples is not None and trainer.samples < batch:
        yield f"trainer.samples: {trainer.samples} are fewer than one global batch of {batch}"
    if trainer.kind == "cpu" and trainer.precision == "16-mixed":
        yield HALF_WITHOUT_GPU
