# SPDX-License-Identifier: Apache-2.0
"""Constructors read from source: nothing of the package is imported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from clip_align import source_code
from clip_align.config import CallbackConfig
from clip_align.errors import Problem
from clip_align.settings import callback_check
from clip_align.settings.signatures import NotFoundError, class_text, constructor
from clip_align.structure import Distinct, Existing, Holds, Matches, Range

BASE = "from clip_align.callbacks.base import PerceptualCallback\n"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package whose modules stop whoever imports them."""
    folder = tmp_path / "outside_pkg"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    source_code.read_source.cache_clear()
    yield folder
    assert "outside_pkg" not in sys.modules
    source_code.read_source.cache_clear()


def write(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.py").write_text(f"raise SystemExit('imported')\n{text}")


def hints(target: str) -> dict[str, Any]:
    found = constructor(target)
    assert found is not None
    return {name: parameter.hint for name, parameter in found.items()}


def test_annotations_become_types(package: Path) -> None:
    write(
        package,
        "kinds",
        BASE + "from collections.abc import Sequence, Mapping\nfrom pathlib import Path\n"
        "from typing import Literal, Optional\n"
        "import numpy as np\nUnit = Literal['px', 'deg']\n"
        "class Pairs(PerceptualCallback):\n"
        "    def __init__(self, root: str | Path, unit: 'Unit' = 'px', *, n: int | None = None, \n"
        "                 sizes: Sequence[float] = (), span: tuple[int, int] = (0, 1), odd: np.ndarray = None,\n"
        "                 o: Optional[bool] = None,\n"
        "                 m: Mapping[str, float] = {}, bare=3):\n        ...\n",
    )  # fmt: skip
    assert hints("outside_pkg.kinds.Pairs") == {
        "root": str, "unit": Literal["px", "deg"], "n": int | None, "sizes": tuple[float, ...],
        "span": tuple[int, int], "odd": Any, "o": bool | None, "m": dict[str, float], "bare": Any,
    }  # fmt: skip
    found = constructor("outside_pkg.kinds.Pairs")
    assert found is not None
    assert [name for name, parameter in found.items() if parameter.required] == ["root"]


def test_limits_behind_a_type_are_read(package: Path) -> None:
    write(
        package,
        "limits",
        BASE + "from collections.abc import Sequence\nfrom typing import Annotated\n"
        "from clip_align.structure import Holds, Range\nMOST = 9\n"
        "class C(PerceptualCallback):\n"
        "    def __init__(self, n: Annotated[int, Range(low=1), 'x'] = 1, bad: Annotated[int, Range(high=MOST)] = 1,\n"
        "                 x: Annotated[Sequence[float], Range(above=-1)] = (),\n"
        "                 d: Annotated[str, Holds('a.npy')] = '', plain: int = 0): ...\n",
    )  # fmt: skip
    found = constructor("outside_pkg.limits.C")
    assert found is not None
    assert {name: parameter.markers for name, parameter in found.items()} == {
        "n": (Range(low=1),), "bad": (), "x": (Range(above=-1),), "d": (Holds("a.npy"),), "plain": (),
    }  # fmt: skip
    assert (found["n"].hint, found["x"].hint) == (int, tuple[float, ...])


def test_markers_report_what_is_wrong_with_a_value(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("")
    file, folder, word = Existing("file"), Existing("folder"), Matches("[a-z]+", "lower-case letters")
    for marker, right in (
        (file, [f"{tmp_path}/a.csv", None]), (folder, [str(tmp_path), None]), (word, ["abc", None]),
        (Distinct(), [[1], (0.1, 0.2), None]),
    ):  # fmt: skip
        assert [marker.problem(value, "k") for value in right] == [None] * len(right)
    assert str(file.problem(f"{tmp_path}", "k")) == f"k: no such file: '{tmp_path}'; type k=/path/of/the/file"
    assert str(folder.problem("", "k")) == "k: no such folder: ''; type k=/path/of/the/folder"
    assert str(word.problem("a1", "k")) == "k: 'a1' is not of the right form: lower-case letters"
    assert str(Distinct().problem([], "k")) == "k: [] is empty; give at least one value"
    assert str(Distinct().problem([1, 2, 1.0], "k")) == "k: 1.0 is there twice; give each value once"


def test_bases_are_followed_through_modules_and_aliases(package: Path) -> None:
    write(package, "units", "from typing import Literal\nUnit = Literal['px']\n")
    write(package, "middle", "from . import units as u\nimport clip_align.callbacks.base as b\n"
          "class Middle(b.PerceptualCallback):\n"
          "    def __init__(self, unit: u.Unit = 'px', **base): ...\n")  # fmt: skip
    write(package, "leaf", "from outside_pkg.middle import Middle as M\nclass Leaf(M):\n    pass\n")
    write(package, "facade", "from .leaf import Leaf\n")
    found = hints("outside_pkg.facade.Leaf")
    assert found["unit"] == Literal["px"]
    assert found["every_n_steps"] is int  # of PerceptualCallback itself, through **base


def test_what_takes_no_base_arguments_has_none(package: Path) -> None:
    write(package, "m", BASE + "class C(PerceptualCallback):\n    def __init__(self, a: int = 1): ...\n")
    assert set(hints("outside_pkg.m.C")) == {"a"}


def test_a_base_of_two_bases_comes_after_both(package: Path) -> None:
    init = "    def __init__(self, {}, **base): ...\n"
    write(package, "m", BASE
          + "class Top(PerceptualCallback):\n" + init.format("a: int")
          + "class Left(Top):\n" + init.format("b: int")
          + "class Right(Top):\n" + init.format("a: float")
          + "class C(Left, Right):\n" + init.format("c: int"))  # fmt: skip
    found = hints("outside_pkg.m.C")
    assert list(found)[:3] == ["c", "b", "a"]
    assert found["a"] is float


@pytest.mark.parametrize("bases", ["", "(dict)", "(Missing)", "(C)", "(make())"])
def test_other_classes_are_no_callbacks(package: Path, bases: str) -> None:
    write(package, "m", f"class C{bases}:\n    pass\n")
    assert constructor("outside_pkg.m.C") is None


@pytest.mark.parametrize(
    "target", ["os.system", "nowhere.C", "outside_pkg.m.D", "outside_pkg.m.f", "C", "outside_pkg.n.C"]
)
def test_what_is_not_there(package: Path, target: str) -> None:
    write(package, "m", "def f(): ...\n")
    with pytest.raises(NotFoundError):
        constructor(target)


def test_lines_for_callbacks(package: Path) -> None:
    write(
        package,
        "m",
        BASE + "class C(PerceptualCallback):\n    def __init__(self, root: str, n: int = 1, **base): ...\n",
    )
    write(package, "other", "class Other: ...\n")
    configured = {
        "fine": CallbackConfig("outside_pkg.m.C", {"root": "/a", "every_n_steps": 5, "name": None}),
        "bad": CallbackConfig("outside_pkg.m.C", {"n": "two", "distanse": 1, "layers": "al", "batch_size": 0}),
        "unset": CallbackConfig("outside_pkg.m.C", {"root": "???"}),
        "other": CallbackConfig("outside_pkg.other.Other"),
        "gone": CallbackConfig("not_installed_pkg.m.C"),
        "later": CallbackConfig("clip_align.callbacks.human.not_there_yet.C"),
    }
    errors: list[Problem] = []
    callback_check.checked(configured, errors)
    assert [str(problem) for problem in errors] == [
        "callbacks.bad.n: 'two' is not a whole number",
        "callbacks.bad.distanse: unknown key; valid under callbacks.bad: batch_size, every_n_steps, layers, mean, "
        "model, n, name, root, std, tokenizer, tokens, view",
        "callbacks.bad.layers: 'al' is not a whole number or projection or all",
        "callbacks.bad.batch_size: 0 is out of range; it must be at least 1",
        "callbacks.bad.root: not given; the callback needs it: callbacks.bad.root=…",
        "callbacks.unset.root: not given; this key has no default: callbacks.unset.root=…",
        "callbacks.other._target_: outside_pkg.other.Other is not a perceptual callback, "
        "a subclass of clip_align.callbacks.base.PerceptualCallback",
        "callbacks.gone._target_: not_installed_pkg.m.C: no such module; "
        "is its package installed in this environment?",
        "callbacks.later._target_: clip_align.callbacks.human.not_there_yet.C: no such module; "
        "is its package installed in this environment?",
    ]  # fmt: skip


def test_arguments_become_what_the_annotations_require(package: Path) -> None:
    write(
        package,
        "m",
        BASE + "class C(PerceptualCallback):\n"
        "    def __init__(self, csv: str, low: float, sizes: tuple[int, ...] = (), **base): ...\n",
    )
    given = {"csv": 123, "low": 1, "sizes": [2.0, 3], "every_n_steps": 100.0}
    errors: list[Problem] = []
    found = callback_check.checked({"c": CallbackConfig("outside_pkg.m.C", given)}, errors)
    assert errors == []
    assert found["c"].arguments == {"csv": "123", "low": 1.0, "sizes": [2, 3], "every_n_steps": 100}
    assert [type(value) for value in found["c"].arguments.values()] == [str, float, list, int]


def test_a_module_that_is_no_python_is_named_with_file_and_line(package: Path) -> None:
    (package / "broken.py").write_text("x = 1\ndef f(:\n")
    with pytest.raises(NotFoundError) as caught:
        constructor("outside_pkg.broken.Mine")
    assert caught.value.why == (f"its module is no valid Python: invalid syntax ({package / 'broken.py'}, line 2)")


def test_texts_of_a_class_and_its_bases(package: Path) -> None:
    write(package, "texts", BASE + "HUMAN = 'human'\nclass A(PerceptualCallback):\n    family, version = 'noise', 1\n")
    write(
        package, "more",
        "from outside_pkg.texts import HUMAN, A\nclass B(A):\n    family: str = HUMAN\nclass C(A):\n    x = 1\n"
        "class D(A):\n    family = 'a' + 'b'\n",
    )  # fmt: skip
    found = [class_text(f"outside_pkg.{name}", "family") for name in ("texts.A", "more.B", "more.C", "more.D")]
    assert found == ["noise", "human", "noise", None]
