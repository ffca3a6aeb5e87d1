# SPDX-License-Identifier: Apache-2.0
"""The shipped random images under the name that tests use."""

from __future__ import annotations

from clip_align.testing.random_images import random_image as random_image

__all__ = ["random_image"]
