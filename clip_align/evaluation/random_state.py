# SPDX-License-Identifier: Apache-2.0
"""The state of the global random generators of Python, NumPy, torch and a device, to go back to."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


class RandomState:
    """The state at the time of construction; nothing waits for the device.

    ``device``: whose generator counts too; None and the CPU have none beside torch's own.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self._python, self._legacy, self._host = random.getstate(), np.random.get_state(), torch.get_rng_state()
        self._device = device if device is not None and device.type not in {"cpu", "meta"} else None
        # torch.cuda, torch.mps, …
        self._backend: Any = getattr(torch, self._device.type) if self._device is not None else None
        self._on_device = self._backend.get_rng_state(self._device) if self._backend is not None else None

    def restore(self) -> None:
        """Set all generators to that state."""
        random.setstate(self._python)
        np.random.set_state(self._legacy)
        torch.set_rng_state(self._host)
        if self._backend is not None:
            self._backend.set_rng_state(self._on_device, self._device)
