# SPDX-License-Identifier: Apache-2.0
"""Commands of several machines are compared by their overrides."""

from __future__ import annotations

import socket

import pytest

from clip_align.training.machines import _differences, _typed

ADVICE = "type the same command on every machine; only paths.cache and paths.runs may differ"


@pytest.mark.parametrize(
    "command",
    [
        ["torchrun", "--nnodes=2", "--node-rank=1", "train.py", "seed=1", "paths.cache=/b"],
        ["torchrun", "--nnodes", "2", "--rdzv-conf", "timeout=9", "/x/train.py", "seed=1", "++paths.runs=r"],
        ["python", "-m", "clip_align", "train", "seed=1"],
        ["clip-align", "train", "seed=1"],
    ],
)
def test_what_has_to_be_typed_alike(command):
    assert list(_typed(command)) == ["seed=1"]


def test_nothing_was_typed_in_a_program():
    assert list(_typed([])) == []


def test_differences_are_named_by_their_machine():
    host = socket.gethostname()
    assert list(_differences({"seed=1", "a=1"}, {"seed=1", "b=2"})) == [
        f"a=1: typed on {host}, and not for rank 0; {ADVICE}",
        f"b=2: typed for rank 0, and not on {host}; {ADVICE}",
    ]
    assert list(_differences({"seed=1"}, {"seed=1"})) == []
