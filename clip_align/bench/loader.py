# SPDX-License-Identifier: Apache-2.0
"""``bench loader``: images/s that one core reads, decodes and crops, in turn with open_clip_train's pipeline.

With ``jpeg_draft`` a further side is our loader with ``data.jpeg_draft``.
"""

from __future__ import annotations

import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as vision

from clip_align.bench import open_clip_side
from clip_align.bench.made_up_shards import VOCABULARY, jpeg_files, write_shards
from clip_align.bench.options import Loader
from clip_align.bench.pairs import OURS, Case, in_turn, missed_bounds
from clip_align.bench.result import Result
from clip_align.data.augment import ASPECT, resized
from clip_align.data.decode import decode
from clip_align.data.training_data import TrainingData
from clip_align.models.words import WordTokenizer

SHARDS = 4
DRAFT = "clip_align with data.jpeg_draft"
COMPARED = 16  # images
MOST_LEVELS = 1.0  # of 255: mean difference between the two sides' crops
MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)  # near CLIP's own; its pipeline normalizes in the loader
WARM_UP = 2  # batches before the clock starts; its pipeline fills a buffer of samples before the first one


def measure(options: Loader, notify: Callable[[str], None]) -> Result:
    """Measure shards of every side; a ratio below ``require`` and crops that differ are missed.

    Args:
        options: see there.
        notify: takes lines of progress.
    """
    torch.set_num_threads(options.threads or 1)  # per core: images, not threads, are what cores share
    cases = [_of_side(side, options, notify) for side in options.side]
    missed = missed_bounds(cases, open_clip_side.NAME, options.require)
    levels = crop_difference(options.side[0], options.size, options.seed)
    if levels > MOST_LEVELS:
        missed.append(f"crops differ by {levels:.2f} grey levels on average, more than {MOST_LEVELS:g}")
    difference = {"name": "crops", "unit": "grey levels", "mean_difference": levels}
    lines = [line for case in cases for line in case.lines()]
    lines.append(f"crops of the same boxes differ by {levels:.2f} of 255 grey levels on average")
    return Result([*(case.plain() for case in cases), difference], lines, missed)


def _of_side(side: int, options: Loader, notify: Callable[[str], None]) -> Case:
    batch, size, seed = options.batch, options.size, options.seed
    title = f"{side} px JPEG to {size} px, batch {batch}"
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        samples = max(2, (options.batches + WARM_UP) * batch // SHARDS)
        paths = write_shards(place / "shards", SHARDS, samples, side, seed)
        tokenizer = WordTokenizer(VOCABULARY, 14)  # a microsecond: tokens are not the subject
        data = open_clip_side.our_data(place / "shards", batch, 0)
        training = {
            draft: TrainingData(replace(data, jpeg_draft=draft), size, tokenizer, seed, 0, 1, place / "cache")
            for draft in ((False, True) if options.jpeg_draft else (False,))
        }
        transform = open_clip_side.preprocessing(size, MEAN, STD)

        def theirs() -> Iterator[Any]:
            needed = options.batches + WARM_UP
            return iter(open_clip_side.loader(paths, transform, tokenizer, batch, needed, 0, seed))

        sides = {
            OURS: lambda: _rate(iter(training[False].loader()), options.batches, batch),
            open_clip_side.NAME: lambda: _rate(theirs(), options.batches, batch),
        }
        if options.jpeg_draft:
            sides[DRAFT] = lambda: _rate(iter(training[True].loader()), options.batches, batch)
        rates = in_turn(title, sides, options.pairs, notify)
    facts = {"side": side, "size": size, "batch": batch, "batches": options.batches}
    return Case(title, "images/s on one core", rates, facts)


def _rate(batches: Iterator[Any], count: int, batch: int) -> float:
    """Images/s over ``count`` batches, after those that warm up."""
    for _ in islice(batches, WARM_UP):
        pass
    began = time.perf_counter()
    for _ in islice(batches, count):
        pass
    return count * batch / (time.perf_counter() - began)


def crop_difference(side: int, size: int, seed: int) -> float:
    """Mean absolute difference in grey levels between our crops and its ones, of the same boxes of the same files.

    Args:
        side: of the files, in px.
        size: of the crops, in px.
        seed: of files and boxes.
    """
    torch.manual_seed(seed)
    differences = []
    for data in jpeg_files(COMPARED, side, seed):
        image = Image.open(io.BytesIO(data)).convert("RGB")
        top, left, height, width = RandomResizedCrop.get_params(image, list(open_clip_side.SCALE), list(ASPECT))
        cropped = vision.resized_crop(image, top, left, height, width, [size, size], InterpolationMode.BICUBIC)
        theirs = torch.from_numpy(np.array(cropped)).permute(2, 0, 1)  # uint8 [3, size, size]
        ours = resized(decode(data), (top, left, height, width), size)
        differences.append((ours.int() - theirs.int()).abs().float().mean().item())
    return statistics.fmean(differences)
