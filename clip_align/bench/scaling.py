# SPDX-License-Identifier: Apache-2.0
"""``bench scaling``: steps against batch and ranks, a start against shards, an evaluation against images."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from clip_align.bench.made_up_shards import VOCABULARY, jpeg_files, write_shards
from clip_align.bench.memory import in_own_process, peak_bytes
from clip_align.bench.options import SHARED_BATCH, Scaling
from clip_align.bench.pairs import OURS
from clip_align.bench.result import Result
from clip_align.bench.runs import trained
from clip_align.bench.throughput import block_seconds, in_memory, prepared, training_sides
from clip_align.config import Source
from clip_align.data.training_data import TrainingData
from clip_align.data.worker_count import usable_cores
from clip_align.kinds import SOURCES
from clip_align.models.words import WordTokenizer
from clip_align.runs.folder import user_cache

MIB = 2**20
A_SHARD, SIDE = 200, 64  # samples of a shard; px
CLASSES = 2  # of the images of an evaluation
Row = Mapping[str, float]  # a column's value by its name, unit included


def measure(options: Scaling, notify: Callable[[str], None]) -> Result:
    """Measure every point of what was asked for, for the first model.

    Args:
        options: see there.
        notify: takes lines of progress.
    """
    torch.set_num_threads(options.threads or usable_cores())
    of: Mapping[str, Callable[[int], Row]] = {
        "batch": lambda batch: _batch(options.model[0], batch, options.steps, options.seed),
        "ranks": lambda ranks: _ranks(options.model[0], ranks, options.steps),
        "shards": lambda shards: in_own_process(_shards, shards, options.seed),
        "images": lambda images: _images(options.model[0], images, options.seed),
    }
    cases, lines = [], []
    for name in options.of:
        points: Sequence[int] = getattr(options, name)
        rows = []
        for point in points:
            rows.append(of[name](point))
            lines.append(_line(name, point, rows[-1]))
            notify(lines[-1])
        columns = {column: [row[column] for row in rows] for column in rows[0]}
        cases.append({"name": name, name: list(points), **columns})
    return Result(cases, lines)


def _line(name: str, point: int, row: Row) -> str:
    return f"{name} {point:,}: " + ", ".join(f"{what.replace('_', ' ')} {value:,.4g}" for what, value in row.items())


def _batch(model: str, batch: int, steps: int, seed: int) -> Row:
    """Samples/s of our loop, and seconds of a step."""
    config, clip = prepared(model, batch, seed)
    with tempfile.TemporaryDirectory() as place:
        run = training_sides(config, clip, False, False, Path(place))[OURS]
        seconds = block_seconds(run, in_memory(config, clip)[OURS], steps) / steps
    return {"samples_per_second": batch / seconds, "step_seconds": seconds}


def _ranks(model: str, ranks: int, steps: int) -> Row:
    """Samples/s of a run on so many ranks, which share the cores and the global batch."""
    several = ["trainer=ddp", f"trainer.devices={ranks}"] if ranks > 1 else []
    arguments = [
        f"model={model}", "callbacks=[]", f"data.batch_size={SHARED_BATCH // ranks}", "data.images=2000",
        f"trainer.max_steps={4 * steps}", f"trainer.log_every_n_steps={steps}", *several,
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        record = trained(arguments, Path(place), user_cache(None)[0])
    rates = [float(line["time/samples_per_second"] or 0.0) for line in record.train]
    return {"samples_per_second": statistics.median(rates[1:])}  # the first line has what is loaded once


def _shards(shards: int, seed: int) -> Row:
    """Seconds until the first batch, with an index to make and with one that is there, and memory for both."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_shards(place / "shards", shards, A_SHARD, SIDE, seed)
        times: list[float] = []

        def begin() -> None:
            data: Any = SOURCES.build("webdataset", {"shards": (Source(str(place / "shards")),)})
            tokenizer = WordTokenizer(VOCABULARY, 14)
            began = time.perf_counter()
            training = TrainingData(data, SIDE, tokenizer, seed, 0, 1, place / "cache")
            next(iter(training.loader()))
            times.append(time.perf_counter() - began)

        def both() -> None:
            begin()
            begin()

        peak = peak_bytes(both)
    return {"first_start_seconds": times[0], "later_start_seconds": times[1], "peak_mib": peak / MIB}


def _images(model: str, images: int, seed: int) -> Row:
    """Seconds of an evaluation of so many labelled images: that of step 0 and the one after the only step."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for number, jpeg in enumerate(jpeg_files(images, SIDE, seed)):
            file = place / "images" / f"class {number % CLASSES}" / f"{number}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(jpeg)
        arguments = [
            f"model={model}", "callbacks=folder", f"callbacks.folder.root={place}/images", "trainer.max_steps=2",
            "callbacks.folder.templates=plain", "data.images=256", "data.batch_size=32", "optimizer.warmup_steps=1",
        ]  # fmt: skip
        record = trained(arguments, place, place / "cache")
    seconds = statistics.median(line["time/evaluation_seconds"] or 0.0 for line in record.evaluations)
    return {"evaluation_seconds": seconds, "images_per_second": images / seconds}
