# SPDX-License-Identifier: Apache-2.0
"""The peak of a loss against the batch: of the square for all logits at once, linear in chunks."""

from __future__ import annotations

import pytest
import torch

from clip_align.losses.base import Loss
from clip_align.losses.infonce import InfoNCE
from clip_align.losses.peak_memory import peak_memory
from clip_align.losses.siglip import SigLIP

WIDTH = 16


class Known(Loss):
    """Two tensors of one megabyte at a time, out of three."""

    def forward(self, image: torch.Tensor, text: torch.Tensor, logit_scale: torch.Tensor, *_: object) -> torch.Tensor:
        with torch.no_grad():
            first = torch.zeros(2**18)
            second = first + 1
            del first
            third = second * 2
            third.mul_(3)  # in place: nothing new
            kept = third[10:]  # a view: nothing new
            del second, third
        return image.sum() + kept.sum()


def test_what_is_alive_at_the_same_time_counts() -> None:
    gradient = 4 * 4 * WIDTH
    assert 2 * 2**20 <= peak_memory(Known(), 4, WIDTH) <= 2 * 2**20 + 4 * gradient


@pytest.mark.parametrize("loss", [InfoNCE(chunk=8), SigLIP(chunk=8)], ids=["infonce", "siglip"])
def test_chunks_make_it_linear(loss: Loss) -> None:
    """Each further 128 pairs take as much as the 128 before them, within a tenth."""
    peaks = [peak_memory(loss, pairs, WIDTH) for pairs in (128, 256, 384)]
    assert peaks[2] - peaks[1] == pytest.approx(peaks[1] - peaks[0], rel=0.1)
    assert peaks[2] < 4 * 384 * 384  # one matrix of all logits


def test_all_logits_at_once_make_it_quadratic() -> None:
    """The negative control."""
    peaks = [peak_memory(InfoNCE(), pairs, WIDTH) for pairs in (256, 512)]
    assert peaks[1] / peaks[0] > 3.7
    assert peaks[1] > 4 * 4 * 512 * 512


def test_nothing_that_grows_with_the_square_is_kept_for_the_backward_pass() -> None:
    kept: list[int] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.untyped_storage().nbytes())
        return tensor

    for loss in (InfoNCE(chunk=8), SigLIP(), SigLIP(chunk=8)):
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss(torch.randn(128, WIDTH, requires_grad=True), torch.randn(128, WIDTH), torch.tensor(2.0))
        assert kept
        assert max(kept) <= 4 * 128 * WIDTH
