# SPDX-License-Identifier: Apache-2.0
"""The benchmarks of ``bench`` with their options: types, ranges and defaults, read without torch."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import yaml  # type: ignore[import-untyped]

from clip_align.errors import Problem, UserError
from clip_align.runs.folder import unusable
from clip_align.settings import yaml_keys
from clip_align.spelling import nearest
from clip_align.structure import Range, build, shown

T = TypeVar("T")
S = TypeVar("S", bound="Options")
WITHOUT_ARCHITECTURE = "open_clip"  # the option of the group that needs a further key


def option(default: T, about: str, low: float | None = None, high: float | None = None) -> T:
    """A field of options.

    Args:
        default: value where the key is not given.
        about: the key's line of help.
        low, high: inclusive limits of numbers.
    """
    return field(default=default, metadata={"range": Range(low, high), "about": about})


@dataclass(frozen=True)
class Options:
    """What every benchmark takes."""

    threads: int | None = option(None, "CPU threads; null = the usable cores", low=1)
    seed: int = option(0, "of weights and made-up data", low=0)
    output: str | None = option(None, "JSON file for the result; null = none")

    def problems(self) -> list[Problem]:
        """What is wrong with values that are each of the right type."""
        if self.output is None:
            return []
        if not self.output or Path(self.output).is_dir():
            return [Problem("output", f"{shown(self.output)} is no file; give output=result.json")]
        why = unusable(Path(self.output).expanduser().absolute().parent)
        return [Problem("output", f"{self.output} cannot be written ({why})")] if why else []


@dataclass(frozen=True)
class ModelOptions(Options):
    """Of benchmarks that train or encode with one model or several."""

    model: tuple[str, ...] = option(("tiny",), "options of the group model")

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
    batch: int | None = option(None, "samples a step; null = 128 for tiny, else 32", low=2)
    precision: Literal["32", "bf16-mixed"] = option("32", "of both sides: 32 or bf16-mixed")
    compile: bool = option(False, "torch.compile on both sides")
    pairs: int = option(5, "blocks of each side, in turn", low=2)
    steps: int | None = option(None, "timed steps of a block; null = as many as take 4 s, at least 2", low=1)
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
    require: float = option(2.0, "lower 95 % bound of the ratio below which the exit code is 1", low=0.0)


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
}


def parse(cls: type[S], words: Mapping[str, str]) -> S:
    """Options from what was typed; UserError with a line for every problem.

    Args:
        cls: the benchmark's options.
        words: value by key, as yaml writes it; lists also with commas alone.
    """
    hints, errors = typing.get_type_hints(cls), list[Problem]()
    found = build(cls, {key: _value(hints.get(key), text) for key, text in words.items()}, "", errors)
    if found is not None and not errors:
        errors += found.problems()
    if errors or found is None:
        raise UserError(*errors)
    return found


def lines_of(cls: type[Options]) -> list[str]:
    """A line of help for each key, with its default."""
    return [f"  {key:28} {about}" for key, about in _keys(cls).items()]


def keys_of(cls: type[Options]) -> list[str]:
    """The keys, as they are completed."""
    return [f"{one.name}=" for one in fields(cls)]


def _keys(cls: type[Options]) -> dict[str, str]:
    inherited = {one.name for one in fields(Options)}
    ordered = sorted(fields(cls), key=lambda one: one.name in inherited)  # what all have comes last
    return {f"{one.name}={_default(one)}": one.metadata["about"] for one in ordered}


def _default(one: Field[Any]) -> str:
    value = one.default
    if value is MISSING:
        return ""
    return ",".join(map(str, value)) if isinstance(value, tuple) else shown(value).strip("'")


def _value(hint: Any, text: str) -> object:
    try:
        value: object = yaml.safe_load(text) if text else ""
    except yaml.YAMLError:
        value = text
    if typing.get_origin(hint) is tuple and not isinstance(value, list):
        return [yaml.safe_load(part) for part in text.split(",")] if "," in text else [value]
    return value
