# SPDX-License-Identifier: Apache-2.0
"""A tokenizer of whole words for the tiny model: its vocabulary is made from the training captions.

A caption costs a microsecond or two (open_clip's byte-pair tokenizer: some 85), and an embedding
table of a few thousand words leaves the tiny model tiny. The price: a word that the captions did not
have is unknown, which `WordTokenizer.unknown` tells before anything is scored.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import torch

PAD, START, UNKNOWN = 0, 1, 2
FIRST_WORD = 3
SPECIAL_IDS = 4  # pad, start, unknown and, behind all words, end
# Thai and Lao, Myanmar, Khmer, kana, Han: written without blanks between words
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\uff66-\uff9f\U00020000-\U0003ffff"
)
# vowels and tones above, below and behind their letters: they stay with them
_MARKS = "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u102b-\u103e\u17b4-\u17d3\u3099\u309a"
_ASCII_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_WORD = re.compile(rf"[^\W_{_UNSPACED}]+(?:['’][^\W_{_UNSPACED}]+)*|[^\W_][{_MARKS}]*")


def split_words(text: str) -> list[str]:
    """The words of a text in lower case: runs of letters and digits, with apostrophes inside.

    In scripts that put no blanks between words each character is one: a whole caption would be a word of its own.
    """
    return (_ASCII_WORD if text.isascii() else _WORD).findall(text.lower())


class WordTokenizer:
    """Texts to word ids, callable like open_clip's tokenizers; picklable, made again from ``words``.

    Ids: 0 pad, 1 start, 2 unknown, then the words in their order, and last the end. The end has the
    largest id because open_clip's text tower reads its embedding where the id is largest.
    """

    def __init__(self, words: Sequence[str], context: int) -> None:
        if context < 3:
            raise ValueError(f"context must hold start, a word and end: at least 3, not {context}")
        self.words: tuple[str, ...] = tuple(words)
        self.context_length = context
        self._ids = {word: number for number, word in enumerate(self.words, FIRST_WORD)}
        if len(self._ids) != len(self.words):
            raise ValueError("the words of a vocabulary must differ")

    @classmethod
    def from_captions(cls, captions: Iterable[str], size: int, context: int) -> WordTokenizer:
        """The commonest ``size`` words of ``captions``, by count, then alphabetically: order does not matter."""
        counts: Counter[str] = Counter()
        for caption in captions:
            counts.update(split_words(caption))
        ranked = sorted(counts, key=lambda word: (-counts[word], word))  # words of equal count alphabetically
        return cls(ranked[:size], context)

    @property
    def vocab_size(self) -> int:
        """Number of ids: the words and the four special ones."""
        return len(self.words) + SPECIAL_IDS

    @property
    def sot_token_id(self) -> int:
        """Id that every text starts with."""
        return START

    @property
    def eot_token_id(self) -> int:
        """Id that every text ends with, the largest of all."""
        return self.vocab_size - 1

    def encode(self, text: str) -> list[int]:
        """Ids of the words of one text, without start, end and padding."""
        ids = self._ids
        return [ids.get(word, UNKNOWN) for word in split_words(text)]

    def __call__(self, texts: str | Sequence[str], context_length: int | None = None) -> torch.Tensor:
        """Ids int64 [N, context]: start, words, end, padding; a longer text loses its last words."""
        texts = [texts] if isinstance(texts, str) else texts
        context = context_length or self.context_length
        rows = np.full((len(texts), context), PAD, dtype=np.int64)
        for row, text in zip(rows, texts, strict=True):
            ids = [START, *self.encode(text)[: context - 2], self.eot_token_id]  # room for start and end
            row[: len(ids)] = ids
        return torch.from_numpy(rows)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of one row of ids; unknown words read ``?``, start, end and padding are left out."""
        special = {PAD, START, self.eot_token_id}
        return " ".join("?" if i == UNKNOWN else self.words[i - FIRST_WORD] for i in map(int, ids) if i not in special)

    def unknown(self, texts: Iterable[str]) -> list[str]:
        """Words of ``texts`` that are not in the vocabulary, each once, in order of appearance."""
        found = dict.fromkeys(word for text in texts for word in split_words(text))
        return [word for word in found if word not in self._ids]
