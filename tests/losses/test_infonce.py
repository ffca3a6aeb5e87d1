# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from clip_align.losses.infonce import infonce


def test_value_is_the_mean_cross_entropy_of_rows_and_columns() -> None:
    generator = torch.Generator().manual_seed(0)
    image, text = (torch.randn(5, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    cosine = functional.cosine_similarity(image[:, None], text[None], dim=-1)
    logits = cosine * math.exp(1.5)
    expected = -(logits.log_softmax(0).diagonal().mean() + logits.log_softmax(1).diagonal().mean()) / 2
    found = infonce(image, text, torch.tensor(1.5, dtype=torch.float64))
    assert float(found) == pytest.approx(float(expected), abs=1e-14)


def test_a_model_that_knows_nothing_loses_the_logarithm_of_the_batch() -> None:
    same = torch.ones(16, 4)
    assert float(infonce(same, same, torch.tensor(2.6593))) == pytest.approx(math.log(16), abs=1e-5)


def test_perfect_pairs_lose_almost_nothing() -> None:
    assert float(infonce(torch.eye(8), torch.eye(8), torch.tensor(math.log(100)))) < 1e-6


def test_scale_of_the_embeddings_does_not_matter() -> None:
    generator = torch.Generator().manual_seed(0)
    image, text = (torch.randn(6, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    scale = torch.tensor(2.0, dtype=torch.float64)
    torch.testing.assert_close(infonce(image, text, scale), infonce(3 * image, 0.1 * text, scale))
