# SPDX-License-Identifier: Apache-2.0
"""Changes a run for a test, in all of its processes: first on the import path, it is imported by every interpreter.

``CLIP_ALIGN_TEST_CHANGE`` names what happens: see `CHANGES`. A module is changed when it has been imported.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import math
import os
import sys
from typing import Any


def data_error(batches: Any) -> None:
    """Making the batch after the first 14 of each rank raises, wherever it is made."""
    made = batches.Batches.__getitem__

    def getitem(self: Any, task: Any) -> Any:
        if tuple(task.after)[1] > 14:
            raise ValueError("something is wrong\nwith this sample")
        return made(self, task)

    batches.Batches.__getitem__ = getitem


def not_a_number(module: Any) -> None:
    """From step 14 on the weights are not numbers."""
    step = module.CLIPModule.training_step

    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        if self.step_under_way >= 14:
            self.model.logit_scale.data.fill_(math.nan)
        return step(self, batch, batch_idx)

    module.CLIPModule.training_step = training_step


def unchecked_memory(memory: Any) -> None:
    """Nobody looks how much shared memory there is."""
    memory.free_shared_memory = lambda folder=None: None


CHANGES = {
    "data_error": ("clip_align.data.loader", data_error),
    "not_a_number": ("clip_align.training.clip_module", not_a_number),
    "unchecked_memory": ("clip_align.data.shared_memory", unchecked_memory),
}


class _Changed(importlib.abc.MetaPathFinder):
    """Finds one module where it is, and changes it behind its own code."""

    def __init__(self, name: str, change: Any) -> None:
        self._name, self._change = name, change

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != self._name:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        assert spec is not None
        assert spec.loader is not None
        run, change = spec.loader.exec_module, self._change

        def exec_module(module: Any) -> None:
            run(module)
            change(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if os.environ.get("CLIP_ALIGN_TEST_CHANGE"):
    sys.meta_path.insert(0, _Changed(*CHANGES[os.environ["CLIP_ALIGN_TEST_CHANGE"]]))
