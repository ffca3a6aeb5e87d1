# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of other trainers of open_clip models: open_clip_train, Lightning, safetensors, plain state dicts.

Only tensors and plain python are read (``weights_only``, safetensors): no code in a file is executed.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from clip_align.errors import UserError
from clip_align.evaluation.evaluated_model import EvaluatedModel, find_model
from clip_align.evaluation.weights import RAW, Swap
from clip_align.series.names import Scale, epoch_in, epoch_of, place_of, scale_of
from clip_align.series.open_clip_models import Architecture, architecture_of, built
from clip_align.series.own_checkpoints import Files
from clip_align.series.subject import Member, Place, Unreadable, in_order
from clip_align.training.checkpoint_files import READ_ERRORS, reason_of

LATEST = "epoch_latest"  # a second name of the newest epoch
UNFINISHED = ("tmp.pt",)  # what open_clip_train writes before it renames it
PREFIXES = ("module.", "_orig_mod.")  # of DDP and torch.compile, anywhere in a name
LFS = b"version https://git-lfs"  # how its pointers begin
STATES = ("state_dict", "model_state_dict", "model")  # where trainers put the weights


def read_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors of a checkpoint by name, mapped from the file, and its other keys with plain numbers.

    UserError with the reason for a file that cannot be read as tensors and plain python.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}, {}  # noqa: SIM118  # no mapping
        # files of torch before 1.6 have a format of their own, which cannot be mapped
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except READ_ERRORS as error:
        raise UserError(f"{path}: cannot be read ({_pointer(path) or reason_of(error)})") from None
    except Exception as error:  # safetensors has an error of its own
        why = _pointer(path) or f"{type(error).__name__}: {error}"
        raise UserError(f"{path}: cannot be read ({why})") from None
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: holds {type(content).__name__}, no weights by name; save the model's state_dict()")
    inner = next((content[key] for key in STATES if isinstance(content.get(key), Mapping)), content)
    weights = {str(k): v for k, v in inner.items() if isinstance(v, torch.Tensor)}
    if not weights:
        raise UserError(f"{path}: holds no weights; keys: {', '.join(map(str, list(content)[:5])) or 'none'}")
    return weights, {str(k): v for k, v in content.items() if isinstance(v, int | float | str)}


def fitted(weights: Mapping[str, torch.Tensor], wanted: Sequence[str]) -> dict[str, torch.Tensor]:
    """The weights under the names that a model has for them, without what wrappers and Lightning put before these.

    Args:
        weights: as stored.
        wanted: names of the model's parameters and buffers.
    """
    plain = {_without_wrappers(name): tensor for name, tensor in weights.items()}
    if any(name in plain for name in wanted):
        return {name: tensor for name, tensor in plain.items() if name in set(wanted) or not _others(name, wanted)}
    # below a name of the LightningModule: the longest name of the model is the least likely to be found by accident
    probe = max(wanted, key=len)
    before = {name[: -len(probe)] for name in plain if name.endswith(f".{probe}")}
    if len(before) != 1:
        return plain
    start = next(iter(before))
    return {name.removeprefix(start): tensor for name, tensor in plain.items() if name.startswith(start)}


class ForeignCheckpoints:
    """A series of checkpoints of an open_clip model.

    Args:
        label: short name.
        identity: see `Subject`.
        files: returns the files that there are.
        device: where the model is evaluated.
        architecture: open_clip's name, or a json file, as typed; None: from the files beside the checkpoints.
        samples_per_epoch, global_batch: as typed, in samples; None: from those files, or names.
    """

    def __init__(
        self,
        label: str,
        identity: str,
        files: Files,
        device: torch.device,
        architecture: str | None = None,
        samples_per_epoch: float | None = None,
        global_batch: float | None = None,
    ) -> None:
        self.label, self.identity = label, identity
        self.weights: Mapping[str, Swap] = {RAW: nullcontext}
        self._files, self._device, self._typed = files, device, architecture
        self._per_epoch, self._batch = samples_per_epoch, global_batch
        self._places: dict[tuple[Path, int], Place | None] = {}
        self._scale = Scale()
        self._alone: Path | None = None  # a single file that is on no axis
        self._model: EvaluatedModel | None = None
        self._architecture: Architecture | None = None

    @property
    def about(self) -> Mapping[str, Any]:
        """The architecture, where the files lie, and how epochs were turned into samples."""
        found = self._architecture
        about = {"kind": "open_clip checkpoints", "folder": self.identity, "axis": self._scale.origin or "the files"}
        if self._alone is not None:
            about["file"] = str(self._alone.resolve())
        if found is None:
            return about
        return {**about, "model": found.name, "model_cfg": found.model_cfg, "preprocess_cfg": found.preprocess_cfg}

    def members(self) -> tuple[list[Member], list[Unreadable]]:
        """The checkpoints by their steps, without second names of the newest and files that are being written."""
        paths = [path for path in self._files() if path.name not in UNFINISHED]
        # the numbered file comes first, so that it names the step that the latest has too
        paths.sort(key=lambda path: path.stem == LATEST)
        found, bad = [], []
        for path in paths:
            try:
                place = self._place(path, paths)
            except OSError as error:  # gone since
                bad.append(Unreadable(path, f"cannot be read ({reason_of(error)})"))
                continue
            except UserError as error:
                if any(problem.key for problem in error.problems):  # something to type
                    raise
                bad.append(Unreadable(path, error.lines[0].removeprefix(f"{path}: ")))
                continue
            if place is None and len(paths) > 1:
                bad.append(Unreadable(path, "neither its keys nor its name say which step or epoch it is"))
            else:
                self._alone = path if place is None else self._alone
                found.append(Member(place or Place(0), path.name, path))
        return in_order(found), bad

    def load(self, member: Member) -> EvaluatedModel:
        """The model with the weights of a checkpoint."""
        path = member.file
        assert path is not None  # every member of this series is a file
        weights, _ = read_weights(path)
        try:
            replaced = (path, path.stat().st_mtime_ns) not in self._places
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({reason_of(error)})") from None
        if replaced:  # since its step was read
            raise UserError(f"{path}: has been replaced meanwhile; evaluate once more")
        architecture = architecture_of(path, self._typed)
        # folders of one series may differ in what belongs to their weights, such as mean and std
        if self._model is None or self._architecture is None or not architecture.same(self._architecture):
            self._model = find_model(built(architecture).to(self._device).requires_grad_(False))
            self._architecture = architecture
        load_into(self._model.model, weights, path)
        return self._model

    def notes(self, member: Member) -> Mapping[str, float]:
        """None."""
        return {}

    def _place(self, path: Path, paths: Sequence[Path]) -> Place | None:
        key = path, path.stat().st_mtime_ns
        if key not in self._places:
            _, inside = read_weights(path)
            numbered = [p for p in paths if epoch_in(p) is not None]
            scale = scale_of(path.resolve(), [p.resolve() for p in numbered])
            self._scale = scale if scale.origin else self._scale
            try:
                self._places[key] = place_of(path, inside, scale, self._per_epoch, self._batch)
            except UserError:
                if len(paths) > 1:
                    raise
                self._alone = path
                self._places[key] = Place(0, 0, epoch_of(path, inside) or 0)  # alone it needs no axis
        return self._places[key]


def load_into(model: torch.nn.Module, weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """Load weights of whatever names and positions; UserError where they are not those of the model.

    Args:
        model: of the architecture.
        weights: as stored.
        path: named in the error.
    """
    from open_clip.factory import resize_pos_embed, resize_text_pos_embed

    state = fitted(weights, list(model.state_dict()))
    try:
        resize_pos_embed(state, model)  # a model of another image size: interpolated, as open_clip does
        resize_text_pos_embed(state, model)
        model.load_state_dict(state)
    except (RuntimeError, AttributeError, KeyError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = (lines[1] if len(lines) > 1 else lines[0] if lines else type(error).__name__)[:200]
        what = f"{path}: its weights are not of this architecture ({reason}); type model.name=<architecture>"
        raise UserError(what) from None


def _others(name: str, wanted: Sequence[str]) -> bool:
    """Whether a stored tensor belongs to something beside the model: a loss, a metric, an average of the weights."""
    tops = {known.partition(".")[0] for known in wanted}
    return name.partition(".")[0] not in tops


def _without_wrappers(name: str) -> str:
    for prefix in PREFIXES:
        name = name.replace(prefix, "")
    return name


def _pointer(path: Path) -> str | None:
    """What to do where Git has cloned a repository without its large files; None elsewhere."""
    try:
        with path.open("rb") as file:
            is_pointer = file.read(len(LFS)) == LFS
    except OSError:
        return None
    return "a pointer of Git LFS, in place of the file itself; type git lfs pull in its folder" if is_pointer else None
