# SPDX-License-Identifier: Apache-2.0
"""What a new run starts from in place of random weights: another run (``init_from``), or pretrained ones of open_clip.

Only the weights are taken: the new run begins at step 0 with a fresh optimizer and its own schedule. Afterwards they
are in its checkpoints, so that it is resumed without their source.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clip_align.config import Config, ModelConfig
from clip_align.config_plain import from_plain
from clip_align.errors import Problem, UserError
from clip_align.evaluation.weights import RAW
from clip_align.losses.base import Loss
from clip_align.models.build import ClipModel
from clip_align.runs.initial import named_file, no_such_file, source_of
from clip_align.training.checkpoint_files import AVERAGE, OWN, READ_ERRORS, damage, load, newest, reason_of, weights_of
from clip_align.training.foreign_weights import downloaded, load_into, read_weights

CONFIG = "open_clip_config.json"  # beside weights from the hub
LOSS = "loss."  # before the names of the loss's parameters in ``state_dict``
BIAS = "logit_bias"  # of a model that was trained with SigLIP's loss
# keys of the model on which its tensors depend
SAME_NAMES = ("kind", "name", "embed_dim", "tokenizer", "context")


@dataclass(eq=False)
class InitialWeights:
    """Weights for a new run.

    file: that they are from. weights: by the model's names, or as stored by others; let go of once they are loaded.
    key: of the configuration that names them. about: for the run's provenance. loss: kind of the loss that they were
    trained with; loss_parameters: its own. words: vocabulary of the tiny model that they belong to, else None.
    """

    file: Path
    weights: Mapping[str, torch.Tensor]
    key: str
    about: Mapping[str, Any]
    loss: str
    loss_parameters: Mapping[str, torch.Tensor] = field(default_factory=dict)
    words: Sequence[str] | None = None
    logit_scale: torch.Tensor | None = None  # of the weights, from `load` on

    @property
    def line(self) -> str:
        """For the user."""
        step = f" at step {self.about['step']:,}" if "step" in self.about else ""
        return f"{self.key}: starting from {self.about['weights']} weights of {self.file}{step}; the optimizer is fresh"

    def load(self, clip: ClipModel) -> None:
        """Put them into a model; UserError where they do not fit it."""
        advice = f"{clip.name} at {clip.image_size} px is what model=… chooses: choose the architecture of the weights"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a dry run's model is without values, and a copy into it does nothing
            load_into(clip.model, self.weights, self.file, advice, self.key)
        self.logit_scale = clip.model.logit_scale.detach().clone()  # type: ignore[operator]
        self.weights = {}  # as large as the model

    def load_loss(self, kind: str, loss: Loss, model: nn.Module) -> None:
        """Put the temperature back, and the loss's parameters, where the loss is that of the weights.

        Another loss begins with its own temperature. Call it after the module has set that.

        Args:
            kind: of the run's loss.
            loss: of the run.
            model: that is trained.
        """
        if kind != self.loss or self.logit_scale is None:
            return
        with torch.no_grad():
            model.logit_scale.copy_(self.logit_scale)  # type: ignore[operator]
        if self.loss_parameters.keys() == loss.state_dict().keys():
            loss.load_state_dict(dict(self.loss_parameters))


def initial_weights(config: Config, fetch: bool = True) -> InitialWeights | None:
    """The weights that a new run of this configuration starts from; None where these are random.

    Args:
        config: of the run.
        fetch: download what open_clip's cache lacks; otherwise a tag, once checked, gives None.

    UserError where they cannot be had, or are those of another model.
    """
    if config.init_from is not None:
        return _of_run(config)
    if config.model.pretrained is None:
        return None
    return _pretrained(config.model, config.model.pretrained, fetch)


def _of_run(config: Config) -> InitialWeights:
    file, content = _checkpoint(config.paths.runs, str(config.init_from))
    own = content[OWN]
    try:
        source = from_plain(own["config"])
    except UserError as error:  # of another release, or with a kind of an outside package
        raise UserError(*(Problem("init_from", f"{file}: {line}") for line in error.lines)) from None
    _check_same(source.model, config.model, file)
    name = config.init_weights or source.evaluation.weights[0]
    if name != RAW and AVERAGE not in content:
        raise UserError(Problem("init_weights", f"{file} holds no set of weights {name}; valid: {RAW}"))
    stored = content["state_dict"]
    step = int(own["global_step"])
    return InitialWeights(
        file,
        weights_of(content, name),
        "init_from",
        {"source": config.init_from, "file": str(file.resolve()), "weights": name, "step": step},
        source.loss.kind,
        {key.removeprefix(LOSS): tensor for key, tensor in stored.items() if key.startswith(LOSS)},
        own["words"],
    )


def _checkpoint(runs: str, typed: str) -> tuple[Path, dict[str, Any]]:
    """The checkpoint that ``init_from`` names, of a run the newest that is whole, and its content."""
    source = source_of(runs, typed)
    if not isinstance(source, Path):
        try:
            found = newest(source.checkpoints)
        except UserError as error:
            raise UserError(Problem("init_from", error.lines[0].removeprefix("resume: "))) from None
        if found is None:
            raise UserError(Problem("init_from", f"{source.path} holds no checkpoint; name a run that has one"))
        return found.path, found.content
    try:
        reason, content = damage(source), {}
        if reason is None:
            content = load(source, mapped=True)
    except READ_ERRORS as error:
        reason = reason_of(error)
    if reason is None and OWN not in content:
        reason = "not a checkpoint of clip-align; weights of other trainers: model.pretrained=<file>"
    if reason is not None:
        raise UserError(Problem("init_from", f"{source} cannot be used ({reason})"))
    return source, content


def _check_same(source: ModelConfig, model: ModelConfig, file: Path) -> None:
    for name in SAME_NAMES if model.kind == source.kind == "tiny" else ("kind", "name", "context_length"):
        before, now = getattr(source, name), getattr(model, name)
        if before != now:
            what = f"{file} holds weights of model.{name}={before}, this run has {now}; choose the source's model"
            raise UserError(Problem("init_from", what))


def _pretrained(model: ModelConfig, typed: str, fetch: bool) -> InitialWeights | None:
    file, name = named_file(typed), model.name or ""
    if file is None:
        _check_tag(name, typed)
        if not fetch:
            return None
        file = downloaded(name, typed, "model.pretrained", "give a file: model.pretrained=/path/weights.safetensors")
    elif not file.is_file():
        raise UserError(Problem("model.pretrained", no_such_file(typed)))
    else:
        _check_beside(file, name)
    try:
        weights, _ = read_weights(file)
    except UserError as error:
        raise UserError(*(Problem("model.pretrained", problem.text) for problem in error.problems)) from None
    bias = next((tensor for key, tensor in weights.items() if key.rpartition(".")[2] == BIAS), None)
    return InitialWeights(
        file,
        weights,
        "model.pretrained",
        {"source": typed, "file": str(file.resolve()), "weights": typed if named_file(typed) is None else "the"},
        "infonce" if bias is None else "siglip",
        {} if bias is None else {BIAS: bias.reshape(())},
    )


def _check_tag(name: str, tag: str) -> None:
    """UserError for a tag that the architecture does not have, or whose weights are of another activation or input."""
    import open_clip

    found = open_clip.get_pretrained_cfg(name, tag)
    if not found:
        tags = open_clip.list_pretrained_tags_by_model(name)
        valid = f"{name} has {', '.join(tags)}" if tags else f"{name} has none"
        raise UserError(Problem("model.pretrained", f"'{tag}' is no file and no tag of open_clip; {valid}"))
    _check_input(name, tag, found.get("quick_gelu"), found.get("mean"))


def _check_beside(file: Path, name: str) -> None:
    """As `_check_tag`, for a file with its configuration beside it, as the hub has them; UserError."""
    try:
        content = json.loads((file.parent / CONFIG).read_text(encoding="utf-8"))
        model, images = content.get("model_cfg") or {}, content.get("preprocess_cfg") or {}
        found = bool(model.get("quick_gelu", False)), images.get("mean")
    except FileNotFoundError:
        return
    except (OSError, ValueError, AttributeError) as error:
        what = f"{file.parent / CONFIG} cannot be read ({error}); repair it, or move the weights elsewhere"
        raise UserError(Problem("model.pretrained", what)) from None
    _check_input(name, str(file), *found)


def _check_input(name: str, weights: str, quick_gelu: bool | None, mean: Sequence[float] | None) -> None:
    """UserError where weights were trained with another activation, or on images normalized otherwise.

    Args:
        name: of the architecture that is built.
        weights: what the error calls them.
        quick_gelu: whether they have that activation; None: as the architecture.
        mean: of the channels, on [0, 1]; None: as the architecture.
    """
    import open_clip

    quick = bool((open_clip.get_model_config(name) or {}).get("quick_gelu", False))
    if quick_gelu is not None and bool(quick_gelu) != quick:
        other = name.removesuffix("-quickgelu") if quick else f"{name}-quickgelu"
        advice = f"type model.name={other}" if open_clip.get_model_config(other) else "choose other weights"
        what = f"{weights} was trained with another activation than {name} has; {advice}"
        raise UserError(Problem("model.pretrained", what))
    usual = tuple(open_clip.OPENAI_DATASET_MEAN)  # that models of random weights are built with
    if mean is not None and tuple(mean) != usual:
        what = f"{weights} was trained on images normalized with the mean {list(mean)}, this run has {list(usual)}"
        raise UserError(Problem("model.pretrained", f"{what}; choose other weights"))
