# SPDX-License-Identifier: Apache-2.0
"""From a task (which samples) to a batch (uint8 images and token ids), in this process or in workers.

All randomness of a sample is a function of seed, epoch and sample number, so that it depends neither on workers nor on
ranks nor on resuming. Decoded images and token ids are cached in memory up to a limit, per process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple, Protocol, TypedDict, runtime_checkable

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from clip_align.data.augment import DRAWS, centre_square, random_box, resized
from clip_align.data.bad_samples import OTHER_ERROR, TOKENIZER_ERROR, BadSample, BadSampleCounter
from clip_align.data.captions import Captions
from clip_align.data.decode import MEGA, decode
from clip_align.data.samples import SampleReader
from clip_align.data.sampling_plan import CAPTION, CROP, FLIP, Task, uniforms
from clip_align.data.workers import Workers, shared
from clip_align.errors import Problem, RunError

Tokenizer = Callable[[list[str]], torch.Tensor]
_OVERHEAD = 1200  # bytes of two small tensors beside their content
Skipped = list[tuple[str, str]]  # cause, key


class Batch(TypedDict):
    """One rank's batch.

    cursor: position after the batch. skipped: cause and key of bad samples met while it was made. due: number of these
    that belong to the batch. stand_ins: number of samples from other batches that replaced bad ones. copies: number of
    samples that are in the batch twice because there was no other replacement; repeated: their rows.
    """

    image: torch.Tensor  # uint8 [B, 3, S, S]
    text: torch.Tensor  # int64 [B, L]
    cursor: tuple[int, ...]
    keys: list[str]  # of the samples delivered
    skipped: Skipped
    due: int
    stand_ins: int
    copies: int
    repeated: list[int]


class _Pair(NamedTuple):
    image: torch.Tensor  # uint8 [3, H, W]; [3, S, S] when there are no random crops
    captions: Captions
    text: torch.Tensor  # int64 [L], of the caption that was drawn


class _Filled(NamedTuple):
    numbers: list[int]  # of the samples of a batch; empty if none is usable
    stand_ins: int
    copies: list[int]  # places in the batch


class Batches(Dataset[Batch]):
    """Makes the batch of a `Task`. Picklable, for spawned workers.

    A bad sample is replaced by one of the epoch's remainder that is reserved for this batch and rank, then by one of
    another batch; if none is usable (an epoch of one batch), by a copy of the next good sample of the same batch, which
    the loss leaves out. Any exception makes a sample a bad one.

    Args:
        samples: the samples that tasks refer to by number.
        tokenizer: texts to int64 [N, L].
        size: side of the model's input in px.
        seed: of crops, flips, and the choice among several captions.
        flip: mirror half of the images.
        crop_scale: smallest and largest fraction of the area that a random crop keeps; (1, 1): no random crop, but the
            largest centred square.
        memory: most bytes of cached images and tokens.
        max_pixels: most pixels of an image.
        max_chars: characters after which captions are cut, since tokenizers may take quadratic time.
        jpeg_draft: decode JPEG at 1/2, 1/4 or 1/8 of their size where a crop of the smallest area still has ``size`` px
            along both sides of the image.
    """

    def __init__(
        self,
        samples: SampleReader,
        tokenizer: Tokenizer,
        size: int,
        seed: int,
        flip: bool,
        crop_scale: tuple[float, float],
        memory: int,
        max_pixels: int = 64 * MEGA,
        max_chars: int = 2000,
        jpeg_draft: bool = False,
    ) -> None:
        self.samples, self.tokenizer, self.size, self.seed = samples, tokenizer, size, seed
        self.flip, self.crop_scale, self.max_pixels, self.max_chars = flip, crop_scale, max_pixels, max_chars
        self.crops = tuple(crop_scale) != (1.0, 1.0)
        # the same for all crops of an image: what is kept of it in memory is what is decoded again
        self.least_side = math.ceil(size / math.sqrt(crop_scale[0])) if jpeg_draft else None
        self._kept: dict[int, _Pair] = {}
        self._free = memory

    def __getitem__(self, task: Task) -> Batch:
        """The batch of a task; empty if none of its samples is usable, which `Loader` reports as an error.

        It is not raised here because exceptions lose their type between worker and training process.
        """
        skipped: Skipped = []
        pairs = self._pairs(task.samples.tolist(), task.epoch, skipped)
        due = len(skipped)
        numbers, stand_ins, copies = self._filled(task, pairs, skipped)
        image = torch.empty(0, 3, self.size, self.size, dtype=torch.uint8)
        text = torch.empty(0, 0, dtype=torch.int64)
        if numbers:
            image = self._flipped(numbers, torch.stack([pairs[n].image for n in numbers]), task.epoch)
            text = torch.stack([pairs[n].text for n in numbers])
            shared(image, text)
        return {
            "image": image,
            "text": text,
            "cursor": task.after,
            "keys": [self.samples.key(n) for n in numbers],
            "skipped": skipped,
            "due": due,
            "stand_ins": stand_ins,
            "copies": len(copies),
            "repeated": copies,
        }

    def _pairs(self, numbers: Sequence[int], epoch: int, skipped: Skipped) -> dict[int, _Pair]:
        """The usable samples among ``numbers``, images as this epoch crops them: [3, S, S]."""
        pairs = self._whole_pairs(numbers, epoch, skipped)
        if not self.crops or not pairs:
            return pairs
        cropped: dict[int, _Pair] = {}
        draws = uniforms(np.array(list(pairs), np.int64), DRAWS, self.seed, CROP, epoch)
        for (number, pair), draw in zip(pairs.items(), draws, strict=True):
            try:
                box = random_box(pair.image.shape[1], pair.image.shape[2], self.crop_scale, draw)
                cropped[number] = pair._replace(image=resized(pair.image, box, self.size))
            except Exception as error:  # a bad sample like one that cannot be decoded
                skipped.append((f"{OTHER_ERROR} ({type(error).__name__})", self.samples.key(number)))
        return cropped

    def _whole_pairs(self, numbers: Sequence[int], epoch: int, skipped: Skipped) -> dict[int, _Pair]:
        """The usable samples among ``numbers``, images as they are kept; the others are appended to ``skipped``."""
        pairs: dict[int, _Pair] = {}
        fresh: list[tuple[int, torch.Tensor, Captions]] = []
        for number in numbers:
            kept = self._kept.get(number)
            if kept is not None and len(kept.captions) == 1:
                pairs[number] = kept
                continue
            try:
                fresh.append((number, *(kept[:2] if kept else (self._image(number), self.samples.captions(number)))))
            except BadSample as error:
                skipped.append((error.cause, self.samples.key(number)))
            except Exception as error:  # one sample must not end the run
                skipped.append((f"{OTHER_ERROR} ({type(error).__name__})", self.samples.key(number)))
        texts = self._tokenized([self._drawn(number, captions, epoch) for number, _, captions in fresh])
        for (number, image, captions), text in zip(fresh, texts, strict=True):
            if isinstance(text, str):
                skipped.append((text, self.samples.key(number)))
            else:
                pairs[number] = self._keep(number, _Pair(image, captions, text.clone()))
        return pairs

    def _image(self, number: int) -> torch.Tensor:
        image = decode(self.samples.image(number), self.max_pixels, self.least_side)
        return image if self.crops else centre_square(image, self.size).contiguous()

    def _drawn(self, number: int, captions: Captions, epoch: int) -> str:
        """One of a sample's captions, chosen by seed, epoch and sample number, cut at ``max_chars``."""
        chosen = captions[0]
        if len(captions) > 1:
            draw = uniforms(np.array([number], np.int64), 1, self.seed, CAPTION, epoch)
            chosen = captions.chosen(float(draw[0, 0]))
        return chosen[: self.max_chars]

    def _tokenized(self, captions: list[str]) -> Sequence[torch.Tensor | str]:
        """Token ids [L] of each caption, or the cause if it cannot be tokenized."""
        if not captions:
            return []
        try:
            return list(self.tokenizer(captions))  # [len(captions), L]
        except Exception:  # find the caption that raises
            return [self._tokens_or_cause(caption) for caption in captions]

    def _tokens_or_cause(self, caption: str) -> torch.Tensor | str:
        try:
            return self.tokenizer([caption])[0]
        except Exception as error:  # counted and named like any other bad sample
            return f"{TOKENIZER_ERROR} ({type(error).__name__})"

    def _keep(self, number: int, pair: _Pair) -> _Pair:
        characters = sum(map(len, pair.captions)) if len(pair.captions) > 1 else 0
        # bytes: uint8 pixels, int64 ids
        cost = pair.image.nelement() + 8 * pair.text.nelement() + characters + _OVERHEAD
        if number in self._kept or cost > self._free:
            return pair
        self._free -= cost
        self._kept[number] = (
            pair if characters else pair._replace(captions=Captions([""]))
        )  # a single caption is needed as tokens only
        return pair

    def _filled(self, task: Task, pairs: dict[int, _Pair], skipped: Skipped) -> _Filled:
        """The numbers of the batch's samples, bad ones replaced; replacements are added to ``pairs``."""
        due: list[int] = task.samples.tolist()
        if len(pairs) == len(due):
            return _Filled(due, 0, [])
        candidates = chain(((n, 0) for n in task.spares.tolist()), ((n, 1) for n in task.others.tolist()))
        filled: list[int] = []
        stand_ins, copies = 0, list[int]()
        for place, number in enumerate(due):
            if number not in pairs:
                number, from_other_batch = next(self._good(candidates, task.epoch, pairs, skipped), (-1, 0))
                stand_ins += from_other_batch
            if number < 0:
                # the next good sample of the same batch, or one before it
                number = next((n for n in (*due[place + 1 :], *filled) if n in pairs), -1)
                copies.append(place)
            if number < 0:
                return _Filled([], 0, [])
            filled.append(number)
        return _Filled(filled, stand_ins, copies)

    def _good(
        self, candidates: Iterator[tuple[int, int]], epoch: int, pairs: dict[int, _Pair], skipped: Skipped
    ) -> Iterator[tuple[int, int]]:
        """The usable candidates (number, whether of another batch), loaded one by one as they are needed."""
        for number, from_other_batch in candidates:
            pairs.update(self._pairs([number], epoch, skipped))
            if number in pairs:
                yield number, from_other_batch

    def _flipped(self, numbers: list[int], images: torch.Tensor, epoch: int) -> torch.Tensor:
        """Half of the images [B, 3, S, S], in place."""
        if self.flip:
            mirrored = torch.from_numpy(uniforms(np.array(numbers, np.int64), 1, self.seed, FLIP, epoch)[:, 0] < 0.5)
            images[mirrored] = images[mirrored].flip(-1)
        return images


@runtime_checkable
class Interruptible(Protocol):
    """Tasks that may have to be waited for."""

    def interrupt_when(self, stopping: Callable[[], bool]) -> None:
        """Raise RunError in place of waiting once ``stopping()``."""


class Loader(DataLoader[Batch]):
    """An endless stream of one rank's batches from a position on; each iterator starts at that position.

    Counts bad samples; RunError if their fraction exceeds the limit. Does not use torch's global generator.

    Args:
        batches: makes a batch from a task.
        tasks: of this rank, from the start position on.
        tally: counts bad samples.
        workers: number of worker processes; 0: batches are made in the training process.
        pin_memory: copy batches to pinned memory, for GPUs.
        start_method: of the workers; None: the platform's default.
    """

    def __init__(
        self,
        batches: Batches,
        tasks: Iterable[Task],
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
            collate_fn=_unchanged,  # type: ignore[arg-type]  # with batch_size=None it receives the batch itself
            pin_memory=pin_memory,
            worker_init_fn=self.workers.begin,
            multiprocessing_context=start_method if workers else None,
            generator=torch.Generator(),  # else the workers' base seed is drawn from the global one
        )
        self.tally, self._tasks = tally, tasks

    def interrupt_when(self, stopping: Callable[[], bool]) -> None:
        """Raise RunError in place of a long wait for data once ``stopping()``, where a wait can be long."""
        if isinstance(self._tasks, Interruptible):
            self._tasks.interrupt_when(stopping)

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # torch's own type is private
        with self.workers.starting():
            batches = super().__iter__()
        try:
            for batch in batches:
                self.tally.stand_ins += batch["stand_ins"]
                self.tally.copies += batch["copies"]
                self.tally.count(len(batch["keys"]), batch["skipped"], batch["due"])
                if not batch["keys"]:
                    cause, key = batch["skipped"][0]
                    raise RunError(
                        Problem(
                            "data", f"not one good sample in a whole batch (first: {cause}, {key}); repair the shards"
                        )
                    )
                yield batch
        finally:
            self.workers.release()


def _unchanged(batch: Batch) -> Batch:
    return batch
