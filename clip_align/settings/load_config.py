# SPDX-License-Identifier: Apache-2.0
"""From what was typed after ``train`` to a checked configuration: compose, resume, type, check.

A module of its own, so that those who only need the dataclasses do not pay for Hydra (0.3 s).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from clip_align.config import Config, read
from clip_align.errors import Problem, UserError
from clip_align.settings import callback_check, kind_check
from clip_align.settings.compose import compose
from clip_align.settings.config_check import problems
from clip_align.settings.resume_config import resumed


def load(overrides: Sequence[str]) -> Config:
    """The checked configuration for what was typed after ``train``; one UserError with all errors, a line each.

    ``resume=<run>`` takes that run's configuration and changes only what may change in it; the result's
    ``resume`` is then the run's folder. ``resume=auto`` becomes that, or None for a fresh start.
    """
    config, found = load_with_problems(overrides)
    if found or config is None:
        raise UserError(*found)
    return config


def load_with_problems(overrides: Sequence[str]) -> tuple[Config | None, list[Problem]]:
    """The configuration, and everything that is wrong with it.

    Defaults stand in for what was refused, so that whoever asks can look at the rest; None where nothing can.
    """
    errors: list[Problem] = []
    config = read(resumed(compose(overrides), overrides, errors), errors)
    if config is not None:
        config = kind_check.checked(config, errors)
        config = replace(config, callbacks=callback_check.checked(config.callbacks, errors))
        errors += problems(config, [problem.key for problem in errors])
    wrong = {
        problem.key for problem in errors if not problem.missing
    }  # what was typed, and refused, is not missing too
    return config, list(dict.fromkeys(p for p in errors if not (p.missing and p.key in wrong)))
