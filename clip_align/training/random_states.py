# SPDX-License-Identifier: Apache-2.0
"""The random states of this rank, as lists and tensors that ``torch.load(weights_only=True)`` takes."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def random_states() -> dict[str, Any]:
    """This rank's random states as lists and tensors."""
    name, keys, *rest = np.random.get_state()  # libraries draw from the global generator
    version, words, gauss = random.getstate()  # gauss: the second number of a pair, kept for the next call
    states: dict[str, Any] = {
        "python": [version, list(words), gauss],
        "numpy": [name, [int(k) for k in keys], *rest],  # plain ints: weights_only refuses numpy's
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # asking would initialise it, on the CPU too
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def set_random_states(states: Mapping[str, Any]) -> None:
    """The random states of `random_states` again."""
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((name, np.asarray(keys, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
