# SPDX-License-Identifier: Apache-2.0
"""Benchmarks set the number of threads of their process: tests give it back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # set again afterwards: the command sets it
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
