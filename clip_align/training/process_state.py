# SPDX-License-Identifier: Apache-2.0
"""What a training sets for its whole process, put back: the process may be somebody's program or notebook."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from clip_align.evaluation.evaluation_mode import same_random_state
from clip_align.training.trainer import QUIET_LOGGERS

HUB = "huggingface_hub.constants"  # reads these variables at its import, and keeps what they say
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


@contextmanager
def process_state_kept() -> Iterator[None]:
    """Restore random states, torch's threads, environment, warning filters and logging on exit.

    What libraries set at their first import stays, but for huggingface_hub, which would remain offline.
    """
    environment, threads = dict(os.environ), torch.get_num_threads()
    loggers = [logging.root, *map(logging.getLogger, QUIET_LOGGERS)]
    before = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    hub_known = HUB in sys.modules
    device = torch.device("cuda") if torch.cuda.is_available() and torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    try:
        with same_random_state(device), warnings.catch_warnings():
            # tqdm's, where the widgets of notebooks are not installed: nobody shows its bars here
            warnings.filterwarnings("ignore", message="IProgress not found")
            yield
    finally:
        torch.set_num_threads(threads)
        for logger, level, handlers in before:
            logger.setLevel(level)
            logger.handlers[:] = handlers
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
        unset = not any(environment.get(name) for name in OFFLINE)
        if unset and not hub_known and HUB in sys.modules:
            hub: Any = sys.modules[HUB]
            hub.HF_HUB_OFFLINE = False
