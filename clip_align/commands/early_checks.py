# SPDX-License-Identifier: Apache-2.0
"""Checks of a run's data, folder and cache that take less than a second, reported together. Torch-free.

Files are looked for, not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from clip_align.config import Config
from clip_align.errors import Problem, UserError, related
from clip_align.runs.folder import user_cache
from clip_align.runs.initial import named_file, no_such_file, source_of
from clip_align.runs.place import unusable_run, unwritable


def seen(config: Config, found: Sequence[Problem], place: bool = True) -> list[Problem]:
    """Problems of files and folders, except those that follow from ``found``.

    Args:
        config: with defaults in place of invalid values.
        found: problems known so far.
        place: also check the run's folder and the cache, without creating a run.
    """

    def read(*keys: str) -> bool:
        return not any(related(problem.key, key) for problem in found for key in keys)

    # a key that is wrong has a default in its place: its file is not the user's
    problems = [problem for problem in config.data.absent() if read(problem.key)]
    problems += how_to_prepare(config.preparation, [*found, *problems])
    if place and read("name", "resume", "paths.runs"):
        problems += place_problems(config.name, config.resume, config.paths.runs)
    if config.resume is None and read("init_from", "model.pretrained", "paths.runs"):
        problems += initial_problems(config.init_from, config.model.pretrained, config.paths.runs)
    if place and read("paths.cache"):
        problems += cache_problems(config.paths.cache)
    return problems


def place_problems(name: str | None, resume: str | None, runs: str) -> Iterator[Problem]:
    """A problem if the run's folder cannot be created, or cannot be written when a run is resumed.

    Args:
        name: of the run; None: chosen from the time.
        resume: folder of the resumed run; None: a new run.
        runs: ``paths.runs``.
    """
    problem = unusable_run(Path(runs), name) if resume is None else unwritable(Path(resume), Path(runs))
    if problem is not None:
        yield problem


def how_to_prepare(preparation: str | None, problems: Sequence[Problem]) -> list[Problem]:
    """A line about how to get the data of an experiment, where they are missing.

    Args:
        preparation: of the configuration.
        problems: found so far.
    """
    places = ("data.shards", "data.csv", "data.root")
    if preparation is None or not any(problem.key in places for problem in problems):
        return []
    return [Problem("preparation", preparation, missing=True, shown="to get the data")]


def initial_problems(init_from: str | None, pretrained: str | None, runs: str) -> Iterator[Problem]:
    """Problems of weights to start from that are not there.

    Args:
        init_from: run or checkpoint; None: none.
        pretrained: ``model.pretrained``.
        runs: ``paths.runs``.
    """
    if init_from is not None:
        try:
            source_of(runs, init_from)
        except UserError as error:
            yield from error.problems
    file = named_file(pretrained) if pretrained is not None else None
    if file is not None and not file.is_file():
        yield Problem("model.pretrained", no_such_file(str(pretrained)))


def cache_problems(cache: str | None) -> Iterator[Problem]:
    """A problem if the configured cache folder cannot be used."""
    if cache is not None:
        try:
            user_cache(cache)
        except UserError as error:
            yield from error.problems
