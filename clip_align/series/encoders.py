# SPDX-License-Identifier: Apache-2.0
"""Image encoders of timm and torchvision, for benchmarks without prompts: features in front of the classifier."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clip_align.errors import Problem, UserError
from clip_align.evaluation.evaluated_model import EvaluatedModel, Triple
from clip_align.series.one_model import OneModel
from clip_align.spelling import nearest
from clip_align.training.foreign_weights import fitted, read_weights

SOURCES = ("timm", "torchvision")
PRETRAINED = "pretrained"
CONFIG = "config.json"  # beside weights of timm from the hub
NO_TEXT = "an image encoder has no text tower, and its prompts need one"


class Tower(nn.Module):
    """An image tower as benchmarks find it: ``trunk`` with its input size, mean and std.

    Args:
        trunk: [N, 3, S, S] -> features [N, D].
        image_size: S in pixels.
        mean, std: of the channels on [0, 1].
    """

    def __init__(self, trunk: nn.Module, image_size: int, mean: Triple, std: Triple) -> None:
        super().__init__()
        self.trunk = trunk
        self.image_size, self.image_mean, self.image_std = image_size, mean, std

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Features [N, D] of images [N, 3, S, S]."""
        features: torch.Tensor = self.trunk(images)
        return features.flatten(1) if features.ndim > 2 else features


class ImageEncoder(nn.Module):
    """A model with an image tower alone."""

    def __init__(self, visual: Tower) -> None:
        super().__init__()
        self.visual = visual

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """Features [N, D] of images [N, 3, S, S]."""
        features: torch.Tensor = self.visual(images)
        return features


def encoder(typed: str, weights: str | None, seed: int, device: torch.device) -> OneModel:
    """The subject of ``model=timm/<name>`` or ``model=torchvision/<name>``.

    Args:
        typed: source and name with a slash between them.
        weights: a file, ``pretrained`` for the source's own (downloaded), None for random ones.
        seed: of random weights.
        device: where it is evaluated.

    UserError for a name that the source does not have; for weights when the model is made.
    """
    source, _, name = typed.partition("/")
    _known(source, name)
    origin = f"seed {seed}" if weights is None else str(weights)
    about = {"kind": "image encoder", "model": typed, "weights": origin}
    label = f"{source}-{name}" + ("" if weights is None else f"-{Path(weights).stem}")

    def make() -> EvaluatedModel:
        torch.manual_seed(seed)
        trunk, size, mean, std = _TRUNKS[source](name, weights)
        model = ImageEncoder(Tower(trunk, size, mean, std)).to(device).eval().requires_grad_(False)
        return EvaluatedModel(model, size, mean, std, None, no_tokenizer=NO_TEXT)

    return OneModel(label, make, about)


def _known(source: str, name: str) -> None:
    if source == "timm":
        import timm

        names: Sequence[str] = timm.list_models()
        known = timm.is_model(name)
    else:
        import torchvision

        names = torchvision.models.list_models(module=torchvision.models)
        known = name in names
    if not known:
        guess = nearest(name, names)
        hint = f"; did you mean {guess}?" if guess else ""
        raise UserError(Problem("model", f"{source} has no model {name}{hint}", shown=f"model={source}/{name}"))


def _timm(name: str, weights: str | None) -> tuple[nn.Module, int, Triple, Triple]:
    import timm
    import timm.data

    resolved: Any = timm.data.resolve_model_data_config  # type: ignore[attr-defined]  # timm has few annotations
    try:
        trunk: Any = timm.create_model(name, pretrained=weights == PRETRAINED)
    except Exception as error:  # no network, or whatever the hub raises
        raise _not_fetched(f"timm/{name}", error) from None
    if weights is not None and weights != PRETRAINED:
        _load(trunk, weights, f"timm/{name}")
        trunk.pretrained_cfg = {**trunk.pretrained_cfg, **_beside(Path(weights).expanduser())}
    about = resolved(trunk)  # of these weights: size, mean and std differ between them
    trunk.reset_classifier(0)
    return trunk, int(about["input_size"][-1]), _triple(about["mean"]), _triple(about["std"])


def _torchvision(name: str, weights: str | None) -> tuple[nn.Module, int, Triple, Triple]:
    import torchvision

    of_name = torchvision.models.get_model_weights(name)
    default = next(iter(of_name), None)
    default = getattr(of_name, "DEFAULT", default)
    try:
        trunk = torchvision.models.get_model(name, weights=default if weights == PRETRAINED else None)
    except Exception as error:  # no network
        raise _not_fetched(f"torchvision/{name}", error) from None
    if weights is not None and weights != PRETRAINED:
        _load(trunk, weights, f"torchvision/{name}")
    about: Any = default.transforms() if default is not None else None
    if about is None or not hasattr(about, "crop_size"):
        raise UserError(Problem("model", f"torchvision/{name} says neither its input size nor its normalization"))
    _without_classifier(trunk, name)
    return trunk, int(about.crop_size[0]), _triple(about.mean), _triple(about.std)


_TRUNKS = {"timm": _timm, "torchvision": _torchvision}


def _without_classifier(trunk: nn.Module, name: str) -> None:
    """Take the last linear layer away, which all of torchvision's classifiers but SqueezeNet's end with."""
    linear = [path for path, module in trunk.named_modules() if isinstance(module, nn.Linear)]
    if not linear or linear[-1].startswith("AuxLogits"):
        linear = [path for path in linear if not path.startswith("AuxLogits")]
    if not linear:
        raise UserError(Problem("model", f"torchvision/{name} has no linear classifier that could be taken away"))
    trunk.set_submodule(linear[-1], nn.Identity())


def _load(trunk: nn.Module, weights: str, name: str) -> None:
    """Load a file strictly; without its classifier where that has another number of classes, which is not used."""
    path = Path(weights).expanduser()
    if not path.is_file():
        raise UserError(Problem("weights", f"{weights}: no such file; give a file, or {PRETRAINED}"))
    state, own = read_weights(path)[0], trunk.state_dict()
    state = fitted(state, list(own))
    other = {key for key, value in state.items() if key in own and own[key].shape != value.shape}
    absent = own.keys() - state.keys()
    heads = ("fc.", "head.", "heads.", "classifier.", "last_linear.")
    if all(key.startswith(heads) for key in other | absent):
        state = {key: value for key, value in state.items() if key not in other}
        trunk.load_state_dict({**{key: own[key] for key in other | absent}, **state}, strict=False)
        if unused := sorted(key for key in state if key not in own and not key.startswith(heads)):
            raise UserError(Problem("weights", f"{path}: {name} has no {unused[0]}; these are another model's weights"))
        return
    wrong = sorted(key for key in other | absent if not key.startswith(heads))
    raise UserError(Problem("weights", f"{path}: without {wrong[0]} of {name}; these are another model's weights"))


def _beside(weights: Path) -> Mapping[str, Any]:
    """What timm's own configuration beside a file says about its input; empty without one."""
    path = weights.with_name(CONFIG)
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(Problem("weights", f"{path}: cannot be read ({error})")) from None
    found = content.get("pretrained_cfg", {}) if isinstance(content, dict) else {}
    return {key: found[key] for key in ("mean", "std", "input_size") if key in found}


def _not_fetched(name: str, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    what = f"{name}: cannot be downloaded ({reason}); give a file that is here: weights=<file>"
    return UserError(Problem("weights", what))


def _triple(values: Sequence[float]) -> Triple:
    red, green, blue = (float(v) for v in values)
    return red, green, blue
