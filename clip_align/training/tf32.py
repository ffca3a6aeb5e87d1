# SPDX-License-Identifier: Apache-2.0
"""TF32: float32 products whose factors are rounded to 10 bits, on NVIDIA's tensor cores (Ampere and later)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def tf32(allowed: bool | None) -> Iterator[None]:
    """Allow or forbid it meanwhile, for matrix products and cuDNN's convolutions; None leaves both as they are.

    The setting is the whole process's. torch has two interfaces to it, and raises where one is read after the other
    has been set to something else: the older one, used here, sets both.
    """
    if allowed is None:
        yield
        return
    before = _Setting()
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        before.restore()


class _Setting:
    """What both interfaces say, to go back to."""

    def __init__(self) -> None:
        self._newer = [(one, one.fp32_precision) for one in _newer()]
        try:
            self._products = torch.get_float32_matmul_precision()
        except RuntimeError:  # the newer one has been set to the contrary of the default
            self._products = "highest"
        try:
            self._convolutions = torch.backends.cudnn.allow_tf32
        except RuntimeError:
            self._convolutions = True

    def restore(self) -> None:
        """The older one first, since it sets both."""
        torch.set_float32_matmul_precision(self._products)
        torch.backends.cudnn.allow_tf32 = self._convolutions
        for one, precision in self._newer:
            one.fp32_precision = precision


def _newer() -> list[Any]:
    backends: Any = torch.backends
    return [backends.cuda.matmul, backends.mkldnn.matmul, backends.cudnn.conv, backends.cudnn.rnn]
