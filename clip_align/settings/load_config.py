# SPDX-License-Identifier: Apache-2.0
"""From the arguments of ``train`` to a checked configuration: compose, resume, type, check.

A separate module, so that importing the dataclasses does not import Hydra (0.3 s).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from clip_align.config import HELD_OUT, Config
from clip_align.config_plain import read
from clip_align.errors import Problem, UserError
from clip_align.kinds import INTERVENTIONS, LOSSES
from clip_align.settings import callback_check, kind_check
from clip_align.settings.compose import compose
from clip_align.settings.config_check import problems
from clip_align.settings.resume_config import resumed


def load(overrides: Sequence[str]) -> Config:
    """The checked configuration for the arguments of ``train``; one UserError with all problems.

    ``resume=<run>`` takes that run's configuration and changes only the keys that may change; the result's
    ``resume`` is then the run's folder. ``resume=auto`` becomes that, or None for a fresh start.
    """
    config, found = load_with_problems(overrides)
    if found or config is None:
        raise UserError(*found)
    return config


def load_with_problems(overrides: Sequence[str]) -> tuple[Config | None, list[Problem]]:
    """The configuration and all its problems.

    Invalid values are replaced by defaults, so that the rest can be checked; None if that is impossible.
    """
    errors: list[Problem] = []
    config = read(resumed(compose(overrides), overrides, errors), errors)
    if config is not None:
        config = replace(
            config,
            loss=kind_check.checked(config.loss, LOSSES, errors),
            intervention=kind_check.checked(config.intervention, INTERVENTIONS, errors),
            tracker=kind_check.checked_trackers(config.tracker, errors),
            callbacks=callback_check.checked(config.callbacks, errors),
        )
        config = _with_held_out(config)
        errors += problems(config, [problem.key for problem in errors])
    # a key that was typed with an invalid value is not reported as missing too
    wrong = {problem.key for problem in errors if not problem.missing}
    return config, list(dict.fromkeys(p for p in errors if not (p.missing and p.key in wrong)))


def _with_held_out(config: Config) -> Config:
    """The configuration with no samples held out where no number is given and no callback needs them."""
    needed = any(callback_check.takes(callback.target, HELD_OUT) for callback in config.callbacks.values())
    if config.data.held_out is not None or needed:
        return config
    return replace(config, data=replace(config.data, held_out=0))
