# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import doctest

import pytest

import clip_align as ca
from clip_align import api
from clip_align.errors import UserError
from clip_align.settings import load_config


def test_the_examples_in_the_documentation_run() -> None:
    assert doctest.testmod(api).failed == 0


def test_training_gets_a_name_unless_it_is_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[list[str]] = []

    def refused(overrides: list[str]) -> None:
        given.append(overrides)
        raise UserError("refused")

    monkeypatch.setattr(load_config, "load", refused)
    for overrides in (["resume=auto"], ["name=mine"], ["model=tiny"]):
        with pytest.raises(UserError):
            ca.train(overrides)
    assert given[:2] == [["resume=auto"], ["name=mine"]]
    assert [word.partition("-")[0] for word in given[2]] == ["model=tiny", "name=notebook"]


def test_an_unknown_name_is_none_of_its_functions() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'evaluat'"):
        _ = ca.evaluat
