# SPDX-License-Identifier: Apache-2.0
"""From a task (which samples) to a batch (uint8 images and token ids), in this process or in workers.

Everything random about a sample is a function of seed, epoch and sample number, so neither workers nor
ranks nor a resumed run change it. Decoded images and token ids are kept in memory up to a bound; each
process has its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypedDict

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from clip_align.data.augment import DRAWS, centre_square, random_box, resized
from clip_align.data.bad_samples import BadSample, BadSampleCounter
from clip_align.data.decode import decode
from clip_align.data.samples import Samples
from clip_align.data.sampling_plan import CROP, FLIP, Cursor, Task, Tasks, uniforms
from clip_align.data.workers import Workers, shared
from clip_align.errors import RunError

Tokenizer = Callable[[list[str]], torch.Tensor]
_OVERHEAD = 1200  # bytes that two small tensors cost beside their content
Skipped = list[tuple[str, str]]  # cause, key


class Batch(TypedDict):
    """One rank's batch. ``cursor`` is the position after it; ``skipped`` names bad samples met while making it."""

    image: torch.Tensor  # uint8 [B, 3, S, S]
    text: torch.Tensor  # int64 [B, L]
    cursor: Cursor
    keys: list[str]  # of the samples delivered
    skipped: Skipped


class _Pair(NamedTuple):
    image: torch.Tensor  # uint8 [3, H, W]; [3, S, S] when there are no random crops
    text: torch.Tensor  # int64 [L]


class Batches(Dataset[Batch]):
    """Batches by task. Picklable, so that spawned workers can have it.

    size: of the model's images in pixels. crop_scale: fraction of the area that a random crop keeps; (1, 1) means
    none, and the largest square in the middle instead. memory: bytes that decoded images and tokens may take.

    A bad sample is replaced by one of the epoch's remainder that belongs to this batch of this rank; where
    there is none, by the next good sample of the same batch.
    """

    def __init__(
        self,
        samples: Samples,
        tokenizer: Tokenizer,
        size: int,
        seed: int,
        flip: bool,
        crop_scale: tuple[float, float],
        memory: int,
    ) -> None:
        self.samples, self.tokenizer, self.size, self.seed = samples, tokenizer, size, seed
        self.flip, self.crop_scale = flip, crop_scale
        self.crops = tuple(crop_scale) != (1.0, 1.0)
        self._kept: dict[int, _Pair] = {}
        self._free = memory

    def __getitem__(self, task: Task) -> Batch:
        """The batch of a task; an empty one when not one of its samples is good (errors of workers lose their type)."""
        skipped: Skipped = []
        pairs = self._pairs(task.samples.tolist(), skipped)
        numbers = self._filled(task, pairs, skipped)
        if not numbers:
            nothing = torch.empty(0, 3, self.size, self.size, dtype=torch.uint8)
            text = torch.empty(0, 0, dtype=torch.int64)
            return {"image": nothing, "text": text, "cursor": task.after, "keys": [], "skipped": skipped}
        text = torch.stack([pairs[n].text for n in numbers])
        image = self._augmented(numbers, [pairs[n].image for n in numbers], task.epoch)
        shared(image, text)
        return {
            "image": image,
            "text": text,
            "cursor": task.after,
            "keys": [self.samples.key(n) for n in numbers],
            "skipped": skipped,
        }

    def _pairs(self, numbers: Sequence[int], skipped: Skipped) -> dict[int, _Pair]:
        """The good ones among ``numbers``."""
        pairs: dict[int, _Pair] = {}
        fresh: list[tuple[int, torch.Tensor, str]] = []
        for number in numbers:
            kept = self._kept.get(number)
            if kept is not None:
                pairs[number] = kept
                continue
            try:
                fresh.append((number, self._image(number), self.samples.caption(number)))
            except BadSample as error:
                skipped.append((error.cause, self.samples.key(number)))
        if fresh:
            tokens = self.tokenizer([caption for *_, caption in fresh])  # [len(fresh), L]
            for (number, image, _), text in zip(fresh, tokens, strict=True):
                pairs[number] = self._keep(number, _Pair(image, text.clone()))
        return pairs

    def _image(self, number: int) -> torch.Tensor:
        image = decode(self.samples.image(number))
        return image if self.crops else centre_square(image, self.size).contiguous()

    def _keep(self, number: int, pair: _Pair) -> _Pair:
        cost = pair.image.nelement() + 8 * pair.text.nelement() + _OVERHEAD
        if cost <= self._free:
            self._free -= cost
            self._kept[number] = pair
        return pair

    def _filled(self, task: Task, pairs: dict[int, _Pair], skipped: Skipped) -> list[int]:
        """The batch's numbers with replacements for the bad ones, empty when there is none.

        What comes from the spares is added to ``pairs``.
        """
        numbers: list[int] = task.samples.tolist()
        if len(pairs) == len(numbers):
            return numbers
        spares = iter(task.spares.tolist())
        filled: list[int] = []
        for place, number in enumerate(numbers):
            while number not in pairs:
                spare = next(spares, None)
                if spare is None:
                    break
                pairs.update(self._pairs([spare], skipped))
                number = spare
            if number not in pairs:
                number = next((n for n in (*numbers[place + 1 :], *filled) if n in pairs), -1)
            if number < 0:
                return []
            filled.append(number)
        return filled

    def _augmented(self, numbers: list[int], images: list[torch.Tensor], epoch: int) -> torch.Tensor:
        ids = np.array(numbers, np.int64)
        if self.crops:
            draws = uniforms(ids, DRAWS, self.seed, CROP, epoch)
            boxes = [random_box(i.shape[1], i.shape[2], self.crop_scale, d) for i, d in zip(images, draws, strict=True)]
            images = [resized(i, box, self.size) for i, box in zip(images, boxes, strict=True)]
        batch = torch.stack(images)  # [B, 3, S, S]
        if self.flip:
            mirrored = torch.from_numpy(uniforms(ids, 1, self.seed, FLIP, epoch)[:, 0] < 0.5)
            batch[mirrored] = batch[mirrored].flip(-1)
        return batch


class Loader(DataLoader[Batch]):
    """Batches of one rank from a position on, without an end and so without a length.

    Iterating again begins at that position again. Counts bad samples as they pass; RunError when their share
    gets too large. Draws nothing from torch's global generator.
    """

    def __init__(
        self,
        batches: Batches,
        tasks: Tasks,
        tally: BadSampleCounter,
        workers: int = 0,
        pin_memory: bool = False,
        start_method: str | None = None,
    ) -> None:
        self.workers = Workers()
        super().__init__(
            batches,
            batch_size=None,  # a task is a whole batch
            sampler=tasks,
            num_workers=workers,
            collate_fn=_unchanged,  # type: ignore[arg-type]  # with batch_size=None it is given the batch itself
            pin_memory=pin_memory,
            worker_init_fn=self.workers.begin,
            multiprocessing_context=start_method if workers else None,
            generator=torch.Generator(),  # workers' base seed would else come from the global one
        )
        self.tally = tally

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # torch's own type is private
        with self.workers.starting():
            batches = super().__iter__()
        try:
            for batch in batches:
                self.tally.count(len(batch["keys"]), batch["skipped"])
                if not batch["keys"]:
                    cause, key = batch["skipped"][0]
                    raise RunError(
                        f"data: not one good sample in a whole batch (first: {cause}, {key}); repair the shards"
                    )
                yield batch
        finally:
            self.workers.release()


def _unchanged(batch: Batch) -> Batch:
    return batch
