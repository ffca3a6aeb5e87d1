# SPDX-License-Identifier: Apache-2.0
"""The fingerprint of a stimulus, which changes with everything that its image is made from.

It covers the id, the name of the function that makes the image, its arguments (of files: size and modification time)
and the function's defaults and closure. The source of functions is not covered, so that an edited comment does not
render images again: changes of code are expressed by a benchmark's ``version`` or a number among the arguments. Only
functions without a unique name (lambdas, nested functions, those of ``__main__``) are identified by their code.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import PIL
from PIL import features

from clip_align.evaluation.stimulus import Stimulus

DECODERS = ("jpg", "jpg_2000", "webp", "zlib")  # Pillow's: another version may decode to other pixels
PLAIN = (str, bytes, bool, int, float, type(None))  # whose repr is the same in every process
CUTTING = 1  # version of the views; raised when they yield other pixels of the same image


def fingerprint(stimulus: Stimulus, version: int = 1) -> bytes:
    """16 bytes that depend on the stimulus, the version, and the versions of the decoders and views."""
    return hashlib.sha256(f"{_decoders()} {version} {stimulus.id!r} {maker(stimulus)}".encode()).digest()[:16]


def maker(stimulus: Stimulus) -> str:
    """How a stimulus is made, as text; must be equal for two benchmarks that use the same id."""
    return f"{_described(stimulus.load)} {stimulus.places!r}"


@lru_cache(maxsize=1)
def _decoders() -> str:
    return repr((CUTTING, PIL.__version__, np.__version__, *(str(features.version(f)) for f in DECODERS)))


def _described(value: Any) -> str:
    """A function or one of its arguments, as text that is the same in every process."""
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, partial):
        return "partial" + _described([value.func, list(value.args), dict(value.keywords)])
    if isinstance(value, Path):
        return _file(value)
    if isinstance(value, np.ndarray):
        return f"array {value.dtype} {value.shape} {_digest(value.tobytes())}"
    if isinstance(value, Mapping):
        return _described([[k, value[k]] for k in sorted(value, key=repr)])  # insertion order does not matter
    if isinstance(value, list | tuple):
        return f"[{', '.join(_described(v) for v in value)}]"
    if isinstance(value, FunctionType | BuiltinFunctionType | MethodType | type):
        return _function(value)
    try:
        return f"{type(value).__qualname__} {_digest(pickle.dumps(value))}"
    except (pickle.PicklingError, AttributeError, TypeError):
        return repr(value)  # may contain an address: the images are then rendered again


def _function(value: Any) -> str:
    """Name of a function, its code if the name is not unique, and its defaults, closure and object."""
    cells = [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
    bound = [getattr(value, "__defaults__", None), getattr(value, "__kwdefaults__", None), cells]
    if isinstance(value, MethodType):
        bound.append(value.__self__)  # the object holds what the image is made from
    name = f"{value.__module__}.{value.__qualname__}"
    code = getattr(value, "__code__", None)
    # ``<lambda>``, ``<locals>``; a script's functions are edited without a version
    if isinstance(code, CodeType) and ("<" in name or value.__module__ == "__main__"):
        name += f" {_code(code)}"
    return f"{name} {_described(bound)}"


def _code(code: CodeType) -> str:
    """The instructions of a function with its names and constants."""
    return _digest(repr((code.co_code, code.co_names, [_constant(c) for c in code.co_consts])).encode())


def _constant(value: Any) -> str:
    if isinstance(value, CodeType):  # of a nested function; its repr has an address
        return _code(value)
    return repr(sorted(map(repr, value))) if isinstance(value, frozenset) else repr(value)  # sets have no order


def _file(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return f"missing {path}"
    return f"file {path.name} {status.st_size} {status.st_mtime_ns}" if path.is_file() else f"folder {path}"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
