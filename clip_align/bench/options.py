# SPDX-License-Identifier: Apache-2.0
"""The benchmarks of ``bench`` with their options: types, ranges and defaults, read without torch."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, cast

import yaml  # type: ignore[import-untyped]

from clip_align.config import KindConfig
from clip_align.errors import Problem, UserError
from clip_align.kinds import LOSSES
from clip_align.runs.folder import unusable
from clip_align.settings import kind_check, yaml_keys
from clip_align.spelling import nearest
from clip_align.structure import Range, build, shown

T = TypeVar("T")
S = TypeVar("S", bound="Options")
LOSS = "loss."  # start of the keys that are options of a loss
SEED = "of weights and made-up data"
SHARED_BATCH = 128  # samples a step of ``scaling``'s ranks together
NOTHING = "[] measures nothing; give at least one"
FIGURES = (".png", ".svg")
WITHOUT_ARCHITECTURE = "open_clip"  # the option of the group that needs a further key


def option(default: T, about: str, low: float | None = None, high: float | None = None) -> T:
    """A field of options.

    Args:
        default: value where the key is not given.
        about: the key's line of help.
        low, high: inclusive limits of numbers.
    """
    metadata = {"range": Range(low, high), "about": about}
    if isinstance(default, dict):  # a default that could be changed has to be made for each instance
        return cast("T", field(default_factory=dict, metadata=metadata))
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Options:
    """What every benchmark takes."""

    threads: int | None = option(None, "CPU threads; null = the usable cores", low=1)
    output: str | None = option(None, "JSON file for the result; null = none")

    def problems(self) -> list[Problem]:
        """What is wrong with values that are each of the right type."""
        empty = [one.name for one in fields(self) if getattr(self, one.name) == () != one.default]
        found = [Problem(key, NOTHING) for key in empty]
        return found + self.file_problems("output", "result.json")

    def file_problems(self, key: str, example: str, suffixes: tuple[str, ...] = ("",)) -> list[Problem]:
        """Why the file of an option, if one is given, cannot be written.

        Args:
            key: of the option.
            example: a file that is right.
            suffixes: of the names that are valid.
        """
        file = getattr(self, key)
        if file is None:
            return []
        if not file.endswith(suffixes) or not file or Path(file).is_dir():
            return [Problem(key, f"{shown(file)} is no file{_ending(suffixes)}; give {key}={example}")]
        why = unusable(Path(file).expanduser().absolute().parent)
        return [Problem(key, f"{file} cannot be written ({why})")] if why else []


@dataclass(frozen=True)
class ModelOptions(Options):
    """Of benchmarks that train or encode with one model or several."""

    model: tuple[str, ...] = option(("tiny",), "options of the group model")
    seed: int = option(0, SEED, low=0)

    def problems(self) -> list[Problem]:
        """Unknown models too."""
        valid = [name for name in yaml_keys.options("model") if name != WITHOUT_ARCHITECTURE]
        found = super().problems()
        for name in self.model:
            if name not in valid:
                guess = nearest(name, valid)
                hint = f"did you mean {guess}? " if guess else ""
                found.append(Problem("model", f"{shown(name)} is no option; {hint}valid: {', '.join(valid)}"))
        return found


@dataclass(frozen=True)
class Throughput(ModelOptions):
    """Of ``bench throughput``."""

    model: tuple[str, ...] = option(("tiny", "vit_b_32"), "options of the group model, one after the other")
    data: tuple[Literal["memory", "shards"], ...] = option(
        ("memory", "shards"), "batches that are in memory, or read from shards that are made for it"
    )
    batch: int | None = option(None, "samples a batch; null = 128 for tiny, else 32", low=2)
    accumulate: int = option(
        1, "batches contrasted together in a step, on both sides; above 1 without bare loop", low=1
    )
    precision: Literal["32", "bf16-mixed"] = option("32", "of both sides: 32 or bf16-mixed")
    compile: bool = option(False, "torch.compile on both sides")
    tf32: bool | None = option(None, "float32 products in TF32 on both sides; null = as torch has it")
    channels_last: bool = option(False, "memory format of images and image tower on both sides")
    caption_words: int = option(
        14, "words of the longest captions; ours computes no places behind a batch's longest", low=4
    )
    pairs: int = option(10, "blocks of each side, in turn", low=2)
    steps: int | None = option(None, "timed steps of a block; null = as many as take 4 s", low=1)
    workers: int = option(0, "processes that read shards, on both sides", low=0)
    bare: bool = option(True, "a third side: a loop of plain torch, without logging, schedule or checks")
    require: float = option(0.97, "lower 95 % bound of the ratio below which the exit code is 1", low=0.0)


@dataclass(frozen=True)
class Loader(Options):
    """Of ``bench loader``."""

    side: tuple[int, ...] = option((256, 512), "px, side of the JPEG files in the shards, one after the other", low=32)
    size: int = option(224, "px, side of the crops", low=8)
    batch: int = option(32, "images a batch", low=1)
    pairs: int = option(7, "blocks of each side, in turn", low=2)
    batches: int = option(8, "timed batches of a block", low=1)
    jpeg_draft: bool = option(False, "a further side: our loader with data.jpeg_draft=true")
    seed: int = option(0, SEED, low=0)
    require: float = option(2.0, "lower 95 % bound of the ratio below which the exit code is 1", low=0.0)


@dataclass(frozen=True)
class Evaluation(ModelOptions):
    """Of ``bench evaluation``."""

    callbacks: tuple[str, ...] = option(("standard",), "options of the group callbacks")
    steps: int | None = option(None, "optimizer steps of the run; null = those of a default run", low=1)
    train: tuple[str, ...] = option((), "further arguments of train: train=data.images=512,evaluation.weights=raw")
    pairs: int = option(5, "events and bare forward passes, in turn", low=1)
    require: float | None = option(None, "largest ratio to bare forward passes, above it exit code 1; null = any")


@dataclass(frozen=True)
class LossMemory(Options):
    """Of ``bench loss_memory``."""

    loss: tuple[str, ...] = option(("infonce",), "options of the group loss, one after the other")
    options: Mapping[str, list[Any]] = option(
        cast("Mapping[str, list[Any]]", {}), "of the losses that take them, value after value"
    )
    batch: tuple[int, ...] = option((512, 1024, 2048, 4096), "pairs, ascending", low=2)
    dim: int = option(512, "dimensions of the embeddings", low=1)
    require: float | None = option(
        None, "largest exponent of the growth (1 = linear), above it exit code 1; null = any"
    )
    figure: str | None = option(None, "PNG or SVG file to draw the peaks into; null = none")

    def combinations(self) -> list[dict[str, Any]]:
        """Options of a loss, one value each."""
        return [dict(zip(self.options, values, strict=True)) for values in product(*self.options.values())]

    def problems(self) -> list[Problem]:
        """Unknown losses, options that none of them takes, and batches between which nothing grows, too."""
        found, refused = super().problems() + self.file_problems("figure", "loss_memory.png", FIGURES), []
        found += [Problem(f"{LOSS}{key}", NOTHING) for key, values in self.options.items() if not values]
        if list(self.batch) != sorted(set(self.batch)):
            found.append(Problem("batch", f"{shown(list(self.batch))} is not ascending; give batch=512,1024,2048"))
        elif self.require is not None and len(self.batch) < 2:
            found.append(Problem("require", "growth needs two batches; give batch=512,1024"))
        for name in self.loss:
            errors: list[Problem] = []
            for chosen in self.combinations():
                kind_check.checked(KindConfig(name, chosen), LOSSES, errors)
            refused.append(list(dict.fromkeys(errors)))
        shared = [p for p in refused[0] if all(p in others for others in refused)]
        unknown = [p for problems in refused for p in problems if p.key == "loss.kind"]
        return found + (unknown or shared)


@dataclass(frozen=True)
class Scaling(ModelOptions):
    """Of ``bench scaling``."""

    of: tuple[Literal["batch", "ranks", "shards", "images"], ...] = option(
        ("batch", "ranks", "shards", "images"), "what grows, one after the other"
    )
    batch: tuple[int, ...] = option((32, 64, 128, 256), "samples a step", low=2)
    ranks: tuple[int, ...] = option((1, 2), f"ranks that share a global batch of {SHARED_BATCH}", low=1)
    shards: tuple[int, ...] = option((4, 16, 64), "shards of 200 samples each", low=1)
    images: tuple[int, ...] = option((200, 1000, 4000), "images of an evaluation", low=2)
    steps: int = option(20, "steps of a point", low=1)

    def problems(self) -> list[Problem]:
        """More than one model, and ranks that cannot share the batch, too."""
        found = super().problems()
        if len(self.model) > 1:
            found.append(Problem("model", f"one at a time; give model={self.model[0]}"))
        for ranks in self.ranks:
            if SHARED_BATCH % ranks:
                found.append(Problem("ranks", f"{ranks} ranks cannot share a global batch of {SHARED_BATCH} equally"))
        return found


class Kind(NamedTuple):
    """A benchmark: its options, the module whose ``measure(options, notify)`` does it, its line of help."""

    options: type[Options]
    module: str
    about: str


KINDS: Mapping[str, Kind] = {
    "throughput": Kind(
        Throughput, "clip_align.bench.throughput", "samples/s of training, against open_clip_train's loop"
    ),
    "loader": Kind(
        Loader, "clip_align.bench.loader", "images/s that one core reads and crops, against open_clip_train's pipeline"
    ),
    "evaluation": Kind(
        Evaluation,
        "clip_align.bench.evaluation",
        "fraction of a run that evaluations take, and their cost over bare forward passes",
    ),
    "scaling": Kind(Scaling, "clip_align.bench.scaling", "cost against batch, ranks, shards and evaluation images"),
    "loss_memory": Kind(LossMemory, "clip_align.bench.loss_memory", "peak memory of a loss against the batch"),
}


def parse(cls: type[S], words: Mapping[str, str]) -> S:
    """Options from what was typed; UserError with a line for every problem.

    Args:
        cls: the benchmark's options.
        words: value by key, as yaml writes it; lists also with commas alone.
    """
    hints, errors = typing.get_type_hints(cls), list[Problem]()
    if "options" in words and "options" in hints:
        raise UserError(Problem("options", f"unknown key; an option of a loss is written {LOSS}<name>=…"))
    own = {key: text for key, text in words.items() if not ("options" in hints and key.startswith(LOSS))}
    values = {key: _value(hints.get(key), text) for key, text in own.items()}
    if "options" in hints:
        several = {key: _value(tuple[Any, ...], text) for key, text in words.items() if key not in own}
        values["options"] = {key.removeprefix(LOSS): listed for key, listed in several.items()}
    found = build(cls, values, "", errors)
    wrong = {problem.key.partition("[")[0] for problem in errors}
    # what else is wrong with the other keys is reported along with it
    rest = build(cls, {key: value for key, value in values.items() if key not in wrong}, "", [])
    if rest is not None:
        errors += [problem for problem in rest.problems() if problem.key not in wrong]
    if errors or found is None:
        raise UserError(*errors)
    return found


def lines_of(cls: type[Options]) -> list[str]:
    """A line of help for each key, with its default."""
    return [f"  {key:28} {about}" for key, about in _keys(cls).items()]


def keys_of(cls: type[Options]) -> list[str]:
    """The keys, as they are completed."""
    return [LOSS if one.name == "options" else f"{one.name}=" for one in fields(cls)]


def _ending(suffixes: tuple[str, ...]) -> str:
    return f" that ends in {' or '.join(suffixes)}" if all(suffixes) else ""


def _keys(cls: type[Options]) -> dict[str, str]:
    inherited = {"seed", *(one.name for one in fields(Options))}
    ordered = sorted(fields(cls), key=lambda one: one.name in inherited)  # what all have comes last
    typed = [(LOSS + "<name>" if one.name == "options" else f"{one.name}={_default(one)}", one) for one in ordered]
    return {name: one.metadata["about"] for name, one in typed}


def _default(one: Field[Any]) -> str:
    value = one.default
    if value is MISSING:
        return ""
    return ",".join(map(str, value)) if isinstance(value, tuple) else shown(value).strip("'")


def _value(hint: Any, text: str) -> object:
    value = _parsed(text) if text else ""
    if typing.get_origin(hint) is tuple and not isinstance(value, list):
        return [_parsed(part) for part in text.split(",")] if "," in text else [value]
    return value


def _parsed(text: str) -> object:
    """As yaml has it; the text itself where it is none."""
    try:
        value: object = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return value
