# SPDX-License-Identifier: Apache-2.0
"""Fixed batches of images, in which both images of a pair are always together.

The batches depend only on the images, the pairs and the batch size, never on ranks or memory, so that every number is
the same on any number of ranks. A pair is reduced in the batch that contains both its images: a reference whose pairs
do not fit into one batch is encoded again in the next one, at most once a batch where pairs have a common reference
(3,000 pairs of 25 references, batches of 256: 3,036 images encoded for 3,025).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """Images that are encoded in one forward pass.

    rows: int64 [B], distinct. first: bool [B], true where no earlier batch contained the row; only then its features
    are kept. pairs: int64 [P], numbers of the pairs that are reduced in this batch.
    """

    rows: Rows
    first: NDArray[np.bool_]
    pairs: Rows


def image_batches(images: int, pairs: Rows, size: int) -> list[ImageBatch]:
    """Batches of up to ``size`` rows (two at least where there are pairs) that cover all rows and all pairs.

    Args:
        images: number of rows, 0 to ``images - 1``.
        pairs: int64 [P, 2], rows of the reference and of the other image.
        size: images per batch.
    """
    batches: list[ImageBatch] = []
    seen = np.zeros(images, bool)  # [images]
    for rows, of_batch in _filled(images, pairs, size):
        array = np.asarray(rows, np.int64)  # [B]
        batches.append(ImageBatch(array, ~seen[array], np.asarray(of_batch, np.int64)))
        seen[array] = True
    return batches


def _filled(images: int, pairs: Rows, size: int) -> Iterator[tuple[list[int], list[int]]]:
    """(rows, pairs) of each batch: pairs by reference, in order of first appearance, then the rows in no pair."""
    of_reference: dict[int, list[int]] = {}  # numbers of the pairs, by row of the reference
    for number, (reference, _) in enumerate(pairs.tolist()):
        of_reference.setdefault(reference, []).append(number)
    size = max(size, 2) if len(pairs) else size  # both images of a pair must fit
    rows: dict[int, None] = {}  # an ordered set
    reduced: list[int] = []
    for number in (n for numbers in of_reference.values() for n in numbers):
        both = dict.fromkeys(pairs[number].tolist())  # one row if the pair is an image and itself
        if len(rows | both) > size:  # rows that are in the batch already cost nothing
            yield list(rows), reduced
            rows, reduced = {}, []
        rows |= both
        reduced.append(number)
    paired = np.zeros(images, bool)
    paired[pairs.ravel()] = True
    # these rows fill up the last batch of the pairs
    for row in np.flatnonzero(~paired).tolist():
        if len(rows) == size:
            yield list(rows), reduced
            rows, reduced = {}, []
        rows[row] = None
    if rows:
        yield list(rows), reduced
