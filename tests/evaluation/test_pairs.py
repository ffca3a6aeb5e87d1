# SPDX-License-Identifier: Apache-2.0
"""Declared pairs are reduced where they are encoded: the distances of embeddings, in a fraction of the memory."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stubs
import torch
from random_images import random_image

from clip_align.callbacks.base import Features, Items, Stimulus
from clip_align.errors import UserError
from clip_align.evaluation.encode import EncodedFeatures, encode
from clip_align.evaluation.evaluated_model import EvaluatedModel
from clip_align.evaluation.evaluation_mode import evaluating
from clip_align.evaluation.event import StimulusUnion
from clip_align.evaluation.reading import Reading
from clip_align.evaluation.reduce_pairs import reduced
from clip_align.metrics.vectors import unit
from clip_align.models.layers import layer_features
from clip_align.perception.distances import DISTANCES, PairDifferences
from clip_align.processes.ranks import Ranks


class Declared(stubs.Pairs):
    """The pairs of `stubs.Pairs`, declared; keeps what it is given."""

    def __init__(self, pairs: int = 8, **base: Any) -> None:
        super().__init__(**{"pairs": pairs, "name": "declared", **base})
        self.seen: list[Features] = []

    def pairs(self) -> list[tuple[str, str]]:
        return list(zip(*self.ids, strict=True))

    def items(self, features: Features) -> Items:
        self.seen.append(features)
        distance = features.pairs.distance("euclidean")
        return Items(-distance, np.arange(len(distance)) % 5)


class Kept(stubs.Pairs):
    """The same without declaring them: embeddings come to the host."""

    def __init__(self, **base: Any) -> None:
        super().__init__(**{"name": "kept", **base})
        self.seen: list[Features] = []

    def items(self, features: Features) -> Items:
        self.seen.append(features)
        return super().items(features)


@pytest.mark.parametrize("batch_size", [1, 7, 32, 256])
def test_distances_are_those_of_the_embeddings(tmp_path: Path, batch_size: int) -> None:
    declared, kept = Declared(), Kept()
    stubs.evaluated([declared, kept], stubs.evaluated_model(), tmp_path, batch_size=batch_size)
    a, b = (kept.seen[0][ids] for ids in kept.ids)
    assert a.shape == (8, 4, 12)
    for name, distance in DISTANCES.items():
        # single images and batches of 32 differ in the last bits of float32
        assert declared.seen[0].pairs.distance(name) == pytest.approx(distance(a, b), rel=1e-5), name


def test_in_one_batch_distances_are_the_same_numbers(tmp_path: Path) -> None:
    declared, kept = Declared(), Kept()
    stubs.evaluated([declared, kept], stubs.evaluated_model(), tmp_path, batch_size=256)
    a, b = (kept.seen[0][ids] for ids in kept.ids)
    for name, distance in DISTANCES.items():
        assert declared.seen[0].pairs.distance(name) == pytest.approx(distance(a, b), rel=1e-12), name


def test_each_image_is_encoded_once_whoever_reads_it(tmp_path: Path) -> None:
    class Counting(stubs.StubModel):
        images = 0

        def encode_image(self, images: torch.Tensor) -> torch.Tensor:
            self.images += len(images)
            return super().encode_image(images)

    model = Counting()
    stubs.evaluated([Declared(), Kept(), Declared(name="again")], stubs.evaluated_model(model), tmp_path, batch_size=32)
    assert model.images == 16 * 4


def tower() -> EvaluatedModel:
    """A transformer of two blocks on 16 patches and a class token."""
    from open_clip.model import CLIP

    vision = {"image_size": 16, "patch_size": 4, "layers": 2, "width": 32, "head_width": 16}
    text = {"context_length": 4, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}
    torch.manual_seed(0)
    return EvaluatedModel(
        CLIP(embed_dim=12, vision_cfg=vision, text_cfg=text), 16, (0.5,) * 3, (0.25,) * 3, stubs.Words()
    )


def tokens_of(under_test: EvaluatedModel, callback: stubs.Pairs, layer: int) -> np.ndarray:
    """All tokens [2, P, T, width] of both images of the pairs, seen whole."""
    from clip_align.evaluation.inputs import normalized
    from clip_align.evaluation.views import cut

    images = [cut(random_image(name), "squash", 16, 1, "")[0] for ids in callback.ids for name in ids]
    with evaluating(under_test.model):
        found = layer_features(under_test.model, normalized(torch.from_numpy(np.stack(images)), under_test), [layer])[
            layer
        ]
    return found.numpy().reshape(2, -1, *found.shape[1:])


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_layers_distances_are_the_authors(tmp_path: Path, layer: int) -> None:
    """Per feature the mean over tokens of the squared difference, divided by its mean over all pairs."""
    under_test, declared = tower(), Declared(layers=(layer,), view="squash")
    stubs.evaluated([declared], under_test, tmp_path)
    a, b = tokens_of(under_test, declared, layer).astype(np.float64)
    square = ((a - b) ** 2).mean(axis=1)  # [P, width]
    flat_a, flat_b = unit(a.reshape(8, -1)), unit(b.reshape(8, -1))
    expected = {
        "normalised_euclidean": np.sqrt((square / square.mean(axis=0)).mean(axis=1)),
        "euclidean": np.sqrt(((a - b) ** 2).mean(axis=(1, 2))),
        "cosine": 1 - (flat_a * flat_b).sum(axis=1),
    }
    features = declared.seen[0]
    assert features.shape == (17, 32)
    for name, distances in expected.items():
        assert features.pairs.distance(name) == pytest.approx(distances, rel=1e-4), name  # type: ignore[arg-type]
    assert isinstance(features.pairs, PairDifferences)
    assert features.pairs.dots[:, 0] == pytest.approx((a * b).sum(axis=(1, 2)), rel=1e-4)
    places = (a - b)[:, 1:].reshape(8, -1) ** 2  # without the class token, which is constant in layer 0
    flattened = np.sqrt((places / places.mean(axis=0)).mean(axis=1))
    assert np.abs(flattened - expected["normalised_euclidean"]).max() > 0.01  # another measure


@pytest.mark.parametrize(("tokens", "shape"), [("all", (17, 32)), ("class", (1, 32)), ("mean", (1, 32))])
def test_tokens_and_shape(tmp_path: Path, tokens: Any, shape: tuple[int, int]) -> None:
    under_test, kept = tower(), Kept(layers=(2,), view="squash", tokens=tokens)
    stubs.evaluated([kept], under_test, tmp_path)
    features = kept.seen[0]
    every = tokens_of(under_test, kept, 2)
    expected = {"all": every, "class": every[:, :, :1], "mean": every[:, :, 1:].mean(axis=2, keepdims=True)}[tokens]
    assert features.shape == shape
    found = np.stack([features[ids].reshape(8, 1, *shape)[:, 0] for ids in kept.ids])
    assert np.allclose(found, expected, atol=1e-5)


def test_all_is_every_layer_there_is(tmp_path: Path) -> None:
    declared = Declared(layers=("projection", "all"))
    fields = stubs.evaluated([declared], tower(), tmp_path)
    names = {f"human/declared/srocc{suffix}" for suffix in ("", "@layer_0", "@layer_1", "@layer_2")}
    assert names == {key for key in fields if key.rpartition("/")[2].startswith("srocc")}
    assert len(declared.seen) == 4


def test_a_class_token_there_is_not_is_refused_before_step_0(tmp_path: Path) -> None:
    from clip_align.models.tiny import build_tiny

    tiny = EvaluatedModel(build_tiny(8, 16, 64, 4), 16, (0.5,) * 3, (0.25,) * 3)
    line = "human/pairs: tokens is class, but this model's image tower has no class token; give all or mean"
    with pytest.raises(UserError) as error:
        stubs.evaluator([stubs.Pairs(layers=(2,), tokens="class")], tiny, tmp_path)
    assert str(error.value) == line


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (stubs.ConstantModel, "the model gives both images of every pair the same features"),
        (stubs.BrokenModel, "the model's features of the images are not finite"),
    ],
)
def test_a_model_without_a_score_is_null_with_a_reason(tmp_path: Path, model: Any, reason: str) -> None:
    fields = stubs.evaluated([Declared()], stubs.evaluated_model(model()), tmp_path)
    assert fields == {"human/declared/srocc": None, "human/declared/srocc/reason": reason}


def test_of_paired_images_there_are_differences_only(tmp_path: Path) -> None:
    class Careless(Declared):
        def items(self, features: Features) -> Items:
            return Items(features[self.ids[0]].mean(axis=(1, 2)), np.arange(8))

    fields = stubs.evaluated([Careless()], stubs.evaluated_model(), tmp_path)
    assert fields["human/declared/srocc"] is None
    assert re.search(
        r"failed: .*no features of pairs/a0: its pairs are in features\.pairs", fields["human/declared/srocc/reason"]
    )


def test_a_pair_of_an_unknown_image_is_refused(tmp_path: Path) -> None:
    class Wrong(Declared):
        def pairs(self) -> list[tuple[str, str]]:
            return [("pairs/a0", "pairs/c0")]

    line = "human/declared: pairs() names pairs/c0, which stimuli() does not; yield that image too"
    with pytest.raises(UserError) as error:
        stubs.evaluator([Wrong()], stubs.evaluated_model(), tmp_path)
    assert str(error.value) == line


def test_an_attribute_named_pairs_is_refused(tmp_path: Path) -> None:
    callback = stubs.Pairs()
    callback.pairs = [1, 2]  # type: ignore[assignment, method-assign]
    with pytest.raises(
        UserError, match="human/pairs: pairs is a method of benchmarks; give the attribute another name"
    ):
        stubs.evaluator([callback], stubs.evaluated_model(), tmp_path)


def test_rows_are_allocated_for_the_layers_that_want_them_only(tmp_path: Path) -> None:
    """Two benchmarks, one layer each: a layer has rows for its own benchmark's images."""
    under_test = tower()
    few, many = Kept(pairs=3, prefix="few", name="few", layers=(1,)), Kept(pairs=20, prefix="many", name="many")
    answer = answered([few, many], under_test, tmp_path)
    rows = {reading.source: len(table.values) for reading, table in answer.features.items() if table.values is not None}
    assert rows == {1: 2 * 3 * 4, "projection": 2 * 20 * 4}


def answered(callbacks: Any, under_test: EvaluatedModel, cache: Path, **settings: Any) -> EncodedFeatures:
    made, _ = stubs.evaluator(callbacks, under_test, cache)
    union = StimulusUnion(made._prepared.values())
    with evaluating(under_test.model):
        answers = encode(under_test, union.request, 32, Ranks(), contextlib.nullcontext, **settings)
    assert answers is not None
    return answers["raw"]


def test_no_map_of_tokens_is_kept(tmp_path: Path) -> None:
    """Memory of an event is pairs x width x 4 bytes a layer, whatever the number of tokens.

    So TID2013's 3,000 pairs take 3,000 x 1,024 x 4 B = 12 MB a layer of ViT-L/14's shape, .31 GB for 25 layers,
    where maps of all tokens would take 3,025 x 257 x 1,024 x 4 B = 3.2 GB a layer.
    """
    under_test, declared = tower(), Declared(pairs=40, layers=("all",), view="squash")
    answer = answered([declared], under_test, tmp_path)
    held = sum(
        table.values.nbytes
        for tables in (answer.features, answer.squares, answer.norms, answer.sizes)
        for table in tables.values()
        if table.values is not None
    )
    layers, pairs, tokens, width = 3, 40, 17, 32
    # squares of pairs, sizes of references, two norms
    assert held == layers * pairs * (4 * width + 8 * width + 8 * 2)
    assert held < layers * 2 * pairs * tokens * width * 4 / 4
    assert set(answer.squares) == {Reading(0), Reading(1), Reading(2)}


@pytest.mark.parametrize("shape", [(9, 17, 32), (9, 257, 256)])  # the second: torch splits the sum of a single image
@pytest.mark.parametrize("references", [1, 3])
def test_the_reduction_of_a_pair_does_not_depend_on_the_others(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], references: int
) -> None:
    features = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    pairs = torch.tensor([[i % references, i] for i in range(references, 9)])
    square, norms, _ = reduced(features, pairs, torch.tensor([0]))
    monkeypatch.setattr("clip_align.evaluation.reduce_pairs.CHUNK_ELEMENTS", 1)
    alone_square, alone_norms, _ = reduced(features, pairs, torch.tensor([0]))
    assert np.array_equal(square, alone_square)
    assert np.array_equal(norms, alone_norms)
    a, b = (features.double().numpy()[pairs[:, side]] for side in (0, 1))
    assert square == pytest.approx(((a - b) ** 2).mean(axis=1), rel=1e-12)
    lengths = np.stack([np.sqrt((x**2).sum(axis=(1, 2))) for x in (a, b)], axis=1)
    assert norms == pytest.approx(lengths, rel=1e-12)


class Shared(Declared):
    """All pairs have one reference, so that it falls into several batches."""

    def pairs(self) -> list[tuple[str, str]]:
        return [(self.ids[0][0], other) for other in self.ids[1]]

    def stimuli(self) -> Iterable[Stimulus]:
        for name in (self.ids[0][0], *self.ids[1]):
            yield replace(Stimulus(name, partial(random_image, name)), places="one")


def test_a_reference_of_many_pairs_is_encoded_again_in_the_next_batch(tmp_path: Path) -> None:
    few, whole = Shared(pairs=40), Shared(pairs=40)
    stubs.evaluated([few], stubs.evaluated_model(), tmp_path, batch_size=8)
    stubs.evaluated([whole], stubs.evaluated_model(), tmp_path, batch_size=256)
    for name in DISTANCES:
        assert few.seen[0].pairs.distance(name) == pytest.approx(whole.seen[0].pairs.distance(name), rel=1e-5)
