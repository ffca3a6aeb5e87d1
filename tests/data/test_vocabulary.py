# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from clip_align.data.vocabulary import unknown_words
from clip_align.errors import UserError
from clip_align.models.words import WordTokenizer
from tests.data.stream import Make

CAPTIONS = ["a red disc", "a blue disc", "a red\x1b star"]


def test_the_fraction_counts_each_word_as_often_as_it_comes() -> None:
    tokenizer = WordTokenizer(["a", "disc", "star"], context=8)
    assert unknown_words(CAPTIONS, tokenizer.unknown) == (
        "data: 33.3% of the words in 3 captions are unknown to the model's tokenizer (first: red); it sees one and the "
        "same word for all of them: raise model.vocabulary for fewer"
    )


def test_nothing_is_reported_where_all_is_known() -> None:
    assert unknown_words(CAPTIONS, WordTokenizer.from_captions(CAPTIONS, 10, 8).unknown) is None
    assert unknown_words([], WordTokenizer(["a"], 8).unknown) is None


def test_captions_that_are_mostly_unknown_are_refused() -> None:
    with pytest.raises(UserError) as error:
        unknown_words(CAPTIONS, WordTokenizer(["a"], context=8).unknown)
    assert str(error.value) == (
        "data: 66.7% of the words in 3 captions are unknown to the model's tokenizer (first: red); raise "
        "model.vocabulary, or take model.tokenizer=open_clip, which knows parts of words"
    )


def test_any_tokenizer_that_lists_unknown_words_is_used(shards: Any, make: Make) -> None:
    shards.good(8)
    data = make(shards.folder)
    assert data.check_words() == ()  # this one cannot
    data.tokenizer = WordTokenizer(["image", "number"], 8)
    assert data.check_words()[0].startswith("data: 33.3% of the words in 8 captions are unknown")
