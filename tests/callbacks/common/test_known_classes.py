# SPDX-License-Identifier: Apache-2.0
"""Templates with unknown words go first, then classes; what is left has its own chance, named in the unit."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
import shipped
import stubs

from clip_align.callbacks.base import Features, ModelInfo, PerceptualCallback
from clip_align.callbacks.common.known_classes import known_classes
from clip_align.callbacks.noise.world_noise import WorldNoise
from clip_align.callbacks.texture.world_cue_conflict import WorldCueConflict
from clip_align.callbacks.zero_shot.world import World
from clip_align.data.world.captions import PROMPTS, with_article
from clip_align.data.world.shapes import SHAPES
from clip_align.models.words import WordTokenizer

CLASSES = {"cat": "a cat", "owl": "an owl", "bus": "a bus", "dog": "a dog"}
TEMPLATES = ("a photo of {}", "{}", "this is {}")


def model(*words: str) -> ModelInfo:
    return ModelInfo(32, ("projection",), WordTokenizer(words, 8))


def test_all_words_known() -> None:
    known = known_classes(CLASSES, TEMPLATES, model("a", "an", "photo", "of", "this", "is", *CLASSES))
    assert (known.kept, known.complete, known.chance, known.note, known.reason) == ((0, 1, 2, 3), True, 0.25, "", None)
    assert known.prompts["owl"] == ("a photo of an owl", "an owl", "this is an owl")
    assert known.unit("8 images, Wilson") == "8 images, Wilson"
    assert known.prompts == known_classes(CLASSES, TEMPLATES).prompts


def test_templates_are_dropped_before_classes() -> None:
    known = known_classes(CLASSES, TEMPLATES, model("a", "an", "this", "is", *CLASSES))
    assert known.complete
    assert known.prompts["cat"] == ("a cat", "this is a cat")
    assert known.unit("8 images") == "8 images; 2 of 3 templates (the others have unknown words)"


def test_then_classes_are_with_the_chance_of_the_rest() -> None:
    known = known_classes(CLASSES, TEMPLATES, model("a", "photo", "of", "this", "is", *CLASSES))  # no "an"
    assert (known.kept, known.chance) == ((0, 2, 3), 1 / 3)
    assert list(known.prompts) == ["cat", "bus", "dog"]
    assert known.note == "3 of 4 classes (the others have unknown words)"
    assert known.among([0, 1, 2, 1]).tolist() == [True, False, True, False]


def test_without_any_template_the_bare_class_is_the_prompt() -> None:
    known = known_classes(CLASSES, ("a photo of {}", "this is {}"), model("a", "an", *CLASSES))
    assert known.prompts["cat"] == ("a cat",)
    assert known.note == "bare class names for templates (the others have unknown words)"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("a", "cat", "bus"), "of its 4 classes 2 have words that the tokenizer knows, at least 3 are needed; "
         "unknown: an, owl, dog"),
        (("a", "cat"), "of its 4 classes 1 has words that the tokenizer knows, at least 3 are needed; "
         "unknown: an, owl, bus, dog"),
        ((), "of its 4 classes none have words that the tokenizer knows, at least 3 are needed; "
         "unknown: a, cat, an, owl, bus, …"),
    ],
)  # fmt: skip
def test_below_three_classes_nothing_is_evaluated(words: tuple[str, ...], reason: str) -> None:
    assert known_classes(CLASSES, TEMPLATES, model(*words)).reason == reason


def test_decisions_are_numbers_among_all_classes() -> None:
    known = known_classes(CLASSES, ("{}",), model("a", *CLASSES))  # cat, bus, dog
    images = np.eye(3, dtype=np.float32)[[2, 0, 1, 1]][:, None]
    images[3] = np.nan
    features = Features(images, {name: i for i, name in enumerate("abcd")}, np.eye(3, dtype=np.float32))
    decided = known.decisions(features, list("dcba"))
    assert decided.tolist() == [-1, 2, 0, 3]
    assert decided.dtype == np.int8


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "of"
    shipped.make_data(folder)
    return folder / "world"


WORDS = sorted({word for text in [*PROMPTS, *map(with_article, SHAPES)] for word in text.replace("{}", " ").split()})
UNKNOWN = {SHAPES[1], SHAPES[4], SHAPES[5], "photo"}


@pytest.mark.parametrize("kind", [World, WorldNoise, WorldCueConflict])
def test_the_worlds_benchmarks_use_the_shapes_that_have_words(
    kind: type[PerceptualCallback], world: Path, tmp_path: Path
) -> None:
    tokenizer = WordTokenizer([word for word in WORDS if word not in UNKNOWN], 8)
    callback = kind(world=world)  # type: ignore[call-arg]
    made, record = stubs.evaluator([callback], stubs.evaluated_model(tokenizer=Tokens(tokenizer)), tmp_path)
    made.evaluate(0, [callback.key], contextlib.nullcontext)
    (about,) = (line for line in record.lines if line["kind"] == "benchmark")
    units = {"World": 13 * 32, "WorldNoise": 13 * 16, "WorldCueConflict": 13 * 12}
    for score in about["scores"]:
        assert score["unit"].endswith("; 13 of 16 classes, 5 of 6 templates (the others have unknown words)")
        assert score["chance"] in (1 / 13, 0.5, None)
    assert about["scores"][0]["unit"].startswith(f"{units[kind.__name__]} ")
    assert any(score["chance"] == 1 / 13 for score in about["scores"])
    choices = record.items[callback.key, 0]
    rows = {"World": 13 * (32 + 15), "WorldNoise": 13 * 16, "WorldCueConflict": 13 * 12 * 2}
    for chosen in choices.values():
        assert len(chosen) == rows[kind.__name__]
        assert not set(chosen.tolist()) & {1, 4, 5}
        assert max(chosen) > 12  # numbers among all sixteen
    assert record.scores()[f"{callback.key}/{about['scores'][0]['name']}/reason"] if kind is WorldCueConflict else True


@pytest.mark.parametrize("kind", [World, WorldNoise, WorldCueConflict])
def test_without_words_they_are_null_with_that_reason(
    kind: type[PerceptualCallback], world: Path, tmp_path: Path
) -> None:
    callback = kind(world=world)  # type: ignore[call-arg]
    under_test = stubs.evaluated_model(tokenizer=WordTokenizer(["a", "photo", "of", SHAPES[0]], 8))
    fields = stubs.evaluated([callback], under_test, tmp_path)
    first = f"{callback.key}/{callback.scores[0].name}"
    assert fields[first] is None
    assert fields[f"{first}/reason"].startswith("of its 16 classes 1 has words that the tokenizer knows, at least 3")
    assert callback.scores[0].unit == kind(world=world).scores[0].unit  # type: ignore[call-arg]


class Tokens:
    """The words of a tokenizer, in the ids of the stub model."""

    def __init__(self, tokenizer: WordTokenizer) -> None:
        self.unknown, self._tokens = tokenizer.unknown, stubs.Words()

    def __call__(self, texts: list[str]) -> object:
        return self._tokens(texts)
