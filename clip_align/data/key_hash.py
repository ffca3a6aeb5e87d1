# SPDX-License-Identifier: Apache-2.0
"""The hash of a sample's key, which decides whether the sample is held out."""

from __future__ import annotations

import hashlib


def key_hash(key: str) -> int:
    """64 bits, the same in every process and release."""
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big")
