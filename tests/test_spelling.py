# SPDX-License-Identifier: Apache-2.0
"""What a misspelt word was meant to be."""

from __future__ import annotations

import pytest

from clip_align.spelling import nearest, unknown_key

KEYS = ("trainer.max_steps", "trainer.precision", "optimizer.lr", "optimizer.eps", "seed")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("trainer.max_stepz", "trainer.max_steps"),
        ("max_steps", "trainer.max_steps"),  # the right name without its group
        ("optimiser.lr", "optimizer.lr"),
        ("trainer.pre", "trainer.precision"),  # the beginning of one key alone
        ("trainer.lr", "optimizer.lr"),  # the right name in another group
        ("sed", "seed"),
        ("frobnicate", None),
        ("", None),
    ],
)
def test_nearest(word: str, meant: str | None) -> None:
    assert nearest(word, KEYS) == meant


def test_an_unknown_key_is_explained() -> None:
    assert str(unknown_key("sed", KEYS)) == "sed: unknown key; did you mean seed?"
    assert (
        str(unknown_key("trainer.xyzzy", KEYS))
        == "trainer.xyzzy: unknown key; valid under trainer: max_steps, precision"
    )
    assert str(unknown_key("xyzzy", KEYS)) == "xyzzy: unknown key; valid here: optimizer, seed, trainer"
    assert str(unknown_key("seed.xyzzy", KEYS)) == "seed.xyzzy: unknown key; valid under seed: none"
