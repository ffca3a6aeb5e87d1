# SPDX-License-Identifier: Apache-2.0
"""The whole configuration as frozen dataclasses: what ``conf/*.yaml`` and the command line may say.

A field is the key that users type (``trainer.max_steps=…``); its unit is in the yaml's comment. Ranges stand
beside the fields, combinations in ``config_check``. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from clip_align import structure
from clip_align.errors import Problem, UserError
from clip_align.structure import key


@dataclass(frozen=True)
class Source:
    """A set of shards (local path, brace glob or wildcard allowed) and how often it is drawn from."""

    shards: str
    weight: float = key(1.0, above=0.0)


@dataclass(frozen=True)
class DataCommon:
    """What every kind of training data has. ``batch_size`` is per rank; ``crop_scale`` is the fraction of the
    area a random crop keeps, (1, 1) = none; ``memory_mb`` bounds the decoded images kept in memory.
    """

    batch_size: int = key(128, low=1)
    workers: int = key(0, low=0)
    flip: bool = True
    crop_scale: tuple[float, float] = key((1.0, 1.0), above=0.0, high=1.0)
    max_bad_share: float = key(0.1, low=0.0, high=1.0)
    memory_mb: int = key(512, low=0)
    window_shards: int = key(16, low=1)


@dataclass(frozen=True)
class WorldData(DataCommon):
    """The embedded world: rendered once, then read like any other shards."""

    kind: Literal["world"] = "world"
    images: int = key(20_000, low=16)
    size: int = key(32, low=16, high=512)
    texture_reliability: float = key(0.75, low=0.0, high=1.0)
    sensor_noise: float = key(0.02, low=0.0, below=0.04)  # the smallest sigma that noise callbacks test
    occlusion: float = key(0.15, low=0.0, high=1.0)
    scale: tuple[float, float] = key((0.65, 0.95), above=0.0, high=1.0)
    texture_words: float = key(0.5, low=0.0, high=1.0)
    colour_words: float = key(0.5, low=0.0, high=1.0)
    background_words: float = key(0.2, low=0.0, high=1.0)
    image_seed: int = key(0, low=0)


@dataclass(frozen=True)
class ShardData(DataCommon):
    """WebDataset shards as img2dataset writes them."""

    kind: Literal["webdataset"] = "webdataset"
    shards: tuple[Source, ...] = ()


@dataclass(frozen=True)
class FolderData(DataCommon):
    """Images and a csv of captions; image paths are relative to ``root``, None = the csv's folder."""

    kind: Literal["folder"] = "folder"
    csv: str = ""
    root: str | None = None
    image_column: str = "image"
    caption_column: str = "caption"


DataConfig = WorldData | ShardData | FolderData


@dataclass(frozen=True)
class ModelConfig:
    """``tiny`` (embed_dim, vocabulary, context are its own) or an open_clip architecture by ``name``."""

    kind: Literal["tiny", "open_clip"] = "tiny"
    name: str | None = None
    image_size: int | None = key(32, low=16, high=1024)
    embed_dim: int = key(64, low=2)
    vocabulary: int = key(4096, low=16)
    context: int = key(14, low=4)


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with warm-up, then cosine to 0 or constant."""

    lr: float = key(2e-3, above=0.0)
    betas: tuple[float, float] = key((0.9, 0.95), low=0.0, high=0.99999)
    eps: float = key(1e-8, above=0.0)
    weight_decay: float = key(0.1, low=0.0)
    warmup_steps: int = key(100, low=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    clip_norm: float | None = key(1.0, above=0.0)


@dataclass(frozen=True)
class TrainerConfig:
    """Where and how long: exactly one of ``max_steps`` (optimizer steps) and ``samples`` (over all ranks)."""

    kind: Literal["auto", "cpu", "gpu", "ddp"] = "auto"
    devices: int | None = key(None, low=1)
    max_steps: int | None = key(1300, low=1)
    samples: int | None = key(None, low=1)
    precision: Literal["32", "bf16-mixed", "16-mixed"] = "32"
    accumulate: int = key(1, low=1)
    log_every_n_steps: int = key(10, low=1)
    threads: int | None = key(None, low=1)
    compile: bool = False


@dataclass(frozen=True)
class EvaluationConfig:
    """When callbacks are due, and how many images are encoded at a time (never derived from the ranks)."""

    every_n_steps: int = key(60, low=1)
    early_steps: tuple[int, ...] = key((2, 8, 32, 64), low=1)
    batch_size: int = key(256, low=1)


@dataclass(frozen=True)
class CallbackConfig:
    """One perceptual callback: its class by dotted name, and the arguments of its constructor."""

    target: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckpointConfig:
    """``best`` is the record's key whose best value is kept in a file of its own; None = none."""

    every_n_steps: int = key(260, low=1)
    keep_last: int = key(2, low=1)
    best: str | None = "human/tid2013_remade/srocc"


@dataclass(frozen=True)
class TrackerConfig:
    """Mirrors of the record. ``mode`` is wandb's (online, offline, disabled); None = decided from the login."""

    wandb: bool = True
    tensorboard: bool = False
    csv: bool = False
    project: str = "clip-align"
    entity: str | None = None
    group: str | None = None
    tags: tuple[str, ...] = ()
    mode: Literal["online", "offline", "disabled"] | None = None

    @property
    def kinds(self) -> tuple[Literal["wandb", "tensorboard", "csv"], ...]:
        """The trackers that are on."""
        return tuple(k for k in ("wandb", "tensorboard", "csv") if getattr(self, k))


@dataclass(frozen=True)
class PathsConfig:
    """``cache`` None = the user's cache folder, else a temporary one."""

    runs: str = "runs"
    cache: str | None = None


@dataclass(frozen=True)
class Config:
    """Everything a run depends on. ``experiment`` labels it; ``resume`` names the run that continues."""

    name: str | None = None
    experiment: str = "main"
    seed: int = key(0, low=0, high=2**32 - 1)
    resume: str | None = None
    dry_run: bool = False
    data: DataConfig = WorldData()
    model: ModelConfig = ModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    trainer: TrainerConfig = TrainerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    callbacks: Mapping[str, CallbackConfig] = field(default_factory=dict)
    checkpoint: CheckpointConfig = CheckpointConfig()
    tracker: TrackerConfig = TrackerConfig()
    intervention: Literal["none"] = "none"
    paths: PathsConfig = PathsConfig()


def conf_dir() -> Path:
    """Folder of the yaml files: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def to_plain(config: Config) -> dict[str, Any]:
    """Plain python for yaml files and checkpoints; ``from_plain`` reads it back."""
    result: dict[str, Any] = structure.plain(config)
    return result


def from_plain(plain: Mapping[str, Any]) -> Config:
    """The configuration that ``to_plain`` wrote (or the resolved yaml); UserError with every error."""
    errors: list[Problem] = []
    config = read(plain, errors)
    if errors or config is None:
        raise UserError(*errors)
    return config


def read(plain: Mapping[str, Any], errors: list[Problem]) -> Config | None:
    """The configuration in ``plain``; where ``errors`` grows, defaults stand in for what was refused."""
    return structure.build(Config, plain, "", errors)


def _data(value: object, path: str, errors: list[Problem]) -> Any:
    kinds: dict[str, type[DataConfig]] = {"world": WorldData, "webdataset": ShardData, "folder": FolderData}
    kind = value.get("kind") if isinstance(value, Mapping) else None
    if kind not in kinds:
        what = f"{structure.shown(kind)} is not one of {', '.join(kinds)}; choose with {path}=…"
        errors.append(Problem(f"{path}.kind", what))
        return structure.INVALID
    return structure.build(kinds[str(kind)], value, path, errors)


def _sources(value: object, path: str, errors: list[Problem]) -> tuple[Source, ...]:
    """One path, a list of paths, or a list of ``{shards, weight}``."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, (list, tuple)) or not value:
        what = f"{structure.shown(value)} is not a path or a list: {path}='/a/x-{{000..003}}.tar'"
        errors.append(Problem(path, what))
        return ()
    plain = [{"shards": v} if isinstance(v, str) else v for v in value]
    built: list[Source | None] = [structure.build(Source, v, f"{path}[{i}]", errors) for i, v in enumerate(plain)]
    return tuple(s for s in built if s is not None)


def _callback(value: object, path: str, errors: list[Problem]) -> Any:
    """From ``{_target_, key: value, …}`` (yaml) or ``{target, arguments}`` (``to_plain``)."""
    if isinstance(value, Mapping) and set(value) == {"target", "arguments"}:
        return CallbackConfig(str(value["target"]), dict(value["arguments"]))
    if not isinstance(value, Mapping) or not isinstance(value.get("_target_"), str):
        errors.append(Problem(path, "not a callback; its yaml names a class: _target_: package.module.Class"))
        return structure.INVALID
    return CallbackConfig(value["_target_"], {str(k): v for k, v in value.items() if k != "_target_"})


structure.SPECIAL.update({DataConfig: _data, tuple[Source, ...]: _sources, CallbackConfig: _callback})
