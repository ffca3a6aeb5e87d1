# SPDX-License-Identifier: Apache-2.0
"""What of a run can be refused in the first second, all at once: its data, its folder and its cache.

Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from clip_align.config import Config
from clip_align.errors import Problem, UserError, related
from clip_align.runs.folder import user_cache
from clip_align.runs.place import unusable_run, unwritable


def seen(config: Config, found: Sequence[Problem], place: bool = True) -> list[Problem]:
    """What else can be seen to be wrong with a configuration, apart from what follows from ``found``.

    Args:
        config: defaults stand in it for what was refused.
        found: what is known to be wrong.
        place: look at the run's folder and the cache too; no run is made.
    """

    def read(*keys: str) -> bool:
        return not any(related(problem.key, key) for problem in found for key in keys)

    problems = [problem for problem in config.data.absent() if read(problem.key)]
    if place and read("name", "resume", "paths.runs"):
        problems += place_problems(config.name, config.resume, config.paths.runs)
    if place and read("paths.cache"):
        problems += cache_problems(config.paths.cache)
    return problems


def place_problems(name: str | None, resume: str | None, runs: str) -> Iterator[Problem]:
    """A run's folder that cannot be made, or be written where a run is resumed (``resume``: its folder)."""
    problem = unusable_run(Path(runs), name) if resume is None else unwritable(Path(resume), Path(runs))
    if problem is not None:
        yield problem


def cache_problems(cache: str | None) -> Iterator[Problem]:
    """A cache folder that was given and cannot be used."""
    if cache is not None:
        try:
            user_cache(cache)
        except UserError as error:
            yield from error.problems
