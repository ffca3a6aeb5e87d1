# SPDX-License-Identifier: Apache-2.0
"""How often a run is evaluated and saved where its configuration leaves that open (null).

By the run's length in steps. The model need not be looked at: the seconds of a step, of an evaluation and of a save
all grow with its size, so that the fraction of the time that events and saves take hardly depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from clip_align.config import CallbackConfig, Config

EVALUATIONS = 21  # regular ones in a run: so many find a late fall of .03 at little jitter (docs/error_rates.md)
SPACING = 60  # steps: evaluated more often, a default run would spend over 40 % of its time on that
SAVES = 5  # in a run of medium length
SAVED_AFTER = (50, 2000)  # steps that a crash may cost: at least, at most


def evaluation_every(max_steps: int) -> int:
    """Optimizer steps between regular evaluations of a run of ``max_steps``: a number of one digit and zeros.

    >>> [evaluation_every(steps) for steps in (200, 1300, 2600, 76_000)]
    [60, 60, 100, 3000]
    """
    return max(SPACING, _rounded_down(max_steps // EVALUATIONS, digits=1))


def checkpoint_every(max_steps: int) -> int:
    """Optimizer steps between checkpoints of a run of ``max_steps``: a fifth of it, within bounds.

    >>> [checkpoint_every(steps) for steps in (200, 1300, 2600, 76_000)]
    [50, 260, 520, 2000]
    """
    low, high = SAVED_AFTER
    return max(low, min(high, _rounded_down(max_steps // SAVES, digits=2)))


def with_default_intervals(config: Config, max_steps: int) -> Config:
    """The configuration with numbers where it has null; a resumed run keeps them, whatever its new length."""
    every = config.evaluation.every_n_steps or evaluation_every(max_steps)
    saves = config.checkpoint.every_n_steps or checkpoint_every(max_steps)
    return replace(
        config,
        evaluation=replace(config.evaluation, every_n_steps=every),
        checkpoint=replace(config.checkpoint, every_n_steps=saves),
        callbacks=_callbacks(config.callbacks, every),
    )


def _callbacks(callbacks: Mapping[str, CallbackConfig], every: int) -> dict[str, CallbackConfig]:
    """A callback whose own interval is null takes the run's."""
    return {
        name: replace(callback, arguments={**callback.arguments, "every_n_steps": every})
        # null was typed; without the key the class's own default holds
        if callback.arguments.get("every_n_steps", every) is None
        else callback
        for name, callback in callbacks.items()
    }


def _rounded_down(number: int, digits: int) -> int:
    """With zeros behind its first ``digits`` digits."""
    unit: int = 10 ** max(0, len(str(number)) - digits)
    return number // unit * unit
