# SPDX-License-Identifier: Apache-2.0
"""Prompt templates by name, and ImageNet's class names, from open_clip's file, without importing open_clip.

The file, ``zero_shot_metadata.py``, has data alone; it is executed by itself.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, ModuleType

__all__ = [
    "CIFAR_TEMPLATES",
    "TEMPLATE_SETS",
    "imagenet_class_names",
    "imagenet_names",
    "imagenet_templates",
    "templates_from",
]

FILE = "zero_shot_metadata.py"
# openai/CLIP, data/prompts.md (MIT), CIFAR-10 and CIFAR-100: nine forms, each with "a" and with "the"
_KINDS = ("", "blurry ", "black and white ", "low contrast ", "high contrast ", "bad ", "good ")
CIFAR_TEMPLATES: tuple[str, ...] = tuple(
    template
    for article in ("a", "the")
    for template in (
        *(f"a {kind}photo of {article} {{}}." for kind in _KINDS),
        *(f"a photo of {article} {size} {{}}." for size in ("small", "big")),
    )
)
TEMPLATE_SETS = ("imagenet", "imagenet7", "cifar", "plain", "names")


def templates_from(given: str | Sequence[str]) -> tuple[str, ...]:
    """Templates with ``{}`` for the class: one of `TEMPLATE_SETS` by its name, or texts as they are.

    ValueError, with what is wrong and valid, for a text that is no name and has no ``{}``.
    """
    templates = (given,) if isinstance(given, str) else tuple(given)
    if len(templates) == 1 and templates[0] in TEMPLATE_SETS:
        return _template_set(templates[0])
    wrong = next((template for template in templates if template.count("{}") != 1), None)
    if wrong is not None or not templates:
        what = f"{wrong!r} has no {{}} for the class" if wrong is not None else "there are none"
        raise ValueError(f"{what}; give one of {', '.join(TEMPLATE_SETS)}, or texts with one {{}} each")
    return templates


def _template_set(name: str) -> tuple[str, ...]:
    if name == "imagenet":
        return imagenet_templates()
    if name == "imagenet7":
        return tuple(template("{}") for template in _metadata().SIMPLE_IMAGENET_TEMPLATES)
    return {"cifar": CIFAR_TEMPLATES, "plain": ("a photo of a {}.",), "names": ("{}",)}[name]


@functools.cache
def imagenet_templates() -> tuple[str, ...]:
    """The 80 prompts of OpenAI's ImageNet evaluation, with ``{}`` for the class: ``a bad photo of a {}.``"""
    return tuple(template("{}") for template in _metadata().OPENAI_IMAGENET_TEMPLATES)


@functools.cache
def imagenet_class_names() -> tuple[str, ...]:
    """The names of ImageNet's 1,000 classes that OpenAI's evaluation uses, in ImageNet's order."""
    return tuple(_metadata().IMAGENET_CLASSNAMES)


@functools.cache
def imagenet_names() -> Mapping[str, str]:
    """ImageNet's 1,000 class names, as CLIP's authors cleaned them, by WordNet number (``n01440764``)."""
    numbers = _file("timm", "data/_info/imagenet_synsets.txt").read_text(encoding="utf-8").split()
    return MappingProxyType(dict(zip(numbers, imagenet_class_names(), strict=True)))


@functools.cache
def _metadata() -> ModuleType:
    of_file = importlib.util.spec_from_file_location("open_clip_zero_shot_metadata", _file("open_clip", FILE))
    assert of_file is not None  # for a file that ends in .py there is a loader
    assert of_file.loader is not None
    module = importlib.util.module_from_spec(of_file)
    of_file.loader.exec_module(module)
    return module


def _file(package: str, name: str) -> Path:
    """A file of an installed package, which is not imported; ModuleNotFoundError where it is not there."""
    spec = importlib.util.find_spec(package)  # a top-level package: found, not imported
    for folder in (spec.submodule_search_locations if spec is not None else None) or ():
        if (path := Path(folder, name)).is_file():
            return path
    raise ModuleNotFoundError(f"{package}'s {name} is not installed; install open_clip_torch")
