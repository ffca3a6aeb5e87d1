# SPDX-License-Identifier: Apache-2.0
"""``python -m clip_align.testing`` on an outside package: what passes, what does not, and how it is reported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import stubs

from clip_align.evaluation.model_info import ModelInfo
from clip_align.processes.ranks import Ranks
from clip_align.testing import battery
from clip_align.testing.__main__ import main
from clip_align.testing.stubs import ConstantModel, StubModel, Words

MODULE = '''
"""Outside."""
from functools import partial
from typing import ClassVar

import numpy as np

from clip_align.callbacks.toolkit import Features, Items, PerceptualCallback, Stimulus
from clip_align.testing.random_images import random_image


class Well(PerceptualCallback):
    """Eight images, and how bright each is."""

    family: ClassVar = "human"
    human_data: ClassVar = "none"
    stand_in: ClassVar = "none"
    source: ClassVar = "here"
    licence: ClassVar = "none"

    def __init__(self, images: int = 8, **base) -> None:
        super().__init__(**base)
        self.images = images

    def stimuli(self):
        for number in range(self.images):
            yield Stimulus(f"mine/{number}", partial(random_image, f"mine/{number}"))

    def items(self, features: Features) -> Items:
        seen = features[[f"mine/{number}" for number in range(self.images)]]
        return Items(seen.mean(axis=(1, 2)), np.arange(self.images) % 5)


class Careless(Well):
    """Draws random numbers, and names no source."""

    source: ClassVar = ""

    def items(self, features: Features) -> Items:
        whole = super().items(features)
        return Items(whole.model["value"] + np.random.default_rng().normal(size=self.images), whole.human)
'''


@pytest.mark.slow
def test_the_command_checks_an_outside_package(tmp_path: Path) -> None:
    (tmp_path / "outside_battery.py").write_text(MODULE)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).resolve().parents[2]}"}

    def answer(*arguments: str) -> tuple[int, list[str]]:
        command = [sys.executable, "-m", "clip_align.testing", *arguments]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=600)
        return done.returncode, done.stdout.splitlines()

    code, lines = answer("outside_battery.Well", "images=9")
    checks = ["same_on_two_ranks", *(check.__name__ for check in battery.CHECKS)]
    assert lines == [*(f"passed   {name}" for name in checks), "human/outside_battery: all checks passed"]
    assert code == 0
    code, lines = answer("outside_battery.Careless")
    failed = {line.partition(":")[0]: line.partition(": ")[2] for line in lines if line.startswith("FAILED")}
    assert failed["FAILED   describes_itself"] == (
        "human/outside_battery does not define its source; if there is none, write none"
    )
    assert failed["FAILED   twice_the_same"] == "two events of the same weights differ"
    assert "FAILED   same_on_two_ranks" in failed
    assert code == 1


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["no_such.module.Mine"], "callbacks.module._target_: no_such.module.Mine: no such module; is its package"),
        (["pathlib.Path"], "callbacks.pathlib._target_: pathlib.Path is not a perceptual callback"),
        (
            ["clip_align.callbacks.human.tid2013_remade.TID2013Remade", "tiles=2.5"],
            "callbacks.tid2013_remade.tiles: 2.5 is not a whole number",
        ),
        (["clip_align.callbacks.human.tid2013_remade.TID2013Remade", "tiles"], "tiles: not of the form argument=value"),
    ],
)
def test_what_cannot_be_built_is_one_line(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    reported = capsys.readouterr().err.splitlines()
    assert len(reported) == 1
    assert reported[0].startswith(line)


class Large(stubs.Pairs):
    """Needs an input of 32 px and a word."""

    def adapt(self, model: ModelInfo) -> str | None:
        if model.image_size < 32:
            return f"32 px are needed, the model has {model.image_size}"
        return f"no word for {unknown[0]}" if (unknown := model.unknown(["a red boat"])) else None


def test_a_benchmark_that_is_null_for_the_stub_fails_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(battery.CheckFailedError) as caught:
        battery.check_all(Large, tmp_path)
    assert str(caught.value) == (
        "human/pairs is null for the battery's model (16 px, 4,096 words), so that its items are not checked: "
        "32 px are needed, the model has 16; give it another one, battery.Stub(size=64) or --size=64"
    )
    battery.check_all(Large, tmp_path, battery.Stub(size=32))
    with pytest.raises(battery.CheckFailedError, match="no word for boat"):
        battery.is_not_null(Large, tmp_path, battery.Stub(size=32, unknown=("boat",)))


@pytest.mark.parametrize("check", [*battery.CHECKS, battery.same_on_two_ranks], ids=lambda check: check.__name__)
def test_every_check_uses_the_stub_that_is_given(
    check: battery.Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more than a check of the benchmark itself needs: each builds the model that it is given, and no other."""
    sizes: list[int] = []
    built = battery.Stub.evaluated

    def evaluated(self: battery.Stub, *kind: type[StubModel]) -> object:
        sizes.append(self.size)
        return built(self, *kind)

    monkeypatch.setattr(battery.Stub, "evaluated", evaluated)
    if check is battery.same_on_two_ranks:
        assert battery.event_fields(stubs.Pairs(), tmp_path, Ranks(), battery.Stub(size=24)) is not None
    else:
        check(stubs.Pairs, tmp_path, battery.Stub(size=24))
    assert set(sizes) == {24}


@pytest.mark.parametrize("size", [4, 17, 64])
def test_a_stub_of_any_size_and_vocabulary(size: int, tmp_path: Path) -> None:
    stub = battery.Stub(size=size, words=50, context_length=7)
    assert stub.tokenizer()(["a b c"]).shape == (1, 7)
    battery.writes_what_it_declares(lambda: stubs.Named(tokenizer=stub.tokenizer()), tmp_path, stub)


def test_the_command_takes_another_stub(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clip_align.callbacks.human.tid2013_remade.TID2013Remade", "--size=2", "--sice=3", "tiles"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "tiles: not of the form argument=value",
        "--size: 2 is out of range; it must be at least 4",
        "--sice: unknown key; did you mean size?",
    ]


def test_help_and_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "python -m clip_align.testing my_package.my_pairs.MyPairs" in capsys.readouterr().out
    assert main([]) == 2


def test_the_stub_tokenizer_reads_whole_prompts() -> None:
    model, words = StubModel(), Words()
    long = [f"a photo of one small and very tired {name} on a red chair" for name in ("cat", "dog")]
    both = model.encode_text(words(long))
    assert not both[0].equal(both[1])
    beside = words([long[0], "cat"])
    assert model.encode_text(beside)[0].allclose(both[0])  # padding does not count
    assert words([]).shape == (0, 0)


class KnowsNothing(stubs.Pairs):
    """Gives a number whatever the model has seen."""

    def items(self, features: object) -> object:  # type: ignore[override]
        from clip_align.callbacks.toolkit import Items

        return Items([1.0, 2.0, 4.0, 3.0], [1, 2, 3, 4])


def test_a_score_of_a_model_that_knows_nothing_is_found(tmp_path: Path) -> None:
    with pytest.raises(battery.CheckFailedError, match=f"human/pairs/srocc is .* for a {ConstantModel.__name__}"):
        battery.constant_model_is_null(KnowsNothing, tmp_path)
    battery.check_all(stubs.Pairs, tmp_path / "well")
