# SPDX-License-Identifier: Apache-2.0
"""The classes that can be evaluated by prompts: one rule for unknown words in all zero-shot benchmarks.

Templates with a word that the tokenizer does not know are dropped first, then classes with one. The remaining classes
are evaluated, with the chance that follows from their number; with fewer than three the benchmark is null.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clip_align.evaluation.features import Features
from clip_align.evaluation.model_info import ModelInfo
from clip_align.metrics.accuracy import NO_CHOICE, choices, choices_and_first

__all__ = ["FEWEST_CLASSES", "KnownClasses", "known_classes"]

FEWEST_CLASSES = 3  # with two, the texture bias corrected for guesses would divide by K - 2 = 0
NAMED_WORDS = 5  # unknown words that a reason lists


@dataclass(frozen=True, eq=False)
class KnownClasses:
    """The classes of a benchmark whose prompts the model's tokenizer knows.

    names: of all classes, in the benchmark's order. kept: numbers of the known ones, ascending. prompts: their texts.
    note: what is left out, as text; empty if nothing is. reason: why too few classes are known, else None.
    """

    names: tuple[str, ...]
    kept: tuple[int, ...]
    prompts: Mapping[str, tuple[str, ...]]
    note: str = ""
    reason: str | None = None

    def __len__(self) -> int:
        return len(self.kept)

    @property
    def chance(self) -> float:
        """Accuracy of guessing among the known classes; among all if none is known."""
        return 1 / len(self.kept or self.names)  # a null benchmark still describes its scores

    @property
    def complete(self) -> bool:
        """Whether every class is known."""
        return len(self.kept) == len(self.names)

    def unit(self, text: str) -> str:
        """A score's unit together with what is left out: ``58 images, Wilson; 58 of 100 classes``."""
        return f"{text}; {self.note}" if self.note else text

    def among(self, labels: Sequence[int] | NDArray[np.integer]) -> NDArray[np.bool_]:
        """bool [N]: which of the labels [N] (numbers of classes) belong to a known class."""
        return np.isin(np.asarray(labels), np.asarray(self.kept, dtype=np.int64))

    def right(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """The right decisions [N] about images with these labels: the labels."""
        return labels

    def decisions(self, features: Features, ids: Sequence[str]) -> NDArray[np.signedinteger]:
        """Decisions about the stimuli ``ids`` [N] as numbers among all classes; -1 for none.

        Each is the class whose prompts are nearest by cosine to the image's embedding, averaged over its tiles.
        """
        return self._among_all(choices(_averaged(features, ids), features.prompts))

    def decisions_and_first(
        self, features: Features, ids: Sequence[str], right: NDArray[np.int64], count: int
    ) -> tuple[NDArray[np.signedinteger], NDArray[np.bool_]]:
        """`decisions`, and whether the right class is among the first ``count`` known ones of the stimuli ``ids`` [N].

        Args:
            features: with the prompts of the known classes.
            ids: of the stimuli.
            right: numbers [N] of the right classes among all; known ones.
            count: of classes that are looked at.
        """
        among_known = np.searchsorted(np.asarray(self.kept, dtype=np.int64), right)
        chosen, first = choices_and_first(_averaged(features, ids), features.prompts, among_known, count)
        return self._among_all(chosen), first

    def _among_all(self, chosen: NDArray[np.signedinteger]) -> NDArray[np.signedinteger]:
        """Decisions [N] among the known classes as numbers among all classes; -1 for none."""
        # of all classes, not of the known ones: among these the numbers are
        kind = np.int8 if len(self.names) <= np.iinfo(np.int8).max else np.int16
        numbers = np.asarray(self.kept, dtype=kind)  # from a number among the known classes to one among all
        return np.where(chosen >= 0, numbers[np.maximum(chosen, 0)], NO_CHOICE).astype(kind)


def _averaged(features: Features, ids: Sequence[str]) -> NDArray[np.floating]:
    """Embeddings [N, D] of stimuli, averaged over their tiles."""
    images = features[ids]  # [N, V, D]
    return np.asarray(images[:, 0] if images.shape[1] == 1 else images.mean(axis=1))


def known_classes(classes: Mapping[str, str], templates: Sequence[str], model: ModelInfo | None = None) -> KnownClasses:
    """The classes and templates whose words the model's tokenizer knows.

    Where every template has an unknown word, the bare class is the prompt.

    Args:
        classes: text of a class in prompts (``a bus``) by its name (``bus``), in the benchmark's order.
        templates: prompts with ``{}`` for the class, such as ``a photo of {}``.
        model: the model under evaluation; None: every word is known.
    """
    unknown_words: Callable[[list[str]], list[str]] = model.unknown if model is not None else lambda texts: []
    # templates are tested without their class, whose words count against the class alone
    usable = [template for template in templates if not unknown_words([template.replace("{}", " ")])]
    texts = {name: tuple(t.replace("{}", text) for t in usable or ["{}"]) for name, text in classes.items()}
    names = tuple(classes)
    unknown = {name: unknown_words(list(texts[name])) for name in names}
    kept = tuple(number for number, name in enumerate(names) if not unknown[name])
    prompts = {names[number]: texts[names[number]] for number in kept}
    if len(kept) < FEWEST_CLASSES:
        words = list(dict.fromkeys(word for found in unknown.values() for word in found))
        named = ", ".join(words[:NAMED_WORDS]) + (", …" if len(words) > NAMED_WORDS else "")
        reason = (
            f"of its {len(names)} classes {len(kept) or 'none'} {'has' if len(kept) == 1 else 'have'} words that the "
            f"tokenizer knows, at least {FEWEST_CLASSES} are needed; unknown: {named}"
        )
        return KnownClasses(names, kept, prompts, reason=reason)
    return KnownClasses(names, kept, prompts, _left_out(len(kept), len(names), len(usable), len(templates)))


def _left_out(classes: int, all_classes: int, templates: int, all_templates: int) -> str:
    parts = [f"{classes} of {all_classes} classes"] if classes < all_classes else []
    if templates < all_templates:
        parts.append(f"{templates} of {all_templates} templates" if templates else "bare class names for templates")
    return ", ".join(parts) + " (the others have unknown words)" if parts else ""
