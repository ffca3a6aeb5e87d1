# SPDX-License-Identifier: Apache-2.0
"""The fraction of caption words that the model's tokenizer does not know, tested before step 0."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from clip_align.errors import Problem, UserError, visible
from clip_align.models.words import split_words

SAMPLED = 2000  # number of captions that are tested
MOST_UNKNOWN = 0.5  # fraction of their words above which training is refused


def unknown_words(captions: Iterable[str], unknown: Callable[[list[str]], list[str]]) -> str | None:
    """A line about the fraction of words that a tokenizer does not know; None if it knows all.

    Args:
        captions: a sample of them.
        unknown: from texts to their words that are not in the tokenizer's vocabulary, each once.

    Raises:
        UserError: the fraction is above `MOST_UNKNOWN`.
    """
    captions = list(captions)
    words = Counter(word for caption in captions for word in split_words(caption))
    missing = unknown(captions)
    count, total = sum(words[word] for word in missing), max(1, words.total())  # occurrences, not distinct words
    if not count:
        return None
    line = (
        f"{count / total:.1%} of the words in {len(captions):,} captions are unknown to the model's tokenizer "
        f"(first: {visible(missing[0][:40])})"
    )
    if count / total > MOST_UNKNOWN:
        what = f"{line}; raise model.vocabulary, or take model.tokenizer=open_clip, which knows parts of words"
        raise UserError(Problem("data", what))
    return f"data: {line}; it sees one and the same word for all of them: raise model.vocabulary for fewer"
