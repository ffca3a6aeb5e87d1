# SPDX-License-Identifier: Apache-2.0
"""From what was typed after ``train`` to a checked configuration: compose, resume, type, check.

A module of its own, so that those who only need the dataclasses do not pay for Hydra (0.3 s).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from clip_align.config import Config, read
from clip_align.errors import Missing, UserError
from clip_align.settings import callback_check
from clip_align.settings.compose import compose
from clip_align.settings.config_check import problems
from clip_align.settings.resume_config import resumed


def load(overrides: Sequence[str]) -> Config:
    """The checked configuration for what was typed after ``train``; one UserError with all errors, a line each.

    ``resume=<run>`` takes that run's configuration and changes only what may change in it; the result's
    ``resume`` is then the run's folder. ``resume=auto`` becomes that, or None for a fresh start.
    """
    config, missing = load_with_missing(overrides)
    if missing:
        raise UserError(*missing)
    return config


def load_with_missing(overrides: Sequence[str]) -> tuple[Config, list[str]]:
    """The same; with ``dry_run=true`` lines about what is not there come beside the configuration.

    Defaults stand in for it then. Mistakes are refused as ever, and whatever is missing with them.
    """
    errors: list[str] = []
    config = read(resumed(compose(overrides), overrides, errors), errors)
    if config is not None:
        wrong = {line.partition(":")[0].partition(".")[0] for line in errors}
        errors += [p for p in problems(config) if p.partition(":")[0].partition(".")[0] not in wrong]
        config = replace(config, callbacks=callback_check.checked(config.callbacks, errors))
    said = {line.partition(":")[0].partition("=")[0] for line in errors if ": not given" not in line}
    errors = [e for e in errors if e.partition(": not given")[0] not in said]  # typed, and complained about
    lines = list(dict.fromkeys(errors))
    if config is None or (lines and not (config.dry_run and all(isinstance(line, Missing) for line in lines))):
        raise UserError(*lines)
    return config, lines
