# SPDX-License-Identifier: Apache-2.0
"""What names of checkpoints and of their folders say: steps, epochs, samples of an epoch, architecture.

Names carry nominal numbers. For LAION's scaling-laws-openclip the table of its repository is embedded
(``scaling_laws_openclip.csv``: trained_models_info.csv and imagenet_zeroshot_learning_curves.csv of
LAION-AI/scaling-laws-openclip, MIT): an epoch there is no pass over the data.
"""

from __future__ import annotations

import csv
import functools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clip_align.errors import Problem, UserError
from clip_align.series.subject import Place

TABLE = Path(__file__).with_name("scaling_laws_openclip.csv")
UNITS = {"k": 1e3, "m": 1e6, "b": 1e9}
PARAMS = "params.txt"  # what open_clip_train writes beside its folder of checkpoints

# in this order: the first that matches counts
_STEP = (re.compile(r"epoch=\d+-step=(\d+)"), re.compile(r"step[_=-](\d+)"), re.compile(r"checkpoint-(\d+)$"))
_EPOCH = (re.compile(r"epoch=(\d+)"), re.compile(r"(?:^|[_-])epoch[_-]?(\d+)$"), re.compile(r"_e(\d+)$"))
_LAION = re.compile(r"Model-(?P<arch>[BLHg]-\d+)_Data-(?P<data>\d+[MB])_Samples-(?P<samples>\d+B)")
_COMPARISON = re.compile(r"^(?:clip|mammut|coca|cap|siglip)_(?P<arch>ViT-[SMBLH]-\d+)_s(?P<samples>[\d.]+[MBmb])_")
_GLOBAL_BATCH = re.compile(r"_globalbs(\d+)")
_TAG_SAMPLES, _TAG_BATCH = (
    re.compile(r"[_-]s([\d.]+)([mb])(?=[_-]|$)", re.I),
    re.compile(r"[_-]b([\d.]+)(k?)(?=[_-]|$)"),
)


@dataclass(frozen=True)
class Scale:
    """What turns epochs into samples and steps.

    samples_per_epoch: None where it is not known. global_batch: samples of one optimizer step; None likewise. origin:
    where the numbers are from, for the record.
    """

    samples_per_epoch: float | None = None
    global_batch: float | None = None
    origin: str = ""


def step_in(path: Path) -> int | None:
    """The optimizer step in a checkpoint's name, or in its folder's (``checkpoint-500/model.safetensors``)."""
    return _number(path, _STEP)


def epoch_in(path: Path) -> int | None:
    """The number of epochs in a checkpoint's name (``epoch_12.pt``, ``laion400m_e32``), or in its folder's."""
    return _number(path, _EPOCH)


def epoch_of(path: Path, inside: Mapping[str, object]) -> int | None:
    """The epoch among a checkpoint's keys, else in its name."""
    epoch = _whole_numbers(inside).get("epoch")
    return epoch if epoch is not None else epoch_in(path)


def scale_of(path: Path, siblings: Sequence[Path]) -> Scale:
    """What is known of a checkpoint's epochs: from ``params.txt`` above it, the embedded table, its folder's name.

    Args:
        path: of the checkpoint.
        siblings: the other checkpoints of its series; the last epoch among them ends a run of known length.
    """
    if params := params_of(path):
        return _of_params(params)
    for part in reversed(path.parts[:-1]):
        if found := _LAION.search(part):
            key = tuple(found[name] for name in ("arch", "data", "samples"))
            if key in _table():
                per_epoch, batch = _table()[key]
                return Scale(per_epoch, batch, "table of scaling-laws-openclip (nominal)")
        if found := _COMPARISON.search(part):
            last = max((epoch_in(p) or 0 for p in (*siblings, path)), default=0)
            size = _GLOBAL_BATCH.search(part)
            samples = _amount(found["samples"]) / last if last else None
            origin = f"folder {part}: its samples over {last} epochs (nominal)"
            return Scale(samples, float(size[1]) if size else None, origin)
    return Scale()


def of_tag(tag: str) -> Place:
    """Where a pretrained tag of open_clip is: ``laion2b_s34b_b79k``, ``laion400m_e32``; nominal, 0 where not said."""
    samples = _TAG_SAMPLES.search(tag)
    batch = _TAG_BATCH.search(tag)
    total = round(float(samples[1]) * UNITS[samples[2].lower()]) if samples else 0
    size = float(batch[1]) * (1e3 if batch[2] else 1) if batch else 0.0
    epoch = re.search(r"_e(\d+)$", tag)
    return Place(round(total / size) if size else 0, total, int(epoch[1]) if epoch else 0)


def architecture_in(path: Path) -> str | None:
    """open_clip's name of the architecture, from ``params.txt`` or a folder's name; None where neither says."""
    if model := params_of(path).get("model"):
        return model
    for part in reversed(path.parts[:-1]):
        if found := _LAION.search(part):
            return f"ViT-{found['arch']}"
        if found := _COMPARISON.search(part):
            return found["arch"]
    return None


def params_of(path: Path) -> dict[str, str]:
    """The arguments of the open_clip_train that wrote a checkpoint, by name; empty without its ``params.txt``."""
    for folder in (path.parent.parent, path.parent):
        file = folder / PARAMS
        if file.is_file():
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            return {key: value for key, _, value in (line.partition(": ") for line in lines) if key}
    return {}


def place_of(
    path: Path, inside: Mapping[str, object], scale: Scale, samples: float | None = None, batch: float | None = None
) -> Place | None:
    """Where a checkpoint is on the axis; None where neither its keys nor its name say anything.

    Args:
        path: of the checkpoint.
        inside: its keys with whole numbers: ``samples_seen``, ``global_step``, ``epoch``.
        scale: what turns its epochs into samples and steps.
        samples: of one epoch, as typed; wins over ``scale``.
        batch: samples of one optimizer step, as typed; likewise.
    """
    numbers = _whole_numbers(inside)
    per_epoch, size = samples or scale.samples_per_epoch, batch or scale.global_batch
    seen, step = numbers.get("samples_seen"), numbers.get("global_step")
    step = step if step is not None else step_in(path)
    epoch = epoch_of(path, inside)
    if seen is None and step is None and epoch is None:
        return None
    if seen is None and step is not None and size is not None:
        seen = round(step * size)
    # Lightning's epoch is the one under way, counted from 0: it says nothing about samples
    lightning = "pytorch-lightning_version" in inside
    if seen is None and epoch is not None and per_epoch is not None and not lightning:
        seen = round(epoch * per_epoch)
    if step is None and epoch is not None and per_epoch is not None and size is not None:
        # optimizer steps are whole in every epoch
        step = epoch * math.floor(per_epoch / size)
    if seen is None and lightning:
        what = f"{path}: Lightning numbers epochs from 0; type global_batch=… (samples of one optimizer step)"
        raise UserError(Problem("global_batch", what))
    if seen is None:
        raise UserError(
            Problem(
                "samples_per_epoch",
                f"{path}: how many samples an epoch or a step has is not known; type samples_per_epoch=… or "
                "global_batch=… (samples of one optimizer step over all ranks)",
            )
        )
    # without a batch size epochs are counted as steps: they keep their order
    return Place(step if step is not None else epoch or 0, seen, epoch or 0)


def _of_params(params: Mapping[str, str]) -> Scale:
    """As open_clip_train 3.3 counts: whole batches of every worker, of all ranks."""

    def number(key: str, default: float | None) -> float | None:
        try:
            return float(params[key])
        except (KeyError, ValueError):
            return default

    samples, batch = number("train_num_samples", None), number("batch_size", None)
    ranks, accumulated = number("world_size", 1.0) or 1.0, number("accum_freq", 1.0) or 1.0
    workers = max(1.0, number("workers", 1.0) or 1.0)
    if batch is None:
        return Scale(origin=PARAMS)
    if not samples:
        return Scale(None, batch * ranks * accumulated, PARAMS)
    batches = samples / (batch * ranks)
    whole = math.ceil(math.ceil(batches) / workers) * workers  # of a WebDataset: rounded up
    if params.get("dataset_type") in ("csv", "synthetic"):
        whole = math.floor(batches)
    return Scale(whole * batch * ranks, batch * ranks * accumulated, PARAMS)


@functools.cache
def _table() -> dict[tuple[str, ...], tuple[float, float]]:
    with TABLE.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {(r["arch"], r["data"], r["samples"]): (float(r["epoch_samples"]), float(r["batch"])) for r in rows}


def _whole_numbers(inside: Mapping[str, object]) -> dict[str, int]:
    return {key: value for key, value in inside.items() if isinstance(value, int) and not isinstance(value, bool)}


def _amount(text: str) -> float:
    return float(text[:-1]) * UNITS[text[-1].lower()]


def _number(path: Path, patterns: Sequence[re.Pattern[str]]) -> int | None:
    for name in (path.stem, path.parent.name):
        for pattern in patterns:
            if found := pattern.search(name):
                return int(found[1])
    return None
