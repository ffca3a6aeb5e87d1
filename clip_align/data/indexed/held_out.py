# SPDX-License-Identifier: Apache-2.0
"""The samples of an inventory that are held out, those of the keys with the smallest hashes, and what is left."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from clip_align.data.bad_samples import BadSample, Causes
from clip_align.data.captions import Captions
from clip_align.data.decode import decode
from clip_align.data.held_out import FEWEST_BY_DEFAULT, MOST_BY_DEFAULT, HeldOutSample, HeldOutSamples
from clip_align.data.indexed.inventory import Inventory
from clip_align.data.key_hashes import key_hash, smallest
from clip_align.data.samples import Samples
from clip_align.errors import Problem, UserError

__all__ = [
    "TrainedSamples",
    "held_out_by_default",
    "held_out_limit",
    "held_out_numbers",
    "held_out_samples",
    "without",
]

PART_BY_DEFAULT = 10  # one in so many keys, where that is fewer than `MOST_BY_DEFAULT`


def held_out_by_default(found: Inventory) -> int:
    """How many keys are held out where no number is given: 1,000, or a tenth of all keys where these are fewer.

    UserError where that would be fewer than ten.
    """
    hashes, _ = smallest(found.key_hashes(), MOST_BY_DEFAULT * PART_BY_DEFAULT)
    different = len(np.unique(hashes))
    count = min(MOST_BY_DEFAULT, different // PART_BY_DEFAULT)
    if count < FEWEST_BY_DEFAULT:
        what = (
            f"of {different:,} samples {count} would be held out, too few to evaluate on; take at least "
            f"{FEWEST_BY_DEFAULT * PART_BY_DEFAULT:,}, give a number, or leave out the benchmarks on them: "
            "callbacks=[tid2013_remade]"
        )
        raise UserError(Problem("data.held_out", what))
    return count


def held_out_numbers(found: Inventory, count: int) -> NDArray[np.int64]:
    """Numbers, ascending, of the samples with the ``count`` keys whose hashes are smallest."""
    return smallest(found.key_hashes(), count)[1] if count else np.empty(0, np.int64)


def held_out_limit(samples: Samples, numbers: Sequence[int]) -> str | None:
    """The largest hash of a key that is held out, 16 hexadecimal digits; None where none is.

    Of the samples that were trained on while it held, none has a hash up to it: a later limit that is not larger holds
    none of them out, whichever samples were added or removed.

    Args:
        samples: all samples.
        numbers: of those held out.
    """
    return f"{max(key_hash(samples.key(number)) for number in numbers):016x}" if len(numbers) else None


def without(found: Inventory, count: int, by_default: bool = False) -> tuple[Inventory, NDArray[np.int64]]:
    """The inventory without the samples held out, and the numbers of these, ascending, in the whole inventory.

    Args:
        found: all usable samples.
        count: keys to hold out; 0: none, the inventory is returned as it is.
        by_default: whether the count is that of `held_out_by_default`, for the note.

    UserError where fewer samples are left to train on than are held out.
    """
    if not count:
        return found, np.empty(0, np.int64)
    hashes, numbers = smallest(found.key_hashes(), count)
    left = len(found.samples) - len(numbers)
    if left < len(numbers):
        _, of_key = np.unique(hashes, return_counts=True)  # in the order in which they are held out
        most = np.count_nonzero(np.cumsum(of_key) <= len(found.samples) // 2)
        what = f"the {count:,} keys asked for are those of {len(numbers):,} of {len(found.samples):,} samples"
        advice = f"at most half of them can be held out: give data.held_out={most} or less"
        raise UserError(Problem("data.held_out", f"{what}; {advice if most else 'leave out the benchmarks on them'}"))
    option = f"data.held_out={count}" + (", by default" if by_default else "")
    note = f"data: {len(numbers):,} samples are held out ({option}), {left:,} are trained on"
    samples = TrainedSamples(found.samples, numbers)
    # in the fingerprint too: what a run may be resumed on
    digest = hashlib.sha256(f"{found.fingerprint} {count}".encode()).hexdigest()[:16]
    return replace(found, samples=samples, notes=(*found.notes, note), fingerprint=digest), numbers


def held_out_samples(samples: Samples, numbers: Sequence[int], max_chars: int, max_pixels: int) -> HeldOutSamples:
    """The samples of these numbers, in the order of their keys' hashes; one of each key, bad ones left out.

    Every image is decoded once, as in training: one that is damaged must not end the run that shows it.

    Args:
        samples: all samples.
        numbers: of those held out.
        max_chars: characters after which captions are cut, as in training.
        max_pixels: of an image, as in training.
    """
    found: dict[str, HeldOutSample] = {}
    bad = Causes()
    for number in numbers:
        key = samples.key(number)
        if key in found:
            continue
        try:
            captions = tuple(caption[:max_chars] for caption in samples.captions(number))
            decode(samples.image(number), max_pixels)
        except BadSample as error:
            bad.add(error.cause, key)
            continue
        found[key] = HeldOutSample(key, *samples.place(number), captions)
    return HeldOutSamples(tuple(sorted(found.values(), key=lambda sample: key_hash(sample.key))), bad)


class TrainedSamples:
    """All samples but some. Picklable.

    Args:
        samples: all of them.
        left_out: numbers of those that are not in it, ascending.
    """

    def __init__(self, samples: Samples, left_out: NDArray[np.int64]) -> None:
        self._samples = samples
        # number of kept samples before each one left out: where the numbers behind it move up
        self._before = left_out - np.arange(len(left_out))
        ends = np.cumsum(np.asarray(samples.blocks))
        in_block = np.diff(np.searchsorted(left_out, ends), prepend=0)
        self.blocks: Sequence[int] = (np.asarray(samples.blocks) - in_block).tolist()

    def __len__(self) -> int:
        return len(self._samples) - len(self._before)

    def whole_number(self, number: int) -> int:
        """Number, among all samples, of the kept sample ``number``."""
        return number + int(np.searchsorted(self._before, number, side="right"))

    def image(self, number: int) -> bytes:
        """Bytes of the image file."""
        return self._samples.image(self.whole_number(number))

    def captions(self, number: int) -> Captions:
        """The captions."""
        return self._samples.captions(self.whole_number(number))

    def key(self, number: int) -> str:
        """The key."""
        return self._samples.key(self.whole_number(number))

    def place(self, number: int) -> tuple[str, int, int | None]:
        """Where the image's bytes are."""
        return self._samples.place(self.whole_number(number))
