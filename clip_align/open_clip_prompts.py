# SPDX-License-Identifier: Apache-2.0
"""CLIP's 80 ImageNet templates and its 1,000 class names, from open_clip's file, without importing open_clip.

The file, ``zero_shot_metadata.py``, has data alone; it is executed by itself.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from types import ModuleType

__all__ = ["imagenet_class_names", "imagenet_templates"]

FILE = "zero_shot_metadata.py"


@functools.cache
def imagenet_templates() -> tuple[str, ...]:
    """The 80 prompts of OpenAI's ImageNet evaluation, with ``{}`` for the class: ``a bad photo of a {}.``"""
    return tuple(template("{}") for template in _metadata().OPENAI_IMAGENET_TEMPLATES)


@functools.cache
def imagenet_class_names() -> tuple[str, ...]:
    """The names of ImageNet's 1,000 classes that OpenAI's evaluation uses, in ImageNet's order."""
    return tuple(_metadata().IMAGENET_CLASSNAMES)


@functools.cache
def _metadata() -> ModuleType:
    spec = importlib.util.find_spec("open_clip")  # a top-level package: found, not imported
    folders = spec.submodule_search_locations if spec is not None else None
    for folder in folders or ():
        path = Path(folder) / FILE
        if path.is_file():
            of_file = importlib.util.spec_from_file_location("open_clip_zero_shot_metadata", path)
            assert of_file is not None  # for a file that ends in .py there is a loader
            assert of_file.loader is not None
            module = importlib.util.module_from_spec(of_file)
            of_file.loader.exec_module(module)
            return module
    raise ModuleNotFoundError(f"open_clip's {FILE} is not installed; install open_clip_torch")
