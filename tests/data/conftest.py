# SPDX-License-Identifier: Apache-2.0
"""Miniature shards, so that tests of the data pipeline run without any real data."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Members = Iterable[tuple[str, bytes]]


class Shards:
    """Writes tars of small images into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def image(self, seed: int = 0, size: tuple[int, int] = (12, 12), form: str = "PNG", mode: str = "RGB") -> bytes:
        """An image file of noise."""
        pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(file, form)
        return file.getvalue()

    def sample(self, number: int, prefix: str = "k", **image: object) -> list[tuple[str, bytes]]:
        """Members of one good sample: an image, its caption, and a json without caption."""
        key = f"{prefix}{number:05d}"
        facts = json.dumps({"key": key}).encode()
        caption = f"image number {number}".encode()
        return [(f"{key}.png", self.image(number, **image)), (f"{key}.json", facts), (f"{key}.txt", caption)]  # type: ignore[arg-type]

    def members(self, count: int, prefix: str = "k") -> list[tuple[str, bytes]]:
        """Members of ``count`` good samples."""
        return [member for number in range(count) for member in self.sample(number, prefix)]

    def tar(self, name: str, members: Members, form: int = tarfile.USTAR_FORMAT) -> Path:
        """A tar of the members."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, "w", format=form) as tar:
            for member, data in members:
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return path

    def good(self, *counts: int) -> list[Path]:
        """Tars 0.tar, 1.tar, … with that many good samples; keys begin with the tar's number."""
        return [self.tar(f"{n}.tar", self.members(count, f"{n}-")) for n, count in enumerate(counts)]


@pytest.fixture
def shards(tmp_path: Path) -> Shards:
    """A writer of tars into a temporary folder of its own."""
    folder = tmp_path / "shards"
    folder.mkdir()
    return Shards(folder)


@pytest.fixture
def make(tmp_path: Path, tokenizer: Any) -> Callable[..., Any]:
    """``make(*patterns, rank=…, ranks=…, seed=…, **keys of the configuration)``."""

    from clip_align.config import Source
    from clip_align.data.sources.webdataset import ShardData
    from clip_align.data.training_data import TrainingData

    def build(
        *patterns: Any, rank: int = 0, ranks: int = 1, seed: int = 0, accumulate: int = 1, grad: int = 1, **keys: Any
    ) -> Any:
        sources = tuple(p if isinstance(p, Source) else Source(str(p)) for p in patterns)
        data = ShardData(**{"shards": sources, "batch_size": 4, "flip": False, **keys})
        cache = tmp_path / "cache"
        return TrainingData(data, 8, tokenizer, seed, rank, ranks, cache, accumulate, grad_batches=grad)

    return build


@pytest.fixture
def stream(tmp_path: Path, tokenizer: Any) -> Callable[..., Any]:
    """``stream(*patterns, rank=…, ranks=…, lines=…, cache=…, accumulate=…, grad=…, **keys of the configuration)``."""

    from clip_align.config import Source
    from clip_align.data.sources.streaming import StreamingData
    from clip_align.data.training_data import TrainingData

    def build(
        *patterns: object,
        rank: int = 0,
        ranks: int = 1,
        lines: Any = None,
        cache: str = "cache",
        accumulate: int = 1,
        grad: int = 1,
        **keys: Any,
    ) -> Any:
        sources = tuple(p if isinstance(p, Source) else Source(str(p)) for p in patterns)
        facts = {"batch_size": 4, "flip": False, "window_shards": 2, "timeout_s": 30.0, "retries": 1, **keys}

        def notify(line: object) -> None:
            """Without progress, which is shown where a shard is waited for long, as on a busy machine."""
            if lines is not None and isinstance(line, str):
                lines.append(line)

        data, place = StreamingData(shards=sources, **facts), tmp_path / cache
        return TrainingData(data, 8, tokenizer, 0, rank, ranks, place, accumulate, notify, grad)

    return build


@pytest.fixture
def tokenizer() -> Callable[[list[str]], object]:
    """Texts to int64 [N, 3]: number of characters, of words, and the last number in it."""
    return tokens


def tokens(texts: list[str]) -> object:
    import torch

    return torch.tensor(
        [[len(t), len(t.split()), int(t.split()[-1]) if t.split()[-1].isdigit() else -1] for t in texts]
    )
