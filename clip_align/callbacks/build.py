# SPDX-License-Identifier: Apache-2.0
"""Build callbacks from their configs: import the class, check it, construct it; all errors are reported at once."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Mapping
from typing import Any

from clip_align.callbacks.base import PerceptualCallback
from clip_align.config import CallbackConfig
from clip_align.errors import Problem, UserError
from clip_align.evaluation.prepare import refuse_same_keys
from clip_align.settings.annotations import parameters_of


def build_callbacks(
    configs: Mapping[str, CallbackConfig], given: Mapping[str, Any] | None = None
) -> list[PerceptualCallback]:
    """The perceptual callbacks of a run, in the order of the config, which is their order in an event.

    ``given``: constructor arguments by name (``world``) for callbacks that have them and whose config omits them or
    sets null; a function is called for its value, once and only if a callback needs it.
    UserError with a line for each callback that cannot be built.
    """
    built: list[PerceptualCallback] = []
    errors: list[Problem] = []
    values: dict[str, Any] = {}
    for name, config in configs.items():
        try:
            built.append(_built(name, config, given or {}, values))
        except UserError as error:
            errors.extend(error.problems)
    if errors:
        raise UserError(*errors)
    refuse_same_keys(built)
    return built


def _built(name: str, config: CallbackConfig, given: Mapping[str, Any], values: dict[str, Any]) -> PerceptualCallback:
    cls = _class(name, config.target)
    known = parameters_of(cls, PerceptualCallback)
    arguments = {"name": name, **config.arguments}
    for wanted in (k for k in given if k in known and arguments.get(k) is None):
        # a function is called once for all callbacks: it may render a world
        if wanted not in values:
            values[wanted] = given[wanted]() if callable(given[wanted]) else given[wanted]
        arguments[wanted] = values[wanted]
    try:
        return cls(**arguments)
    except UserError:  # one line already
        raise
    except TypeError as error:  # an argument it does not have, or of the wrong kind
        raise UserError(Problem(f"callbacks.{name}", str(error).replace("\n", " "))) from error


def _class(name: str, target: str) -> type[PerceptualCallback]:
    module, _, attribute = target.rpartition(".")
    try:
        loaded = importlib.import_module(module) if module else None
    except Exception as error:  # whatever code a module runs when it is imported
        raise UserError(Problem(f"callbacks.{name}", _why_not_imported(module, error))) from error
    found = getattr(loaded, attribute, None)
    if found is None:
        raise UserError(_of_target(name, f"{target}: no class {attribute} in {module or 'no module'}"))
    if not (isinstance(found, type) and issubclass(found, PerceptualCallback)):
        raise UserError(_of_target(name, f"{target} is not a subclass of PerceptualCallback"))
    return found


def _of_target(name: str, text: str) -> Problem:
    return Problem(f"callbacks.{name}._target_", f"_target_ {text}", shown=f"callbacks.{name}")


def _why_not_imported(module: str, error: Exception) -> str:
    """The reason: a missing module, or the error that it raises, with file and line in its package."""
    absent = error.name if isinstance(error, ModuleNotFoundError) else None
    # the module itself or a package above it; one that it imports is an error inside it
    if absent is not None and f"{module}.".startswith(f"{absent}."):
        return f"no module {absent}; is the package installed in this environment?"
    place = _place_in(module.partition(".")[0], error)
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{module} cannot be imported: {what}{f' ({place})' if place else ''}"


def _place_in(package: str, error: Exception) -> str | None:
    """File and line of the innermost code of ``package`` that the error passed through."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}"
    place = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] == package:
            place = f"{frame.f_code.co_filename}, line {line}"
    return place
