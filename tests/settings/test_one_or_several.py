# SPDX-License-Identifier: Apache-2.0
"""Arguments that take one value or several, such as ``layers``: from a config and from Python by the same rule."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clip_align import source_code
from clip_align.config import CallbackConfig
from clip_align.errors import Problem, UserError
from clip_align.settings import callback_check
from clip_align.settings.load_config import load

BASE = """
from collections.abc import Sequence
from typing import Literal
from clip_align.callbacks.base import PerceptualCallback
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "outside_layers"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    source_code.read_source.cache_clear()
    yield folder
    for name in [name for name in sys.modules if name.startswith("outside_layers")]:
        del sys.modules[name]
    source_code.read_source.cache_clear()


def write(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.py").write_text(text)
    importlib.invalidate_caches()


@pytest.mark.parametrize(
    ("typed", "taken"),
    [
        ("all", ["all"]), ("projection", ["projection"]), (6, [6]), (6.0, [6]), ("maps", ["maps"]),
        (["projection", 3], ["projection", 3]), (("all",), ["all"]), ([2.0], [2]),
    ],
)  # fmt: skip
def test_one_value_stands_for_a_list_of_it(package: Path, typed: Any, taken: list[Any]) -> None:
    """From a config and from Python, for readers named by an alias too."""
    write(
        package,
        "m",
        BASE + "Names = int | Literal['projection', 'all', 'maps']\n"
        "class C(PerceptualCallback):\n    family = 'saliency'\n"
        "    def __init__(self, layers: Names | Sequence[Names] = 'maps', **base):\n"
        "        super().__init__(layers=layers, **base)\n",
    )
    errors: list[Problem] = []
    found = callback_check.checked({"c": CallbackConfig("outside_layers.m.C", {"layers": typed})}, errors)
    assert errors == []
    assert found["c"].arguments == {"layers": taken}
    cls = importlib.import_module("outside_layers.m").C
    assert cls(layers=typed).layers == tuple(taken)
    assert cls(layers=typed).options["layers"] == taken
    assert cls().layers == ("maps",)


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("maps", "'maps' is not a whole number or projection or all"),
        (2.5, "2.5 is not a whole number or projection or all"),
        (True, "true is not a whole number or projection or all"),
        (None, "null is not a whole number or projection or all"),
        ([], "[] is empty; give at least one value"),
        ([1, 1], "1 is there twice; give each value once"),
    ],
)
def test_layers_that_there_cannot_be_are_one_line(package: Path, typed: Any, line: str) -> None:
    write(package, "m", BASE + "class C(PerceptualCallback):\n    family = 'human'\n")
    errors: list[Problem] = []
    callback_check.checked({"c": CallbackConfig("outside_layers.m.C", {"layers": typed})}, errors)
    assert [str(problem) for problem in errors] == [f"callbacks.c.layers: {line}"]
    with pytest.raises(UserError) as caught:
        importlib.import_module("outside_layers.m").C(layers=typed)
    assert caught.value.lines == (f"C.layers: {line}",)


def test_an_element_that_there_cannot_be_is_named_by_its_place(package: Path) -> None:
    write(package, "m", BASE + "class C(PerceptualCallback):\n    family = 'human'\n")
    errors: list[Problem] = []
    callback_check.checked({"c": CallbackConfig("outside_layers.m.C", {"layers": [1, "al"]})}, errors)
    assert [str(problem) for problem in errors] == [
        "callbacks.c.layers[1]: 'al' is not a whole number or projection or all"
    ]


@pytest.mark.parametrize(
    ("typed", "taken"), [("all", ["all"]), ("[all]", ["all"]), ("4", [4]), ("projection", ["projection"])]
)
def test_layers_are_typed_as_a_plain_word(typed: str, taken: list[Any]) -> None:
    config = load(["callbacks=tid2013_remade", f"+callbacks.tid2013_remade.layers={typed}"])
    assert config.callbacks["tid2013_remade"].arguments["layers"] == taken
