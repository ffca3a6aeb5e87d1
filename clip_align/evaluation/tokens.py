# SPDX-License-Identifier: Apache-2.0
"""Token ids of prompts, each text tokenized once per run."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch

from clip_align.errors import RunError
from clip_align.evaluation.evaluated_model import EvaluatedModel

# Token ids [context] of each text, by model. Weak: a model that is no longer used takes its texts along.
_TOKENS: WeakKeyDictionary[EvaluatedModel, dict[str, torch.Tensor]] = WeakKeyDictionary()


def tokenized(evaluated_model: EvaluatedModel, texts: list[str]) -> torch.Tensor:
    """Token ids [N, context] of the texts; each text is tokenized once per run."""
    if evaluated_model.tokenizer is None:
        raise RunError("prompts need a tokenizer, and the model has none")
    known = _TOKENS.setdefault(evaluated_model, {})
    new = [text for text in texts if text not in known]
    if new:
        known.update(zip(new, evaluated_model.tokenizer(new), strict=True))
    rows = [known[text] for text in texts]
    if len({len(row) for row in rows}) > 1:  # padded to the longest text of a batch, not to a fixed length
        return evaluated_model.tokenizer(texts)
    return torch.stack(rows)
