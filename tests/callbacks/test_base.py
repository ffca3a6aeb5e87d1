# SPDX-License-Identifier: Apache-2.0
"""Constructing a callback: its name, options and arguments; its place in a Trainer."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import stubs

from clip_align.callbacks.base import PerceptualCallback, perceptual_callbacks
from clip_align.callbacks.human.tid2013_remade import TID2013Remade
from clip_align.errors import UserError


def test_what_was_given_to_the_constructor_is_in_the_options() -> None:
    callback = stubs.Pairs(pairs=3, every_n_steps=7)
    assert callback.options["pairs"] == 3
    assert callback.options["every_n_steps"] == 7
    assert json.dumps(dict(callback.options))


def test_options_name_the_arguments_of_all_classes_below_the_base() -> None:
    class Scaled(stubs.Pairs):
        def __init__(self, scale: float = 2.0, prefix: str = "scaled", **base: Any) -> None:
            super().__init__(prefix=prefix, **base)

    assert Scaled().options == {"scale": 2.0, "prefix": "scaled", "pairs": stubs.Pairs().options["pairs"]}
    assert Scaled(pairs=3, prefix="own").options == {"scale": 2.0, "prefix": "own", "pairs": 3}
    assert TID2013Remade().options == {"distance": "normalised_euclidean", "tiles": 4}


def test_the_name_defaults_to_the_file_of_the_class() -> None:
    class Unnamed(stubs.Pairs):
        def __init__(self) -> None:
            PerceptualCallback.__init__(self)

    assert Unnamed().key == "human/test_base"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"every_n_steps": 0}, "Pairs.every_n_steps: 0 is out of range; it must be at least 1"),
        ({"every_n_steps": "often"}, "Pairs.every_n_steps: 'often' is not a whole number"),
        ({"batch_size": 0}, "Pairs.batch_size: 0 is out of range; it must be at least 1"),
        ({"view": "fisheye"}, "Pairs.view: 'fisheye' is not one of resize_crop, squash, native, tiles"),
        (
            {"name": "My Pairs"},
            "Pairs.name: 'My Pairs' is not of the right form: lower-case letters, digits, underscores",
        ),
        ({"layers": ()}, "Pairs.layers: [] is empty; give at least one value"),
        ({"layers": (1, "last")}, "Pairs.layers[1]: 'last' is not a whole number or projection or all"),
        ({"mean": 0.5}, "Pairs.mean: 0.5 is not a list: Pairs.mean=[…]"),
    ],
)
def test_wrong_base_arguments_are_one_line(arguments: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as caught:
        stubs.Pairs(**arguments)
    assert caught.value.lines == (line,)


def test_all_wrong_arguments_come_at_once() -> None:
    with pytest.raises(UserError) as caught:
        stubs.Pairs(2.5, every_n_steps=0, view="near")  # type: ignore[arg-type]
    assert [line.partition(":")[0] for line in caught.value.lines] == [
        "Pairs.pairs", "Pairs.every_n_steps", "Pairs.view",
    ]  # fmt: skip


def test_arguments_are_taken_as_a_config_takes_them() -> None:
    callback = stubs.Pairs(4.0, every_n_steps=np.int64(7), layers=["projection"])  # type: ignore[arg-type]
    assert len(callback.ids[0]) == 4
    assert callback.options == {"pairs": 4, "prefix": "pairs", "every_n_steps": 7, "layers": ["projection"]}
    assert (callback.layers_given, stubs.Pairs().layers_given) == (True, False)


def test_prompts_without_a_tokenizer_are_named_where_the_callback_is_constructed() -> None:
    line = (
        "zero_shot/named: its prompts need a tokenizer, and a vocabulary of None words is not open_clip's (49408); "
        "pass the callback tokenizer=…"
    )
    with pytest.warns(UserWarning, match="its prompts need a tokenizer") as caught:
        stubs.Named(model=stubs.StubModel(), tokenizer=None)
    assert [(str(w.message), w.filename) for w in caught] == [(line, __file__)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stubs.Named(model=stubs.StubModel(), tokenizer=stubs.Words())
        stubs.Named(tokenizer=None)  # its model, and what belongs to that, are found later
        stubs.Pairs(model=stubs.StubModel())  # has no prompts


def test_what_the_base_would_overwrite_is_refused_by_name() -> None:
    """A method or default of the class under a name of the base's own attributes would never be seen."""

    class Method(stubs.Pairs):
        def name(self, row: int) -> str:
            return f"pairs/{row}"

    class Default(stubs.Pairs):
        view = "native"
        layers = (1, 2)

    for cls, names in ((Method, ["name"]), (Default, ["layers", "view"])):
        with pytest.raises(UserError) as caught:
            cls()
        assert caught.value.lines == tuple(
            f"{cls.__module__}.{cls.__name__} defines {name}, which every benchmark has as an attribute of its own: "
            f"give it another name, or set self.{name} after super().__init__()"
            for name in names
        )


def test_callbacks_are_found_in_the_trainers_order(tmp_path: Path) -> None:
    callbacks = [stubs.Named(), stubs.Pairs()]
    trainer = pl.Trainer(callbacks=list(callbacks), logger=False, enable_checkpointing=False, accelerator="cpu")
    assert perceptual_callbacks(trainer) == callbacks
