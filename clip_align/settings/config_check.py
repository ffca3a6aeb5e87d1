# SPDX-License-Identifier: Apache-2.0
"""Checks beyond types and ranges: combinations of keys, names of models and runs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from clip_align import open_clip_names
from clip_align.config import (
    BATCH,
    CallbackConfig,
    CheckpointConfig,
    Config,
    DataConfig,
    ModelConfig,
    PathsConfig,
    TrainerConfig,
)
from clip_align.errors import Finding, Problem, related
from clip_align.runs.folder import bad_name

TINY_STRIDE = 8  # models.tiny.STRIDE, which cannot be imported without torch
HALF_WITHOUT_GPU = Problem("trainer.precision", "16-mixed needs a GPU; on the CPU take bf16-mixed or 32")
ONE_SHARD = Problem(
    "trainer",
    "fsdp divides a model over several ranks and there is one; give trainer.devices=2 or more, or take trainer=auto",
)
# family/benchmark/score, with @ and the layer, the set of weights, where there are several
RECORD_KEY = re.compile(r"[a-z0-9_]+/[a-z0-9_]+/[a-z0-9_]+(@[a-z0-9_]+){0,2}")


def problems(config: Config, refused: Collection[str] = ()) -> list[Problem]:
    """Everything wrong with a configuration whose types and single values are right.

    Args:
        config: with defaults in place of invalid values.
        refused: keys of those values; problems that depend on one of them are left out.
    """
    checks = (
        _place(config.name, config.resume, config.paths),
        _best(config.checkpoint.best, config.callbacks, config.resume is not None),
        config.data.combinations(_batches(config.trainer)),
        _noise(config.data, config.callbacks),
        _model(config.model),
        _initial(config),
        _trainer(config.trainer, config.data.batch_size),
        _towers(config.model, config.trainer),
    )
    found = [one for check in checks for one in check]
    return [p for p, reads in found if not any(related(key, read) for key in refused for read in reads or [p.key])]


def _place(name: str | None, resume: str | None, paths: PathsConfig) -> Iterator[Finding]:
    """The run's name and its folders, without looking at the disk."""
    if name is not None and (problem := bad_name(name)):
        yield Finding(problem)
    if resume == "auto" and name is None:  # auto looks for the run of that name
        yield Finding(Problem("resume", "auto needs to know which run: type name=… too"), ("resume", "name"))
    if not paths.runs.strip():
        yield Finding(Problem("paths.runs", "empty; give a folder: paths.runs=runs"))
    if paths.cache is not None and not paths.cache.strip():
        yield Finding(Problem("paths.cache", "empty; give a folder, or null for the user's cache folder"))
    if not paths.data.strip():
        yield Finding(Problem("paths.data", "empty; give a folder: paths.data=data"))


def _best(best: str | None, callbacks: Mapping[str, CallbackConfig], resumed: bool) -> Iterator[Finding]:
    """The score of the best checkpoint; only the default one may be absent from the run."""
    if best is None:
        return
    if not RECORD_KEY.fullmatch(best):
        yield Finding(
            Problem("checkpoint.best", f"'{best}' is not a key of the record; it looks like human/tid2013_remade/srocc")
        )
    elif best != CheckpointConfig().best:  # it was chosen, so a run without it is a mistake
        names = [str(c.arguments.get("name") or name) for name, c in callbacks.items()]
        if best.split("/")[1] not in names:
            none = "for no best: checkpoint.best=null"
            hint = "leave the callback in, a run continues with it" if resumed else none
            what = f"no callback that is chosen writes {best}; chosen are: {', '.join(names) or 'none'}; {hint}"
            # a name that is invalid itself says nothing about what is written
            reads = ("checkpoint.best", "callbacks.*.name", *(f"callbacks.{name}.name" for name in callbacks))
            yield Finding(Problem("checkpoint.best", what), reads)


def _noise(data: DataConfig, callbacks: Mapping[str, CallbackConfig]) -> Iterator[Finding]:
    """Noise in training images must be weaker than any tested noise."""
    if data.noise_option is None:
        return
    key, noise = f"data.{data.noise_option}", getattr(data, data.noise_option)
    for name, callback in callbacks.items():
        sigmas = callback.arguments.get("sigmas")
        # sigmas of another type have a problem of their own
        tested = [s for s in sigmas if isinstance(s, (int, float))] if isinstance(sigmas, (list, tuple)) else []
        if tested and noise >= min(tested):
            what = (
                f"{noise} is not below {min(tested)}, the smallest sigma that a "
                "callback tests; testing noise that was trained on is meaningless"
            )
            yield Finding(Problem(key, what), (key, f"callbacks.{name}.sigmas"))


def _model(model: ModelConfig) -> Iterator[Finding]:
    if model.kind == "tiny":
        yield from _texts(model)
        if model.name is not None:
            what = f"'{model.name}' with model=tiny; type model=open_clip model.name={model.name}"
            yield Finding(Problem("model.name", what))
        if model.image_size is None:
            what = "null; model=tiny has no default size, type model.image_size=32"
            yield Finding(Problem("model.image_size", what))
        elif model.image_size % TINY_STRIDE:
            near = round(model.image_size / TINY_STRIDE) * TINY_STRIDE
            what = f"{model.image_size}; model=tiny takes multiples of {TINY_STRIDE}: model.image_size={near}"
            yield Finding(Problem("model.image_size", what))
    elif model.name is None:
        yield Finding(Problem("model.name", "not given; type model.name=ViT-B-32"))
    elif model.name == "tiny":
        what = "tiny is not an open_clip architecture but the option model=tiny; type that"
        yield Finding(Problem("model.name", what))
    elif problem := open_clip_names.problem(model.name):  # unknown, or one that would be downloaded
        yield Finding(Problem("model.name", problem))


def _initial(config: Config) -> Iterator[Finding]:
    """What a run starts from, without looking for it."""
    pretrained, source = config.model.pretrained, config.init_from
    if pretrained is not None and config.model.kind == "tiny":
        what = f"'{pretrained}' with model=tiny, of which there are no pretrained weights; type model=vit_b_32"
        yield Finding(Problem("model.pretrained", what), ("model.pretrained", "model.kind"))
    if source is not None and pretrained is not None:
        what = f"'{source}' and model.pretrained='{pretrained}' are given; a run starts from one of them"
        yield Finding(Problem("init_from", what), ("init_from", "model.pretrained"))
    for key, value in (("init_from", source), ("model.pretrained", pretrained)):
        if value is not None and not value.strip():
            yield Finding(Problem(key, "empty; name what to start from, or give null for random weights"))
    if config.init_weights is not None and source is None:
        what = f"{config.init_weights} of which run? type init_from=<run> too"
        yield Finding(Problem("init_weights", what), ("init_weights", "init_from"))


def _texts(model: ModelConfig) -> Iterator[Finding]:
    """What the tiny model reads."""
    if model.context_length is not None:
        what = f"{model.context_length} with model=tiny; type model.context={model.context_length}"
        yield Finding(Problem("model.context_length", what))
    if not model.has_words and model.vocabulary != ModelConfig().vocabulary:
        what = f"{model.vocabulary} with model.tokenizer=open_clip, which has a vocabulary of its own; leave it out"
        yield Finding(Problem("model.vocabulary", what), ("model.vocabulary", "model.tokenizer"))


def _trainer(trainer: TrainerConfig, batch_size: int) -> Iterator[Finding]:
    lengths = ("trainer.max_steps", "trainer.samples")
    if trainer.max_steps is None and trainer.samples is None:
        yield Finding(Problem("trainer", "neither max_steps nor samples is given; type one of them"), lengths)
    if trainer.max_steps is not None and trainer.samples is not None:
        what = f"both max_steps={trainer.max_steps} and samples={trainer.samples} are given"
        yield Finding(Problem("trainer", f"{what}; keep one and set the other to null"), lengths)
    # a lower bound: under torchrun, or with all GPUs, there are more ranks
    batch = batch_size * _batches(trainer)
    if trainer.samples is not None and trainer.samples < batch:
        what = f"{trainer.samples} are fewer than one global batch of {batch}"
        yield Finding(Problem("trainer.samples", what), ("trainer.samples", *BATCH))
    if trainer.kind == "cpu" and trainer.precision == "16-mixed":
        yield Finding(HALF_WITHOUT_GPU, ("trainer.kind", "trainer.precision"))
    if trainer.kind == "fsdp" and trainer.devices == 1:
        yield Finding(ONE_SHARD, ("trainer.kind", "trainer.devices"))
    if trainer.kind != "fsdp" and not trainer.reshard_after_forward:
        what = f"false with trainer.kind={trainer.kind}, which gathers nothing; type trainer=fsdp, or leave it true"
        yield Finding(Problem("trainer.reshard_after_forward", what), ("trainer.reshard_after_forward", "trainer.kind"))


def _towers(model: ModelConfig, trainer: TrainerConfig) -> Iterator[Finding]:
    """Options that only transformers have."""
    if model.kind != "tiny" and not open_clip_names.is_resnet(model.name or ""):
        return  # others are refused when they are built, or not at all
    name = model.name or model.kind
    if model.patch_dropout:
        what = open_clip_names.no_tokens(name)
        yield Finding(Problem("model.patch_dropout", what), ("model.patch_dropout", "model.name"))
    if trainer.activation_checkpointing:
        what = open_clip_names.no_blocks(name)
        key = "trainer.activation_checkpointing"
        yield Finding(Problem(key, what), (key, "model.name"))


def _batches(trainer: TrainerConfig) -> int:
    """Of ``data.batch_size``, in an optimizer step over all ranks as far as they are known."""
    return trainer.batches_per_step * (trainer.devices or 1)
