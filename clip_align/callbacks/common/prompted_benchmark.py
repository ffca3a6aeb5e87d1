# SPDX-License-Identifier: Apache-2.0
"""The common part of benchmarks that decide among named classes by prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_align.callbacks.base import Features, ModelInfo, PerceptualCallback, Score
from clip_align.callbacks.common.known_classes import KnownClasses, known_classes


class PromptedBenchmark(PerceptualCallback):
    """Decisions among classes by prompts averaged over templates, for those whose words the model's tokenizer knows.

    A subclass calls `choose_among` in its constructor and defines its scores (`scores_for`).

    Args:
        base: arguments of `PerceptualCallback`.
    """

    def __init__(self, **base: Any) -> None:
        super().__init__(**base)
        self.texts: Mapping[str, str] = {}
        self.templates: Sequence[str] = ()
        self.known: KnownClasses = known_classes({}, ())

    def choose_among(self, texts: Mapping[str, str], templates: Sequence[str]) -> None:
        """Set the classes, all of which count as known until `adapt`, and with them the scores.

        Args:
            texts: text of a class in prompts by its name, in the order of the labels.
            templates: prompts with ``{}`` for the class.
        """
        self.texts, self.templates = texts, templates
        self.known = self.known_for(None)
        self.scores = self.scores_for(self.known)

    def known_for(self, model: ModelInfo | None) -> KnownClasses:
        """The classes whose words the model's tokenizer knows; all of them for None."""
        return known_classes(self.texts, self.templates, model)

    def adapt(self, model: ModelInfo) -> str | None:
        """Restrict classes and templates to those whose words the tokenizer knows."""
        known = self.known_for(model)
        # a null benchmark describes its scores for all classes
        self.known = known if known.reason is None else self.known_for(None)
        self.scores = self.scores_for(self.known)
        return known.reason

    def scores_for(self, known: KnownClasses) -> Sequence[Score]:
        """The scores, with chance and unit for the known classes."""
        raise NotImplementedError(f"{type(self).__name__} must define scores_for()")

    def prompts(self) -> Mapping[str, Sequence[str]]:
        """Prompts of the known classes."""
        return self.known.prompts

    def decisions(self, features: Features, ids: Sequence[str]) -> NDArray[np.signedinteger]:
        """Decisions about stimuli [N] as numbers of classes; -1 for none."""
        return self.known.decisions(features, ids)
