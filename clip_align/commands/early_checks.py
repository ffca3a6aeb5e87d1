# SPDX-License-Identifier: Apache-2.0
"""What of a run can be refused in the first second: its data, its folder and its cache, looked for without torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clip_align.config import Config, FolderData, ShardData
from clip_align.data.shard_patterns import shard_paths
from clip_align.errors import UserError
from clip_align.runs.folder import user_cache
from clip_align.runs.place import unusable_run, unwritable


def data_problems(config: Config) -> Iterator[str]:
    """A line for shards, or a csv, that are not there."""
    if isinstance(config.data, ShardData):
        try:
            shard_paths(config.data.shards)
        except UserError as error:
            yield from error.lines
    elif isinstance(config.data, FolderData) and not Path(config.data.csv).expanduser().is_file():
        yield f"data.csv: no such file: {config.data.csv}; name a csv with data.csv=…"


def place_problem(config: Config) -> str | None:
    """The line for a run whose folder cannot be made, or be written where it continues."""
    runs = Path(config.paths.runs)
    return unusable_run(runs, config.name) if config.resume is None else unwritable(Path(config.resume), runs)


def cache_problems(config: Config) -> Iterator[str]:
    """A line for a cache folder that was given and cannot be used."""
    if config.paths.cache is not None:
        try:
            user_cache(config.paths.cache)
        except UserError as error:
            yield from error.lines
