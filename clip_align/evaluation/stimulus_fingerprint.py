# SPDX-License-Identifier: Apache-2.0
"""What a stimulus is, as text: when anything about an image changes, its text does too.

It covers the id, the function that makes the image with its module's source, its arguments, and size and
time of files among them. Not covered: code that the function calls in other modules; a benchmark's ``version``
stands for that.
"""

from __future__ import annotations

import hashlib
import pickle
import sys
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np
import PIL
from PIL import features

from clip_align.evaluation.stimulus import Stimulus

DECODERS = ("jpg", "jpg_2000", "webp", "zlib")
PLAIN = (str, bytes, bool, int, float, type(None))
Sources = dict[str, str]


def fingerprint(stimuli: Iterable[Stimulus], version: int = 1) -> str:
    """16 hexadecimal digits of all stimuli, the benchmark's version and the versions of the decoders."""
    decoders = [PIL.__version__, np.__version__, *(str(features.version(f)) for f in DECODERS)]
    digest = hashlib.sha256(repr((version, decoders)).encode())
    sources: Sources = {}
    for stimulus in stimuli:
        digest.update(repr((stimulus.id, stimulus.places)).encode())
        digest.update(_described(stimulus.load, sources).encode())
    return digest.hexdigest()[:16]


def maker(stimulus: Stimulus) -> str:
    """How one stimulus is made: two benchmarks that name the same stimulus have to agree on it."""
    return f"{_described(stimulus.load, {})} {stimulus.places}"


def _described(value: Any, sources: Sources) -> str:
    """A maker or one of its arguments, as text that is the same in every process."""
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, partial):
        return "partial" + _described([value.func, list(value.args), dict(value.keywords)], sources)
    if isinstance(value, Path):
        return _file(value)
    if isinstance(value, np.ndarray):
        return f"array {value.dtype} {value.shape} {_digest(value.tobytes())}"
    if isinstance(value, Mapping):
        return _described([[k, value[k]] for k in sorted(value, key=repr)], sources)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_described(v, sources) for v in value)}]"
    if isinstance(value, FunctionType | BuiltinFunctionType | MethodType | type):
        return _function(value, sources)
    try:
        return f"{type(value).__qualname__} {_digest(pickle.dumps(value))}"
    except (pickle.PicklingError, AttributeError, TypeError):
        return repr(value)  # with its address at worst: then the images are made again


def _function(value: Any, sources: Sources) -> str:
    """Name and module source; what it has bound: defaults, closure, object."""
    cells = [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
    bound = [getattr(value, "__defaults__", None), getattr(value, "__kwdefaults__", None), cells]
    if isinstance(value, MethodType):
        bound.append(value.__self__)
    module = str(value.__module__)
    return f"{module}.{value.__qualname__} {_source(module, sources)} {_described(bound, sources)}"


def _file(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return f"missing {path}"
    return f"file {path.name} {status.st_size} {status.st_mtime_ns}" if path.is_file() else f"folder {path}"


def _source(module: str, known: Sources) -> str:
    if module not in known:
        path = getattr(sys.modules.get(module), "__file__", None)
        code = Path(path).read_bytes() if path and path.endswith(".py") and Path(path).is_file() else b""
        known[module] = _digest(code)
    return known[module]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
