# SPDX-License-Identifier: Apache-2.0
"""Shards of made-up JPEG files with captions, as img2dataset writes them, to read in a benchmark."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

QUALITY = 90  # of the JPEG files
DIFFERENT = 48  # images; more samples repeat them under other keys: decoding knows no difference
GRID = 12  # px, side of the smooth part of an image before it is enlarged
GRAIN = 6.0  # standard deviation of the noise on top, in grey levels: files get the size of a photograph's
WORDS = (
    "a", "of", "the", "on", "with", "photo", "red", "small", "old", "dog", "house", "tree", "street", "table", "child",
    "bright", "standing", "near", "water", "green", "cat", "white", "bicycle", "window", "road", "under", "morning",
)  # fmt: skip
VOCABULARY = tuple(sorted(WORDS))  # for a tokenizer of words
FEWEST_WORDS, MOST_WORDS = 4, 14  # of a caption


def jpeg_files(count: int, side: int, seed: int) -> list[bytes]:
    """``count`` JPEG files of ``side`` x ``side`` px: smooth colours with grain, about as large as photographs."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (GRID, GRID, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float32)
        pixels = np.clip(smooth + rng.normal(0.0, GRAIN, smooth.shape), 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY)
        found.append(file.getvalue())
    return found


def captions(count: int, seed: int, words: int = MOST_WORDS) -> list[str]:
    """``count`` captions of `FEWEST_WORDS` to ``words`` words."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(FEWEST_WORDS, words + 1))) for _ in range(count)]


def write_shards(
    folder: Path, shards: int, samples: int, side: int, seed: int = 0, words: int = MOST_WORDS
) -> list[Path]:
    """Shards with equally many samples each, written each time.

    Args:
        folder: they are written into it.
        shards: number of tars.
        samples: in each of them.
        side: of the images, in px.
        seed: of images and captions.
        words: of the longest captions.
    """
    import webdataset

    folder.mkdir(parents=True, exist_ok=True)
    files, texts = jpeg_files(min(DIFFERENT, shards * samples), side, seed), captions(shards * samples, seed, words)
    paths: list[Path] = []
    for shard in range(shards):
        paths.append(folder / f"{shard:06d}.tar")
        with webdataset.TarWriter(str(paths[-1])) as tar:
            for number in range(shard * samples, (shard + 1) * samples):
                jpeg = files[number % len(files)]
                tar.write({"__key__": f"{number:08d}", "jpg": jpeg, "txt": texts[number].encode()})
    return paths
