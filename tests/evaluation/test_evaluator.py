# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import random
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stubs
import torch
from random_images import random_image

from clip_align.errors import RunError, UserError
from clip_align.evaluation.features import Features
from clip_align.evaluation.inputs import CachedImages, input_images, normalized, read_images
from clip_align.evaluation.items import Items
from clip_align.evaluation.prepare import images_per_event
from clip_align.evaluation.stimulus import Stimulus
from tests.fake_clock import Clock


class Counting(stubs.StubModel):
    """Counts what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []
        self.texts = 0

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(images))
        assert not self.training
        assert not torch.is_grad_enabled()
        return super().encode_image(images)

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        self.texts += len(tokens)
        return super().encode_text(tokens)


def test_every_distinct_image_is_encoded_once_in_fixed_batches(tmp_path: Path) -> None:
    model = Counting()
    callbacks = [stubs.Pairs(), stubs.Named(), stubs.Pairs(name="again")]
    stubs.evaluated(callbacks, stubs.evaluated_model(model), tmp_path, batch_size=32)
    distinct = 16 + 6  # pairs, and the six of named that are not among them
    assert model.batches == [32, 32, 24]
    assert sum(model.batches) == 4 * distinct == images_per_event(callbacks, stubs.SIZE)
    assert model.texts == 6


def test_features_are_the_models_own(tmp_path: Path) -> None:
    seen: list[Features] = []

    class Seen(stubs.Named):
        def items(self, features: Features) -> Items:
            seen.append(features)
            return super().items(features)

    under_test = stubs.evaluated_model()
    made, _ = stubs.evaluator([Seen()], under_test, tmp_path, batch_size=7)
    made.evaluate(0, ["zero_shot/named"], contextlib.nullcontext)
    from clip_align.evaluation.views import cut

    tiles = cut(random_image("named/3"), "tiles", stubs.SIZE, 4, "named/3")
    under_test.model.eval()
    with torch.no_grad():
        expected = under_test.model.encode_image(normalized(torch.from_numpy(tiles), under_test))  # type: ignore[operator]
        words = under_test.model.encode_text(under_test.tokenizer(["a disc", "the disc here"]))  # type: ignore[operator,misc]
    unit = torch.nn.functional.normalize
    assert seen[0][["named/3"]].shape == (1, 4, 12)
    assert np.allclose(seen[0][["named/3"]][0], expected, atol=1e-6)
    assert np.allclose(seen[0].prompts[1], unit(unit(words, dim=-1).mean(dim=0), dim=-1), atol=1e-6)


def test_an_event_leaves_no_trace(tmp_path: Path) -> None:
    class Careless(stubs.Pairs):
        def items(self, features: Features) -> Items:
            torch.rand(3), np.random.rand(3), random.random()
            return super().items(features)

    under_test = stubs.evaluated_model()
    under_test.model.tower[1].eval()  # frozen by intent
    modes = [m.training for m in under_test.model.modules()]
    made, _ = stubs.evaluator([Careless()], under_test, tmp_path)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index,union-attr]
    made.evaluate(0, ["human/pairs"], contextlib.nullcontext)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # type: ignore[index,arg-type]
    assert before[2] == random.getstate()
    assert [m.training for m in under_test.model.modules()] == modes
    assert torch.is_grad_enabled()


def test_modes_come_back_after_an_error_too(tmp_path: Path) -> None:
    class Fails(stubs.StubModel):
        def encode_image(self, images: torch.Tensor) -> torch.Tensor:
            raise ValueError("no")

    model = Fails()
    made, _ = stubs.evaluator([stubs.Pairs()], stubs.evaluated_model(model), tmp_path)
    with pytest.raises(RunError, match="encoding: ValueError: no"):
        made.evaluate(0, ["human/pairs"], contextlib.nullcontext)
    assert all(m.training for m in model.modules())


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (stubs.ConstantModel, "the model gives all images the same features"),
        (stubs.BrokenModel, "the model's features of the images are not finite"),
    ],
)
def test_a_model_that_cannot_be_scored_is_null_with_a_reason(tmp_path: Path, model: Any, reason: str) -> None:
    fields = stubs.evaluated([stubs.Pairs(), stubs.Named()], stubs.evaluated_model(model()), tmp_path)
    assert fields == {
        "human/pairs/srocc": None,
        "human/pairs/srocc/reason": reason,
        "zero_shot/named/srocc": None,
        "zero_shot/named/srocc/reason": reason,
    }


def test_unknown_prompt_words_are_null_with_that_reason_and_nothing_is_encoded(tmp_path: Path) -> None:
    model = Counting()
    under_test = stubs.evaluated_model(model, stubs.Words(unknown=["star", "disc", "ring"]))
    fields = stubs.evaluated([stubs.Named()], under_test, tmp_path)
    assert fields == {
        "zero_shot/named/srocc": None,
        "zero_shot/named/srocc/reason": "3 prompt words are unknown to the tokenizer: star, disc, ring",
    }
    assert model.batches == []


def test_the_record_introduces_each_benchmark_once_then_its_numbers(tmp_path: Path) -> None:
    made, record = stubs.evaluator([stubs.Pairs(every_n_steps=4)], stubs.evaluated_model(), tmp_path)
    for step in (0, 4, 6):
        made.evaluate(step, ["human/pairs"], contextlib.nullcontext)
    assert [line["kind"] for line in record.lines] == ["benchmark", "evaluation", "evaluation", "evaluation"]
    about = record.lines[0]
    assert (about["key"], about["version"], about["n"], about["panel"]) == ("human/pairs", 1, 8, "alignment")
    assert about["options"]["every_n_steps"] == 4
    assert about["scores"][0]["name"] == "srocc"
    assert "compute" not in about["scores"][0]
    assert {"time/evaluation_seconds", "time/evaluation_fraction"} <= set(record.lines[1])
    assert record.lines[1]["human/pairs/srocc"] == record.lines[2]["human/pairs/srocc"]
    assert sorted(record.items) == [("human/pairs", 0), ("human/pairs", 4), ("human/pairs", 6)]


def test_the_number_of_items_follows_once_the_model_can_be_evaluated(tmp_path: Path) -> None:
    class LateStarter(stubs.StubModel):
        ready = False

        def encode_image(self, images: torch.Tensor) -> torch.Tensor:
            return super().encode_image(images if self.ready else torch.zeros_like(images))

    under_test = stubs.evaluated_model(LateStarter())
    made, record = stubs.evaluator([stubs.Pairs()], under_test, tmp_path)
    for step in range(4):
        under_test.model.ready = step > 1
        made.evaluate(step, ["human/pairs"], contextlib.nullcontext)
    assert [line["n"] for line in record.lines if line["kind"] == "benchmark"] == [None, 8]


def test_prompts_need_the_projection(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="zero_shot/named: decisions by prompts need the projection; remove its layers"):
        stubs.evaluator([stubs.Named(layers=(1,))], stubs.evaluated_model(), tmp_path)


def test_a_layer_that_is_not_there_is_refused_before_step_0(tmp_path: Path) -> None:
    line = "human/pairs: layers: no layer 1; this model's image tower has no accessible layers"
    with pytest.raises(UserError, match=line):
        stubs.evaluator([stubs.Pairs(layers=(1,))], stubs.evaluated_model(), tmp_path)


class TakesTwoSeconds(stubs.StubModel):
    """For a forward pass, by the clock that it is given."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        self.clock.now += 2.0
        return super().encode_image(images)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock(1000.0)
    monkeypatch.setattr("clip_align.evaluation.evaluator.time", made)
    return made


def times(line: dict[str, Any]) -> tuple[float, float]:
    return line["time/evaluation_seconds"], line["time/evaluation_fraction"]


def test_time_is_that_of_evaluation_and_its_share_since_training_began(tmp_path: Path, clock: Clock) -> None:
    model = stubs.evaluated_model(TakesTwoSeconds(clock))
    made, record = stubs.evaluator([stubs.Pairs()], model, tmp_path)
    clock.now += 100.0  # preparation does not count
    made.begin()
    made.evaluate(0, ["human/pairs"], contextlib.nullcontext)
    assert times(record.lines[-1]) == (2.0, 1.0)
    clock.now += 6.0
    made.evaluate(1, ["human/pairs"], contextlib.nullcontext)
    assert times(record.lines[-1]) == (2.0, pytest.approx(0.4))


def test_the_share_of_time_includes_listeners(tmp_path: Path, clock: Clock) -> None:
    """But those of the present event, whose line is written before them."""

    def listener(step: int, scores: object) -> None:
        clock.now += 3.0

    model = stubs.evaluated_model(TakesTwoSeconds(clock))
    made, record = stubs.evaluator([stubs.Pairs()], model, tmp_path, listeners=[listener])
    made.begin()
    for step in (0, 1):
        made.evaluate(step, ["human/pairs"], contextlib.nullcontext)
        clock.now += 3.0
    assert times(record.lines[-1]) == (2.0, pytest.approx(0.7))  # 2 + 3 and 2 of 10 s


def test_listeners_hear_of_an_event_once_it_is_recorded(tmp_path: Path) -> None:
    heard: list[tuple[int, int, Any]] = []
    listeners = [lambda step, scores: heard.append((step, len(record.lines), scores["human/pairs/srocc"]))]
    made, record = stubs.evaluator([stubs.Pairs()], stubs.evaluated_model(), tmp_path, listeners=listeners)
    made.evaluate(5, ["human/pairs"], contextlib.nullcontext)
    assert heard == [(5, 2, record.lines[1]["human/pairs/srocc"])]


def test_two_benchmarks_of_one_key_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="human/pairs: two callbacks have this key; give one of them another name="):
        stubs.evaluator([stubs.Pairs(), stubs.Pairs()], stubs.evaluated_model(), tmp_path)


def test_one_id_for_two_different_images_is_refused(tmp_path: Path) -> None:
    class Other(stubs.Pairs):
        def stimuli(self) -> Any:
            for stimulus in super().stimuli():
                yield replace(stimulus, load=partial(random_image, stimulus.id, 30, 30))

    with pytest.raises(
        UserError, match="human/other and human/pairs name the stimulus pairs/a0 and make it differently"
    ):
        stubs.evaluator([stubs.Pairs(), Other(name="other")], stubs.evaluated_model(), tmp_path)


@pytest.mark.parametrize(("names", "line"), [((), "names no stimuli"), (("a", "b", "a"), "stimulus a is named twice")])
def test_stimuli_are_named_once(tmp_path: Path, names: tuple[str, ...], line: str) -> None:
    class Odd(stubs.Pairs):
        def stimuli(self) -> Any:
            return (Stimulus(name, partial(random_image, name)) for name in names)

    with pytest.raises(UserError, match=line):
        stubs.evaluator([Odd()], stubs.evaluated_model(), tmp_path)


def test_batches_of_bytes_and_floats_mix() -> None:
    bytes_ = np.full((2, 1, 4, 4, 3), 51, np.uint8)
    floats = np.full((2, 1, 4, 4, 3), 0.2, np.float32)
    sources = [CachedImages(bytes_, "native"), CachedImages(floats, "native")]
    mixed = input_images(sources, read_images(sources, np.array([[0, 1], [1, 0], [0, 0]])), 4, torch.device("cpu"))
    assert mixed.dtype == torch.float32
    assert torch.allclose(mixed, torch.tensor(0.2))
    only = input_images(sources, read_images(sources, np.array([[0, 1], [0, 0]])), 4, torch.device("cpu"))
    assert only.dtype == torch.uint8
    a, b = (normalized(x, stubs.evaluated_model()) for x in (mixed[:1], only[:1]))
    assert torch.allclose(a, b, atol=1e-6)
    assert torch.allclose(a, torch.tensor((0.2 - 0.5) / 0.25), atol=1e-6)


def test_the_models_memory_format_is_respected() -> None:
    plain, last = stubs.evaluated_model(), stubs.evaluated_model()
    last.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    pixels = torch.zeros(2, stubs.SIZE, stubs.SIZE, 3, dtype=torch.uint8)
    assert normalized(pixels, plain).is_contiguous()
    assert normalized(pixels, last).is_contiguous(memory_format=torch.channels_last)


def test_the_runs_precision_is_used_and_features_are_float32(tmp_path: Path) -> None:
    seen: list[torch.dtype] = []

    class Half(stubs.StubModel):
        def encode_image(self, images: torch.Tensor) -> torch.Tensor:
            features = super().encode_image(images)
            seen.append(features.dtype)
            return features

    made, record = stubs.evaluator([stubs.Pairs()], stubs.evaluated_model(Half()), tmp_path)
    made.evaluate(0, ["human/pairs"], partial(torch.autocast, "cpu", torch.bfloat16))
    assert set(seen) == {torch.bfloat16}
    assert record.items["human/pairs", 0]["value"].dtype == np.float64


def test_a_benchmark_may_require_float32_beside_others_in_the_runs_precision(tmp_path: Path) -> None:
    class Exact(stubs.Pairs):
        full_precision = True

    under_test = stubs.evaluated_model()
    alone = stubs.evaluated([Exact(name="exact")], under_test, tmp_path)
    made, record = stubs.evaluator([stubs.Pairs(), Exact(name="exact")], under_test, tmp_path)
    made.evaluate(0, ["human/pairs", "human/exact"], partial(torch.autocast, "cpu", torch.bfloat16))
    assert record.scores()["human/exact/srocc"] == alone["human/exact/srocc"]
    exact, rough = (record.items[f"human/{name}", 0]["value"] for name in ("exact", "pairs"))
    assert 0 < np.abs(exact - rough).max() < 0.1


def test_the_same_images_in_other_numbers_of_tiles_are_other_images(tmp_path: Path) -> None:
    class Tiled(stubs.Pairs):
        def __init__(self, tiles: int, **base: Any) -> None:
            super().__init__(**base)
            self.tiles = tiles

    callbacks = [Tiled(2, name="two"), Tiled(4, name="four"), stubs.Pairs(name="others", prefix="others")]
    expected: dict[str, Any] = {}
    for callback in callbacks:
        expected |= stubs.evaluated([callback], stubs.evaluated_model(), tmp_path)
    model = Counting()
    assert stubs.evaluated(callbacks, stubs.evaluated_model(model), tmp_path) == pytest.approx(expected)
    assert sum(model.batches) == 16 * (2 + 4 + 4) == images_per_event(callbacks, stubs.SIZE)


def test_tiles_beside_whole_images_in_one_benchmark_are_refused(tmp_path: Path) -> None:
    class Both(stubs.Pairs):
        def stimuli(self) -> Any:
            for number, stimulus in enumerate(super().stimuli()):
                yield Stimulus(stimulus.id, stimulus.load, "native" if number else "tiles")

    line = r"human/pairs: some of its stimuli are seen as 4 tiles and some as one image \(native\)"
    with pytest.raises(UserError, match=line):
        stubs.evaluator([Both()], stubs.evaluated_model(), tmp_path)


def test_the_smallest_requested_batch_size_counts(tmp_path: Path) -> None:
    model = Counting()
    callbacks = [stubs.Pairs(batch_size=16), stubs.Named(batch_size=24)]
    stubs.evaluated(callbacks, stubs.evaluated_model(model), tmp_path, batch_size=32)
    assert max(model.batches) == 16


def test_a_compiled_models_graph_stays_that_of_training(tmp_path: Path) -> None:
    """Else training would run in a graph for batches of any size from the first event on, and so in other numbers."""
    compiled: list[list[Any]] = []

    def backend(graph: Any, inputs: list[Any]) -> Any:
        image_list = (i for i in inputs if isinstance(i, torch.Tensor) and i.shape[1:] == batch.shape[1:])
        compiled.append([tuple(i.shape) for i in image_list])
        return graph.forward

    model = stubs.StubModel()
    model.tower.compile(backend=backend)
    batch = torch.rand(8, 3, stubs.SIZE, stubs.SIZE)
    model.encode_image(batch)
    stubs.evaluated([stubs.Pairs()], stubs.evaluated_model(model), tmp_path, batch_size=24)
    model.encode_image(batch)
    assert compiled == [[(8, 3, stubs.SIZE, stubs.SIZE)]]
