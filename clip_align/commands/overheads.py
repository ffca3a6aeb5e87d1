# SPDX-License-Identifier: Apache-2.0
"""What a run waits for beside its steps, tried out: data that are read, and checkpoints that are written."""

from __future__ import annotations

import io
import os
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from clip_align.config import CheckpointConfig, DataConfig
from clip_align.data.sources.base import source
from clip_align.data.training_data import TrainingData
from clip_align.data.world.shards import rendered
from clip_align.errors import UserError
from clip_align.models.build import ClipModel
from clip_align.training.checkpoint_writer import AT_ONCE
from clip_align.training.kept_steps import kept_steps
from clip_align.training.resume import RunStart

READ_S = 1.5  # of reading, after the first batch has opened what is opened once
BATCH = 16  # samples at a time
WRITTEN = 32 * 2**20  # bytes: what a disk takes at once does not predict the time of a large file


def sample_seconds(data: DataConfig, clip: ClipModel, seed: int, cache: Path) -> float | None:
    """Seconds that one process takes to read, decode and tokenize a sample of the first epoch.

    None where nothing can be read: the world is not rendered yet, the shards are not downloaded, or the data are not in
    order.

    Args:
        data: as configured; its shards' index is kept in the cache, nothing else is written.
        clip: gives the size of the images and the tokenizer; its weights are not used.
        seed: of the order of samples.
        cache: folder of indexes and rendered worlds.
    """
    world = source(data).world
    if (world is not None and rendered(world, cache) is None) or source(data).downloads:
        return None
    alone = replace(data, batch_size=min(BATCH, data.batch_size), workers=0)  # in this process: the time of one reader
    with suppress(UserError):  # what is wrong with the data has its own line
        training = TrainingData(alone, clip.image_size, clip.tokenizer, seed, 0, 1, cache)
        batches, most = iter(training.loader()), max(1, (training.batches_per_epoch or 1) - 1)
        next(batches)
        # the first batch is not counted: it opens the files
        began, count = time.perf_counter(), 0
        while count < most and time.perf_counter() - began < READ_S:
            next(batches)
            count += 1
        return (time.perf_counter() - began) / (count * alone.batch_size)
    return None


def waiting_seconds(step: float, samples: int, a_sample: float, processes: int) -> float:
    """Seconds that a step waits for its samples.

    Args:
        step: seconds of the step itself.
        samples: that it trains on, on one rank.
        a_sample: seconds of one process for one sample.
        processes: that read while the step runs; 0: the training process itself reads before it.
    """
    loading = samples * a_sample
    return loading if processes == 0 else max(0.0, loading / processes - step)


def saving_seconds(size: int, folder: Path, background: bool) -> float | None:
    """Seconds that training waits for a checkpoint; None where nothing can be written.

    Args:
        size: bytes of the file.
        folder: where runs go; what is written there has no name, and is gone afterwards.
        background: large files are copied in memory, and written while training continues.
    """
    tried = min(size, WRITTEN)
    # float32: 4 bytes each
    content = {"weights": torch.zeros(max(1, tried // 4))}
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.is_dir())
    began = time.perf_counter()
    # training waits for the copy in memory alone, as CheckpointWriter has it
    if background and size >= AT_ONCE:
        torch.save(content, io.BytesIO())
    else:
        try:
            with tempfile.TemporaryFile(dir=there) as file:
                torch.save(content, file)
                file.flush()
                os.fsync(file.fileno())  # as a checkpoint is written: else the time of the page cache
        except (OSError, RuntimeError):  # a folder that cannot be written has its own line
            return None
    return (time.perf_counter() - began) * size / max(1, tried)


def waiting(
    steps: int, step_seconds: float, step_samples: int, a_sample: float | None, workers: int, local_world: int
) -> tuple[float, str]:
    """Seconds that the run waits for data, and the words for them.

    Args:
        steps: optimizer steps to come.
        step_seconds: seconds of one of them.
        step_samples: samples of one of them on one rank.
        a_sample: seconds of one process for one sample; None where nothing can be read yet.
        workers: processes of one rank that read.
        local_world: ranks that have this machine's cores between them.
    """
    if a_sample is None:
        return 0.0, "waiting for data not counted (none can be read yet)"
    cores = max(1, (os.cpu_count() or 1) // local_world)  # more workers than cores read no faster
    seconds = steps * waiting_seconds(step_seconds, step_samples, a_sample, min(workers, cores))
    by = f"{workers} worker{'s' if workers > 1 else ''}" if workers else "no workers"
    return seconds, f"{duration(seconds)} waiting for data ({1000 * a_sample:.2g} ms a sample, {by})"


def saving(start: RunStart, settings: CheckpointConfig, runs: Path, size: int) -> tuple[float, str]:
    """Seconds that the run waits for its checkpoints, and the words for them.

    Args:
        start: the steps that are done, and those of the whole run.
        settings: when checkpoints are saved.
        runs: folder of the runs.
        size: bytes of one checkpoint.
    """
    every = settings.every_n_steps or start.max_steps
    # regular ones after this step, those kept for study, and the last step, which may be one of either
    study = kept_steps(settings.keep_per_octave, start.step + 1, start.max_steps)
    saves = len({*range(every * (start.step // every + 1), start.max_steps, every), *study, start.max_steps})
    each = saving_seconds(size, runs, settings.background)
    if each is None:
        return 0.0, "saving not counted (nothing can be written)"
    of = f"{saves} checkpoint{'s' if saves > 1 else ''}"
    best = " and each best one" if settings.best else ""
    return saves * each, f"{duration(saves * each)} saving {of}{best}"


def duration(seconds: float) -> str:
    """Seconds, minutes, hours or days, as a dry run prints them."""
    if seconds < 100:  # two digits, then the next unit
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.0f} h" if hours < 100 else f"{hours / 24:,.0f} days"
