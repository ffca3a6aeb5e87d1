# SPDX-License-Identifier: Apache-2.0
"""Series of checkpoints of other trainers of open_clip models; how their files are read: `training.foreign_weights`."""

from __future__ import annotations

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
from clip_align.training.checkpoint_files import reason_of
from clip_align.training.foreign_weights import load_into, read_weights

LATEST = "epoch_latest"  # a second name of the newest epoch
UNFINISHED = ("tmp.pt",)  # what open_clip_train writes before it renames it


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
