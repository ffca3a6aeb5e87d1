# SPDX-License-Identifier: Apache-2.0
"""Errors about an option of a benchmark or a column of a file carry the key of the configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import stubs
from PIL import Image

from clip_align.callbacks.build import build_callbacks
from clip_align.callbacks.human.pairs_csv import PairsCsv
from clip_align.config import CallbackConfig, ModelConfig
from clip_align.data.table import read_columns
from clip_align.errors import UserError
from clip_align.evaluation.prepare import planned
from clip_align.models.build import build_model


def pairs(folder: Path, text: str, **options: Any) -> PairsCsv:
    """A benchmark of this csv, whose images there are: a.png and b.png of 20 px, c.png of 30."""
    for name, size in (("a", 20), ("b", 20), ("c", 30)):
        Image.new("RGB", (size, size)).save(folder / f"{name}.png")
    (folder / "pairs.csv").write_text(text)
    return PairsCsv(csv=str(folder / "pairs.csv"), name="mine", **options)


def rows(*fields: str) -> str:
    return "\n".join(["reference,distorted,opinion", *fields, ""])


MADE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "no column": ("callbacks.mine.csv", lambda folder: pairs(folder, "reference,distorted\na.png,b.png\n")),
    "no number": ("callbacks.mine.csv", lambda folder: pairs(folder, rows("a.png,b.png,good"))),
    "too few": ("callbacks.mine.csv", lambda folder: pairs(folder, rows("a.png,b.png,1"))),
    "too long": ("callbacks.mine.csv", lambda folder: pairs(folder, rows("a.png,b.png,1,5"))),
    "quotes": ("callbacks.mine.csv", lambda folder: pairs(folder, rows('"a.png,b.png,1'))),
    "twice": (
        "callbacks.mine.csv",
        lambda folder: pairs(folder, "reference,distorted,opinion,opinion\na.png,b.png,1,2\n"),
    ),
    "no image": ("callbacks.mine.root", lambda folder: pairs(folder, rows(*["a.png,x.png,1"] * 3))),
    "other size": ("callbacks.mine.csv", lambda folder: pairs(folder, rows(*["a.png,c.png,1"] * 3))),
    "no layer": ("callbacks.pairs.layers", lambda folder: planned(stubs.Pairs(layers=9), stubs.evaluated_model())),
    "no class": (
        "callbacks.mine._target_",
        lambda folder: build_callbacks({"mine": CallbackConfig("clip_align.callbacks.base.Nothing")}),
    ),
    "no module": ("callbacks.mine", lambda folder: build_callbacks({"mine": CallbackConfig("not_there.Mine")})),
    "no architecture": ("model.name", lambda folder: build_model(ModelConfig(kind="open_clip", name="ViT-Q"))),
    "size": ("model.image_size", lambda folder: build_model(ModelConfig(image_size=33), ["a"])),
    "same key": (
        "callbacks.pairs.name",
        lambda folder: stubs.evaluator([stubs.Pairs(), stubs.Pairs()], stubs.evaluated_model(), folder),
    ),
}


@pytest.mark.parametrize("case", MADE)
def test_problems_carry_the_key(case: str, tmp_path: Path) -> None:
    key, make = MADE[case]
    with pytest.raises(UserError) as caught:
        make(tmp_path)
    assert [problem.key for problem in caught.value.problems] == [key]


def test_a_table_of_training_data_has_the_key_that_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("image,caption\n1,2,3\n")
    with pytest.raises(UserError) as caught:
        read_columns(tmp_path / "a.csv", ["image"], "data.csv", "quote it")
    (problem,) = caught.value.problems
    assert problem.key == "data.csv"
    assert str(problem) == f"data.csv: {tmp_path}/a.csv, line 2: 3 fields, the header has 2; quote it"
