# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pickle

import pytest
import torch

from clip_align.models.words import WordTokenizer, split_words

CAPTIONS = ["A photo of a red star.", "a red disc", "the star"]


def test_ids_by_hand() -> None:
    tokenizer = WordTokenizer(["a", "red", "star"], context=6)
    assert tokenizer.vocab_size == 7
    assert tokenizer(["A red, STAR!", "a blue star", ""]).tolist() == [
        [1, 3, 4, 5, 6, 0],
        [1, 3, 2, 5, 6, 0],
        [1, 6, 0, 0, 0, 0],
    ]
    assert tokenizer("a").dtype == torch.int64


def test_end_is_kept_and_is_the_largest_id_when_a_text_is_cut() -> None:
    tokenizer = WordTokenizer(["a", "red", "star"], context=4)
    ids = tokenizer(["a red star a red star"])
    assert ids.tolist() == [[1, 3, 4, 6]]
    assert int(ids.argmax()) == 3
    assert tokenizer(["a red"], context_length=5).shape == (1, 5)


def test_commonest_words_do_not_depend_on_the_order_of_captions() -> None:
    forwards = WordTokenizer.from_captions(CAPTIONS, size=3, context=8)
    backwards = WordTokenizer.from_captions(reversed(CAPTIONS), size=3, context=8)
    assert forwards.words == backwards.words == ("a", "red", "star")


def test_unknown_words_are_named_once() -> None:
    tokenizer = WordTokenizer.from_captions(CAPTIONS, size=100, context=8)
    assert tokenizer.unknown(["a photo of a frog", "a frog and a truck"]) == ["frog", "and", "truck"]
    assert tokenizer.unknown(CAPTIONS) == []


def test_decode_is_the_way_back() -> None:
    tokenizer = WordTokenizer.from_captions(CAPTIONS, size=100, context=10)
    assert tokenizer.decode(tokenizer("A photo of a blue star")[0]) == "a photo of a ? star"


def test_pickled_copy_gives_the_same_ids() -> None:
    tokenizer = WordTokenizer.from_captions(CAPTIONS, size=100, context=8)
    assert torch.equal(pickle.loads(pickle.dumps(tokenizer))(CAPTIONS), tokenizer(CAPTIONS))


def test_words_keep_apostrophes_and_other_alphabets() -> None:
    assert split_words("The dog's_ball, größer: 12 Пёс") == ["the", "dog's", "ball", "größer", "12", "пёс"]


@pytest.mark.parametrize(("words", "context"), [(["a", "a"], 8), (["a"], 2)])
def test_impossible_vocabularies_are_refused(words: list[str], context: int) -> None:
    with pytest.raises(ValueError, match=r"differ|at least 3"):
        WordTokenizer(words, context)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("红色的圆", ["红", "色", "的", "圆"]),
        ("赤い丸、large", ["赤", "い", "丸", "large"]),
        ("ラーメン", ["ラ", "ー", "メ", "ン"]),
        ("a红b", ["a", "红", "b"]),
        ("สีแดง", ["สี", "แ", "ด", "ง"]),  # a vowel above its letter stays with it
        ("빨간 원", ["빨간", "원"]),  # Korean has blanks
        ("Кот, größer, l’été", ["кот", "größer", "l’été"]),
        ("𠀀𠀁", ["𠀀", "𠀁"]),
    ],
)
def test_scripts_without_blanks_are_split_by_character(text: str, words: list[str]) -> None:
    assert split_words(text) == words


def test_captions_without_blanks_share_their_words() -> None:
    """As whole captions each would be a word of its own, unknown in every other one."""
    colours, shapes = "红蓝绿黄", "圆方星月"
    captions = [f"一个{c}色的{s}形" for c in colours for s in shapes]
    tokenizer = WordTokenizer.from_captions(captions[:8], size=16, context=14)
    assert tokenizer.unknown(captions[:8]) == []
    assert tokenizer.unknown(captions) == ["绿", "黄"]
