# SPDX-License-Identifier: Apache-2.0
"""The configuration as frozen dataclasses: all keys of ``conf/*.yaml`` and the command line.

A field is the key that users type (``trainer.max_steps=…``); its unit is in the yaml's comment. Ranges are declared
with the fields, combinations are checked in ``config_check``. Torch-free.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

from clip_align.errors import Finding, Problem
from clip_align.kinds import SOURCES
from clip_align.structure import key

WeightNames = tuple[Literal["raw", "ema"], ...]  # sets of weights that an event encodes with
CALLBACK = re.compile(r"[A-Za-z_]\w*")  # a name that is valid in an override
# the factors of a global batch
BATCH = ("data.batch_size", "trainer.accumulate", "trainer.accumulate_grad_batches", "trainer.devices")
HELD_OUT = "held_out_samples"  # constructor argument of callbacks that show samples which are never trained on


@dataclass(frozen=True)
class Source:
    """A set of shards (local path, brace glob or wildcard allowed) and how often it is drawn from."""

    shards: str
    weight: float = key(1.0, above=0.0)


@dataclass(frozen=True)
class DataConfig:
    """Options of every kind of training data; a kind is a subclass with further ones (``clip_align.data.sources``).

    ``kind``: its module's name there, dotted for a module elsewhere. ``batch_size`` is per rank; ``crop_scale`` is the
    fraction of the area that a random crop keeps, (1, 1) = none; ``memory_mb`` bounds the decoded images kept in
    memory; images beyond ``max_image_mb`` (of the file) or ``max_megapixels`` are bad samples, captions are cut at
    ``max_caption_chars``. ``jpeg_draft``: decode JPEG at reduced size where crops allow it, faster and with a low-pass
    filter. ``held_out``: samples that are never trained on, chosen by their keys; None = by the number
    of samples, once they are found. ``workers`` None = by the machine's cores and ranks, at each launch.
    """

    kind: str = ""
    batch_size: int = key(128, low=1)
    workers: int | None = key(None, low=0)  # 0: read in the training process; None: by the number of cores
    flip: bool = True
    crop_scale: tuple[float, float] = key((1.0, 1.0), above=0.0, high=1.0)
    max_bad_share: float = key(0.1, low=0.0, high=1.0)
    max_image_mb: int = key(64, low=1, high=2000)
    max_megapixels: float = key(64.0, above=0.0, high=178.0)  # Pillow refuses more
    max_caption_chars: int = key(2000, low=16)
    jpeg_draft: bool = False
    # a configuration that was stored before there was this key holds none out
    held_out: int | None = key(0, low=0)
    memory_mb: int = key(512, low=0)  # 0: none are kept
    window_shards: int = key(16, low=1)
    noise_option: ClassVar[str | None] = None  # the option that is the sigma of noise in training images, on [0, 1]

    def __post_init__(self) -> None:
        """Set the default ``kind``, the module's name."""
        if not self.kind:
            # the only way in a frozen dataclass
            object.__setattr__(self, "kind", type(self).__module__.removeprefix(f"{SOURCES.package}."))

    def combinations(self, batches: int) -> Iterator[Finding]:
        """Invalid combinations of values. ``batches``: per optimizer step, over all ranks as far as known."""
        yield from backwards("data.crop_scale", self.crop_scale)

    def absent(self) -> Iterator[Problem]:
        """Problems of missing files, found without reading any."""
        yield from ()


@dataclass(frozen=True)
class ModelConfig:
    """``tiny`` (embed_dim, tokenizer, vocabulary, context are its own) or an open_clip architecture by ``name``.

    ``pretrained``: a tag of open_clip, or a file of weights, that a new run starts from; None = random weights.
    ``tokenizer``: of words, or open_clip's of parts of words. ``context``, ``context_length``: tokens of a text.
    ``patch_dropout``: fraction of an image's tokens that is left out in training, never in an evaluation; 0 = none.
    """

    kind: Literal["tiny", "open_clip"] = "tiny"
    name: str | None = None
    image_size: int | None = key(32, low=16, high=1024)  # null: the architecture's own
    embed_dim: int = key(64, low=2)
    tokenizer: Literal["words", "open_clip"] = "words"
    vocabulary: int = key(4096, low=16)  # of the tokenizer of words
    context: int = key(14, low=4)
    pretrained: str | None = None
    context_length: int | None = key(None, low=4, high=4096)  # null: the architecture's own
    patch_dropout: float = key(0.0, low=0.0, below=1.0)

    @property
    def has_words(self) -> bool:
        """Whether the vocabulary is made from the captions."""
        return self.kind == "tiny" and self.tokenizer == "words"


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with warm-up, then cosine to 0 or constant."""

    lr: float = key(2e-3, above=0.0)
    betas: tuple[float, float] = key((0.9, 0.95), low=0.0, high=0.99999)  # 1 would never forget
    eps: float = key(1e-8, above=0.0)
    weight_decay: float = key(0.1, low=0.0)
    warmup_steps: int = key(100, low=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    clip_norm: float | None = key(1.0, above=0.0)  # null: not clipped


@dataclass(frozen=True)
class TrainerConfig:
    """Where and how long: exactly one of ``max_steps`` (optimizer steps) and ``samples`` (over all ranks).

    ``accumulate``: batches that are contrasted with each other, for the gradient of a batch so many times larger.
    ``accumulate_grad_batches``: such batches whose gradients are averaged in a step, each with a loss of its own.
    ``activation_checkpointing``: blocks keep their inputs only, and run again in the backward pass.
    ``reshard_after_forward``: of ``kind=fsdp``: free a block's weights until its backward pass.
    ``tf32``: in training steps; None = as torch has it. ``channels_last``: memory format of images and image tower.
    ``stall_…_seconds``: time without progress until a line reports what the run waits for, and until the run is ended.
    """

    kind: Literal["auto", "cpu", "gpu", "ddp", "fsdp", "multi_node"] = "auto"
    devices: int | None = key(None, low=1)  # null: all GPUs, else one rank on the CPU
    max_steps: int | None = key(1300, low=1)  # null where samples are given
    samples: int | None = key(None, low=1)
    precision: Literal["32", "bf16-mixed", "16-mixed"] = "32"
    accumulate: int = key(1, low=1)
    accumulate_grad_batches: int = key(1, low=1)  # as Lightning calls it
    log_every_n_steps: int = key(10, low=1)
    threads: int | None = key(None, low=1)  # null: this machine's cores, shared by its ranks
    compile: bool = False
    activation_checkpointing: bool = False
    reshard_after_forward: bool = True
    tf32: bool | None = None
    channels_last: bool = False
    stall_warning_seconds: float = key(180.0, above=0.0)
    stall_limit_seconds: float = key(1800.0, above=0.0)

    @property
    def batches_per_step(self) -> int:
        """Batches of ``data.batch_size`` in an optimizer step of one rank."""
        return self.accumulate * self.accumulate_grad_batches


@dataclass(frozen=True)
class EvaluationConfig:
    """When callbacks are due, with which weights they encode, and the number of images per forward pass.

    ``every_n_steps`` None = by the run's length. ``per_octave``: evaluations per doubling of the step before the
    regular ones; ``early_steps`` in their place, None = none given. ``weights``: the first set has the plain keys.
    ``horizon`` and ``horizon_steps`` bound what an average of the weights spans: a fraction of the steps so far, and a
    number of steps. The batch size is independent of the ranks.
    """

    every_n_steps: int | None = key(None, low=1)
    per_octave: int = key(2, low=0, high=32)
    early_steps: tuple[int, ...] | None = key(None, low=1)
    weights: WeightNames = ("ema",)
    horizon: float = key(0.2, above=0.0, high=1.0)
    horizon_steps: int | None = key(None, low=1)
    batch_size: int = key(256, low=1)


@dataclass(frozen=True)
class CallbackConfig:
    """One perceptual callback: its class by dotted name, and the arguments of its constructor."""

    target: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class KindConfig:
    """A loss or intervention by its kind (``clip_align.kinds``), and the options of its constructor."""

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        """In the form of its yaml."""
        return {"kind": self.kind, **self.options}


@dataclass(frozen=True)
class CheckpointConfig:
    """``every_n_steps`` None = by the run's length. ``best`` is the record's key whose best value has its own
    checkpoint; None = none. ``keep_per_octave``: checkpoints for each doubling of the step that stay for later study,
    beside the last ones. ``background``: large files are written while training continues.
    """

    every_n_steps: int | None = key(None, low=1)
    keep_last: int = key(2, low=1)
    keep_per_octave: int = key(0, low=0, high=32)  # of steps 1, 2, 4, 8, … where it is 1
    best: str | None = "human/tid2013_remade/srocc"
    background: bool = True


@dataclass(frozen=True)
class TrackerConfig:
    """Mirrors of the record: ``kinds`` are those in use, each with its options; other keys are common to all.

    ``mode`` is wandb's (online, offline, disabled); None = decided from the login.
    """

    kinds: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"wandb": {}})
    project: str = "clip-align"
    entity: str | None = None
    group: str | None = None
    tags: tuple[str, ...] = ()
    mode: Literal["online", "offline", "disabled"] | None = None

    def to_plain(self) -> dict[str, Any]:
        """In the form of the yaml files: ``csv: true``, or a mapping of options."""
        common = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "kinds"}
        # a tracker without options is just switched on
        return {**{kind: dict(options) or True for kind, options in self.kinds.items()}, **common}


@dataclass(frozen=True)
class PathsConfig:
    """``cache`` None = the user's cache folder, else a temporary one.

    data: folder of the data sets that benchmarks read, one sub-folder each.
    """

    runs: str = "runs"
    cache: str | None = None
    data: str = "data"


@dataclass(frozen=True)
class Config:
    """Everything a run depends on. ``experiment`` labels it; ``resume`` is the folder of the resumed run.

    ``init_from``: run or checkpoint whose weights a new run starts from; ``init_weights``: which set of them, None =
    the one that the source's scores are of. ``preparation``: how the training data of an experiment are got, shown
    where they are missing.
    """

    name: str | None = None
    experiment: str = "main"
    seed: int = key(0, low=0, high=2**32 - 1)  # what numpy's global generator takes
    resume: str | None = None
    init_from: str | None = None
    init_weights: Literal["raw", "ema"] | None = None
    preparation: str | None = None
    dry_run: bool = False
    # called later: that module imports this one
    data: DataConfig = field(default_factory=lambda: SOURCES.build("world", {}))
    model: ModelConfig = ModelConfig()
    loss: KindConfig = KindConfig("infonce", {"chunk": None})
    optimizer: OptimizerConfig = OptimizerConfig()
    trainer: TrainerConfig = TrainerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    callbacks: Mapping[str, CallbackConfig] = field(default_factory=dict)
    checkpoint: CheckpointConfig = CheckpointConfig()
    tracker: TrackerConfig = TrackerConfig()
    intervention: KindConfig = KindConfig("none")
    paths: PathsConfig = PathsConfig()


def conf_dir() -> Path:
    """Folder of the yaml files: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def backwards(path: str, span: tuple[float, float]) -> Iterator[Finding]:
    """A finding if the two ends of a range are in the wrong order."""
    low, high = span
    if low > high:
        yield Finding(Problem(path, f"[{low}, {high}] runs backwards; the smaller fraction comes first"))
