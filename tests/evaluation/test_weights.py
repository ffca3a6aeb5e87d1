# SPDX-License-Identifier: Apache-2.0
"""A second set of weights in one event: its scores under a suffix, the model's own weights as they were."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stubs
import torch
from torch import nn

from clip_align.evaluation import encode
from clip_align.evaluation.evaluator import EvaluationSettings
from clip_align.evaluation.weights import swapped


def average(model: nn.Module) -> dict[str, torch.Tensor]:
    """Stands in for averaged weights: those of another seed."""
    return {name: p.detach().clone() for name, p in stubs.StubModel(seed=1).named_parameters()}


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def both(model: nn.Module, first: str = "raw") -> dict[str, Any]:
    ema = average(model)
    sets = {"raw": contextlib.nullcontext, "ema": lambda: swapped(model, ema)}
    return {first: sets.pop(first), **sets}


def test_a_second_set_has_its_own_keys_and_its_own_numbers(tmp_path: Path) -> None:
    callbacks = [stubs.Pairs(), stubs.Named()]
    alone = [stubs.evaluated(callbacks, stubs.evaluated_model(stubs.StubModel(seed)), tmp_path) for seed in (0, 1)]
    model = stubs.StubModel(0)
    before = state(model)
    made, record = stubs.evaluator(callbacks, stubs.evaluated_model(model), tmp_path, weights=both(model))
    scores = made.evaluate(0, [c.key for c in callbacks], contextlib.nullcontext)
    fields = record.scores()
    for key in ("human/pairs/srocc", "zero_shot/named/srocc"):
        assert fields[key] == alone[0][key]
        assert fields[f"{key}@ema"] == alone[1][key] != fields[key]
        assert fields[f"{key}@ema/low"] == alone[1][f"{key}/low"]
    assert scores is not None
    assert scores["human/pairs/srocc@ema"] == alone[1]["human/pairs/srocc"]
    assert set(record.items["human/pairs", 0]) == {"value", "value@ema"}
    assert same(state(model), before)


def test_plain_keys_are_of_the_first_set_and_the_benchmark_line_names_it(tmp_path: Path) -> None:
    model = stubs.StubModel(0)
    made, record = stubs.evaluator([stubs.Pairs()], stubs.evaluated_model(model), tmp_path, weights=both(model, "ema"))
    made.evaluate(0, ["human/pairs"], contextlib.nullcontext)
    fields = record.scores()
    assert record.lines[0]["weights"] == "ema"
    assert {"human/pairs/srocc", "human/pairs/srocc@raw"} <= set(fields)
    assert fields["human/pairs/srocc"] == stubs.evaluated(
        [stubs.Pairs()], stubs.evaluated_model(stubs.StubModel(1)), tmp_path
    )["human/pairs/srocc"]  # fmt: skip


def test_without_sets_the_line_names_raw(tmp_path: Path) -> None:
    made, record = stubs.evaluator([stubs.Pairs()], stubs.evaluated_model(), tmp_path)
    made.evaluate(0, ["human/pairs"], contextlib.nullcontext)
    assert record.lines[0]["weights"] == "raw"


def test_images_are_read_once_for_all_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = encode.read_images
    monkeypatch.setattr(encode, "read_images", lambda s, rows, *a: read.append(len(rows)) or original(s, rows, *a))
    model = stubs.StubModel(0)
    stubs.evaluated([stubs.Pairs()], stubs.evaluated_model(model), tmp_path, weights=both(model), batch_size=32)
    assert sum(read) == 16 * 4


def test_weights_come_back_to_the_bit_after_an_error_and_stay_the_same_objects(tmp_path: Path) -> None:
    model = stubs.StubModel(0)
    before, objects, ema = state(model), list(model.parameters()), average(model)
    places = [p.data_ptr() for p in model.parameters()]
    kept = {name: tensor.clone() for name, tensor in ema.items()}

    def fails() -> None:
        with swapped(model, ema):
            assert same({n: p.detach() for n, p in model.named_parameters()}, kept)
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert same(state(model), before)
    assert same(ema, kept)
    assert all(a is b for a, b in zip(objects, model.parameters(), strict=True))
    assert places == [p.data_ptr() for p in model.parameters()]


@pytest.mark.parametrize(
    ("tensors", "line"),
    [
        ({"projection.weights": torch.zeros(1)}, "projection.weights is no parameter or buffer of StubModel"),
        (
            {"projection.bias": torch.zeros(3)},
            r"projection.bias is \(3,\) torch.float32 on cpu; the model needs",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_nothing_changes(tensors: dict[str, torch.Tensor], line: str) -> None:
    model = stubs.StubModel(0)
    before = state(model)
    with pytest.raises(ValueError, match=line), swapped(model, tensors):
        pass
    assert same(state(model), before)


def test_a_set_may_copy_instead_of_exchange(tmp_path: Path) -> None:
    model = stubs.StubModel(0)
    ema = average(model)

    @contextlib.contextmanager
    def copied() -> Iterator[None]:
        own = state(model)
        model.load_state_dict(ema)
        yield
        model.load_state_dict(own)

    fields = [
        stubs.evaluated([stubs.Pairs()], stubs.evaluated_model(model), tmp_path, weights=sets)
        for sets in (both(model), {"raw": contextlib.nullcontext, "ema": copied})
    ]
    assert fields[0] == fields[1]


@pytest.mark.parametrize("weights", [{}, {"E M A": contextlib.nullcontext}, {"a/b": contextlib.nullcontext}])
def test_names_of_sets_fit_into_keys(tmp_path: Path, weights: Any) -> None:
    with pytest.raises(ValueError, match="give sets named by lower-case letters, digits, underscores"):
        EvaluationSettings(tmp_path, weights=weights)


def test_prompts_are_tokenized_once_a_run_and_embedded_once_an_event(tmp_path: Path) -> None:
    class Words(stubs.Words):
        texts = 0

        def __call__(self, texts: list[str]) -> torch.Tensor:
            self.texts += len(texts)
            return super().__call__(texts)

    class Counting(stubs.StubModel):
        texts = 0

        def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
            self.texts += len(tokens)
            return super().encode_text(tokens)

    words, model = Words(), Counting()
    callbacks = [stubs.Named(), stubs.Named(name="other")]
    made, _ = stubs.evaluator(callbacks, stubs.evaluated_model(model, words), tmp_path)
    for step, due in enumerate((callbacks, callbacks[:1], callbacks)):
        made.evaluate(step, [c.key for c in due], contextlib.nullcontext)
    assert words.texts == 6
    assert model.texts == 3 * 6


def test_a_tokenizer_that_pads_to_the_longest_text_of_a_batch(tmp_path: Path) -> None:
    class Ragged(stubs.Words):
        def __call__(self, texts: list[str]) -> torch.Tensor:
            found = super().__call__(texts)
            return found[:, : int(found.ne(0).sum(dim=1).max())]

    under_test = stubs.evaluated_model(stubs.StubModel(), Ragged())
    once = stubs.evaluated([stubs.Named()], under_test, tmp_path, batch_size=4)
    assert once == stubs.evaluated([stubs.Named()], under_test, tmp_path, batch_size=4)
    assert once["zero_shot/named/srocc"] is not None
