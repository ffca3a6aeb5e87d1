# SPDX-License-Identifier: Apache-2.0
"""The inventory of the configured training data, without decoding an image."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache as once
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clip_align.config import Source
from clip_align.data.bad_samples import Causes, too_many
from clip_align.data.file_reader import open_file
from clip_align.data.indexed.indexing import ensure_indexed
from clip_align.data.key_hashes import key_hashes
from clip_align.data.progress import Notify
from clip_align.data.sample_rules import ALL_SAMPLES, SampleRules
from clip_align.data.samples import MIB, FolderSamples, Samples, TarSamples
from clip_align.data.selection import check_selection, left_out_by_where
from clip_align.data.shard_index import CacheError, ShardIndex, hashes_of_keys, shard_index
from clip_align.data.training_set import LINES
from clip_align.errors import Problem, UserError, visible


@dataclass(frozen=True, eq=False)
class Inventory:
    """The usable samples.

    sources: source of each block, numbers into ``rates`` (the fraction of a source that an epoch uses).
    bad: samples left out. notes: lines for the user. fingerprint: of names, sizes and numbers of samples of shards; of
    names, captions and sizes of images in a folder. key_hashes: of the keys of all samples found, a block at a time.
    filtered: samples left out on purpose.
    """

    samples: Samples
    sources: tuple[int, ...]
    rates: tuple[float, ...]
    bad: Causes
    notes: tuple[str, ...]
    fingerprint: str
    key_hashes: Callable[[], Iterable[NDArray[np.uint64]]]
    filtered: Causes = field(default_factory=Causes)

    @property
    def bad_fraction(self) -> float:
        """Fraction of the samples found that were left out."""
        return self.bad.total / max(1, self.bad.total + len(self.samples))


def enough(found: Inventory, max_bad_share: float) -> Inventory:
    """``found``; UserError if the fraction of bad samples is above ``max_bad_share``."""
    if found.bad_fraction > max_bad_share:
        raise UserError(Problem("data", too_many(found.bad_fraction, max_bad_share, found.bad)))
    return found


def in_folder(samples: FolderSamples, bad: Causes) -> Inventory:
    """Images in a folder and their captions."""
    about = _fingerprint(chain(samples.names, samples.texts, samples.sizes))
    hashes = once(lambda: [key_hashes(samples.key(number) for number in range(len(samples)))])
    return Inventory(samples, (0,), (1.0,), bad, _left_out(bad), about, hashes)


def tars(
    paths: Sequence[Sequence[str]],
    sources: Sequence[Source],
    cache: Path,
    progress: Notify,
    max_image_mb: int,
    notes: Sequence[str] = (),
    rules: SampleRules = ALL_SAMPLES,
) -> Inventory:
    """The inventory of the tars of several sources.

    Args:
        paths: of each source's tars.
        sources: with their weights.
        cache: folder for indexes.
        progress: receives progress.
        max_image_mb: size above which an image is a bad sample.
        notes: further lines for the user.
        rules: which samples are used, and where their captions are.

    UserError for shards that cannot be used, and where the rules leave no sample.
    """
    flat = [path for part in paths for path in part]
    indexes = _indexes(flat, cache, progress, rules)
    bad, filtered = Causes(), Causes()
    for index in indexes:
        bad.merge(index.bad)
        filtered.merge(index.filtered)
    left = sum(map(len, indexes))
    if rules.where is not None:
        check_selection(rules.where, [index.fields for index in indexes], left, filtered, f"{len(flat):,} shards")
    # the source with the largest weight is used whole; sources whose shards are all repeated do not count
    largest = max(source.weight for source, part in zip(sources, paths, strict=True) if part)
    return Inventory(
        TarSamples(flat, indexes, max_image_mb * MIB, rules),
        tuple(number for number, part in enumerate(paths) for _ in part),
        tuple(source.weight / largest if part else 1.0 for source, part in zip(sources, paths, strict=True)),
        bad,
        (
            *map(visible, notes),
            *_notes(flat, indexes),
            *_left_out(bad),
            *left_out_by_where(rules.where, left, filtered),
        ),
        _fingerprint(
            chain(
                (part for p, i in zip(flat, indexes, strict=True) for part in (os.path.basename(p), i.size, len(i))),
                [rules.of_samples] if rules.of_samples else [],
            )
        ),
        partial(_key_hashes, flat, indexes, cache, rules),
        filtered,
    )


def _key_hashes(
    paths: Sequence[str], indexes: Sequence[ShardIndex], cache: Path, rules: SampleRules
) -> Iterator[NDArray[np.uint64]]:
    for path, index in zip(paths, indexes, strict=True):
        yield hashes_of_keys(path, cache, index, rules)


def _indexes(paths: Sequence[str], cache: Path, progress: Notify, rules: SampleRules) -> list[ShardIndex]:
    ensure_indexed(paths, cache, progress, rules)
    indexes: list[ShardIndex] = []
    errors: list[Problem] = []
    for path in paths:
        try:
            indexes.append(_checked(path, cache, rules))
        except CacheError:  # the same for all shards: one line is enough
            raise
        except UserError as error:
            errors += error.problems
    if errors:
        more = [Problem("data.shards", f"… and {len(errors) - LINES:,} more like these")] if len(errors) > LINES else []
        raise UserError(*errors[:LINES], *more)
    return indexes


def _checked(path: str, cache: Path, rules: SampleRules) -> ShardIndex:
    try:
        index = shard_index(path, cache, rules)
    except OSError as error:
        raise UserError(
            Problem("data.shards", f"cannot read {path}: {error.strerror}; make it readable or leave it out")
        ) from error
    if not len(index) and not index.filtered.total:
        raise UserError(
            Problem(
                "data.shards",
                f"{path} has no sample that can be used ({index.bad or index.note}); a sample is an image "
                "(jpg, jpeg, png, webp) and a caption (txt, or 'caption' in json) under one key",
            )
        )
    return index


def _notes(paths: Sequence[str], indexes: Sequence[ShardIndex]) -> list[str]:
    cut = [
        f"data.shards: {path} {index.note}: its {len(index):,} whole samples are used"
        for path, index in zip(paths, indexes, strict=True)
        if index.note
    ]
    without = [
        f"data.shards: {path}: left out: {index.left_out}"
        for path, index in zip(paths, indexes, strict=True)
        if index.left_out
    ]
    counted = [line for path, index in zip(paths, indexes, strict=True) if (line := _miscounted(path, index))]
    return [*map(visible, (*_shortened(cut), *_shortened(without), *_shortened(counted)))]


def _left_out(bad: Causes) -> tuple[str, ...]:
    return (f"data: {bad.total:,} samples left out: {bad}",) if bad.total else ()


def _shortened(lines: list[str]) -> list[str]:
    return (
        lines if len(lines) <= LINES else [*lines[:LINES], f"data.shards: … and {len(lines) - LINES:,} more like these"]
    )


def _miscounted(path: str, index: ShardIndex) -> str | None:
    """img2dataset writes ``00000_stats.json`` beside ``00000.tar``; a line if its count differs, else None."""
    stats = path.removesuffix(".tar") + "_stats.json"
    try:
        with open_file(stats) as file:
            expected = json.loads(file.read())["successes"]  # img2dataset's name for samples written
    except FileNotFoundError:
        return None
    except (RecursionError, OSError, ValueError, KeyError, TypeError):
        return f"data.shards: {stats} cannot be read; the number of samples in {path} was not compared with it"
    if expected == index.found:
        return None
    return f"data.shards: {os.path.basename(stats)} counts {expected} samples, {path} holds {index.found:,}"


def _fingerprint(parts: Iterable[object]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{part}\n".encode("utf-8", "replace"))  # file names may hold bytes that are no text
    return digest.hexdigest()[:16]
