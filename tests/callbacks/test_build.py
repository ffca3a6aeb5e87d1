# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clip_align.callbacks.build import build_callbacks
from clip_align.config import CallbackConfig
from clip_align.errors import UserError


def config(target: str = "stubs.Pairs", **arguments: Any) -> CallbackConfig:
    return CallbackConfig(target, arguments)


def test_the_configs_key_is_the_name_and_its_order_is_kept() -> None:
    built = build_callbacks({"mine": config(pairs=3), "named": config("stubs.Named", every_n_steps=7)})
    assert [c.key for c in built] == ["human/mine", "zero_shot/named"]
    assert built[1].every_n_steps == 7


def test_all_errors_come_at_once_a_line_each() -> None:
    with pytest.raises(UserError) as caught:
        build_callbacks(
            {
                "a": config("pathlib.Path"),
                "b": config("no_such_package.Mine"),
                "c": config("stubs.NoSuchClass"),
                "d": config(every_n_steps=0),
                "e": config(pears=3),
            }
        )
    a, b, c, d, e = caught.value.lines
    assert a == "callbacks.a: _target_ pathlib.Path is not a subclass of PerceptualCallback"
    assert b.startswith("callbacks.b: _target_ no_such_package.Mine cannot be imported (No module named")
    assert c.startswith("callbacks.c: _target_ stubs.NoSuchClass cannot be imported (module 'stubs' has no attribute")
    assert d == "human/d: every_n_steps is 0; it must be at least 1 optimizer step"
    assert e.startswith("callbacks.e: ")
    assert "pears" in e


def test_two_of_one_key_are_refused() -> None:
    with pytest.raises(UserError, match="human/same: two callbacks have this key"):
        build_callbacks({"a": config(name="same"), "b": config(name="same")})


def test_given_arguments_fill_what_the_config_leaves_open_and_are_made_only_if_wanted() -> None:
    asked: list[int] = []

    def world() -> Path:
        asked.append(1)
        return Path("/worlds/a")

    build_callbacks({"mine": config()}, {"world": world})
    assert asked == []
    built = build_callbacks({f"w{i}": config("stubs.Wants") for i in range(2)}, {"world": world})
    assert [c.world for c in built] == [Path("/worlds/a")] * 2  # type: ignore[attr-defined]
    assert asked == [1]
    own = build_callbacks({"w": config("stubs.Wants", world="/mine")}, {"world": world})
    assert own[0].world == "/mine"  # type: ignore[attr-defined]
