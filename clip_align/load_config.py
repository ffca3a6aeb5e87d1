# SPDX-License-Identifier: Apache-2.0
"""From what was typed after ``train`` to a checked configuration: compose, resume, type, check.

A module of its own, so that those who only need the dataclasses do not pay for Hydra (0.3 s).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from clip_align import callback_check
from clip_align.compose import compose
from clip_align.config import Config, read
from clip_align.config_check import problems
from clip_align.errors import UserError
from clip_align.resume_config import resumed


def load(overrides: Sequence[str]) -> Config:
    """The checked configuration for what was typed after ``train``; one UserError with all errors, a line each.

    ``resume=<run>`` takes that run's configuration and changes only what may change in it; the result's
    ``resume`` is then the run's folder. ``resume=auto`` becomes that, or None for a fresh start.
    """
    errors: list[str] = []
    config = read(resumed(compose(overrides), overrides, errors), errors)
    if config is not None:
        wrong = {line.partition(":")[0].partition(".")[0] for line in errors}
        errors += [p for p in problems(config) if p.partition(":")[0].partition(".")[0] not in wrong]
        config = replace(config, callbacks=callback_check.checked(config.callbacks, errors))
    if errors or config is None:
        said = {line.partition(":")[0].partition("=")[0] for line in errors if ": not given" not in line}
        errors = [e for e in errors if e.partition(": not given")[0] not in said]  # typed, and complained about
        raise UserError(*dict.fromkeys(errors))
    return config
