# SPDX-License-Identifier: Apache-2.0
"""Callbacks from their configs: import the target, check that it is one, construct it; all errors at once."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from clip_align.callbacks.base import PerceptualCallback
from clip_align.config import CallbackConfig
from clip_align.errors import Problem, UserError
from clip_align.evaluation.prepare import refuse_same_keys


def build_callbacks(
    configs: Mapping[str, CallbackConfig], given: Mapping[str, Any] | None = None
) -> list[PerceptualCallback]:
    """The perceptual callbacks of a run, in the order of the config, which is their order in an event.

    ``given``: constructor arguments by name (``world``) for callbacks that have them and whose config
    leaves them out or null; a function is called for its value, once and only if somebody needs it.
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
    known = inspect.signature(cls.__init__).parameters
    arguments = {"name": name, **config.arguments}
    for wanted in (k for k in given if k in known and arguments.get(k) is None):
        if wanted not in values:
            values[wanted] = given[wanted]() if callable(given[wanted]) else given[wanted]
        arguments[wanted] = values[wanted]
    try:
        return cls(**arguments)
    except UserError:
        raise
    except TypeError as error:  # an argument it does not have, or of the wrong kind
        raise UserError(f"callbacks.{name}: {error}".replace("\n", " ")) from error


def _class(name: str, target: str) -> type[PerceptualCallback]:
    module, _, attribute = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"callbacks.{name}: _target_ {target} cannot be imported ({error}); "
            "is the package installed in this environment?"
        ) from error
    if not (isinstance(found, type) and issubclass(found, PerceptualCallback)):
        raise UserError(f"callbacks.{name}: _target_ {target} is not a subclass of PerceptualCallback")
    return found
