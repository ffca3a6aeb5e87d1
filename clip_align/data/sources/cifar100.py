# SPDX-License-Identifier: Apache-2.0
"""CIFAR-100's 50,000 training images, from the original python archive, with class names as captions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from clip_align.data.indexed.labelled_options import CifarOptions
from clip_align.data.sources.base import DataSource


@dataclass(frozen=True)
class Cifar100Data(CifarOptions, DataSource):
    """See `CifarOptions`."""

    archive: ClassVar[str] = "cifar100"
