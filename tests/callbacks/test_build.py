# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
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
    assert b == "callbacks.b: no module no_such_package; is the package installed in this environment?"
    assert c == "callbacks.c: _target_ stubs.NoSuchClass: no class NoSuchClass in stubs"
    assert d == "Pairs.every_n_steps: 0 is out of range; it must be at least 1"
    assert e.startswith("callbacks.e: ")
    assert "pears" in e


def test_two_of_one_key_are_refused() -> None:
    with pytest.raises(UserError, match="human/same: two callbacks have this key"):
        build_callbacks({"a": config(name="same"), "b": config(name="same")})


def test_given_arguments_fill_what_the_config_leaves_open_and_are_made_only_if_wanted() -> None:
    calls: list[int] = []

    def world() -> Path:
        calls.append(1)
        return Path("/worlds/a")

    build_callbacks({"mine": config()}, {"world": world})
    assert calls == []
    built = build_callbacks({f"w{i}": config("stubs.Wants") for i in range(2)}, {"world": world})
    assert [c.world for c in built] == [Path("/worlds/a")] * 2  # type: ignore[attr-defined]
    assert calls == [1]
    own = build_callbacks({"w": config("stubs.Wants", world="/mine")}, {"world": world})
    assert own[0].world == "/mine"  # type: ignore[attr-defined]


def test_keys_of_the_config_are_free_and_names_are_unique_within_a_family() -> None:
    built = build_callbacks({"a": config(name="same"), "b-2": config("stubs.Named", name="same")})
    assert [c.key for c in built] == ["human/same", "zero_shot/same"]


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("import not_there_either", "ModuleNotFoundError: No module named 'not_there_either'"),
        ("from os import nothing_like_it", "ImportError: cannot import name 'nothing_like_it' from 'os'"),
        ("x = 1 / 0", "ZeroDivisionError: division by zero"),
        ("def f(:", "SyntaxError: invalid syntax"),
        ("import sub_outside.helper", "RuntimeError: deeper"),
    ],
)
def test_an_error_inside_a_module_is_shown_as_what_it_is(
    code: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "sub_outside"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "helper.py").write_text("\n\nraise RuntimeError('deeper')\n")
    (package / "bench.py").write_text(f"# a comment\n{code}\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [n for n in sys.modules if n.startswith("sub_outside")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UserError) as caught:
        build_callbacks({"mine": config("sub_outside.bench.Mine")})
    (line,) = caught.value.lines
    assert line.startswith(f"callbacks.mine: sub_outside.bench cannot be imported: {what}")
    place = ("helper.py", 3) if "helper" in code else ("bench.py", 2)
    assert line.endswith(f"({package / place[0]}, line {place[1]})")
