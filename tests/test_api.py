# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import doctest
from pathlib import Path

import pytest
import torch

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


def test_what_a_model_does_not_define_is_asked_for_by_argument(tmp_path: Path) -> None:
    class Encoder(torch.nn.Module):
        def encode_image(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1)

    wanted = {
        ("size", "mean", "std"): {},
        ("mean", "std"): {"size": 32},
        ("std",): {"size": 32, "mean": (0.5, 0.5, 0.5)},
    }
    for absent, given in wanted.items():
        for model in (Encoder(), lambda images: images.flatten(1)):
            with pytest.raises(UserError) as raised:
                ca.evaluate(model, ["tid2013_remade"], cache=tmp_path, **given)
            names = ", ".join(f"{name}=…" for name in absent)
            line = f"model: give {names}: of the input in pixels, of the channels on [0, 1]"
            assert raised.value.lines == (line,)
