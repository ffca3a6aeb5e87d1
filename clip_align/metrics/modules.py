# SPDX-License-Identifier: Apache-2.0
"""The scores as torchmetrics Metrics, for training code that keeps its metrics that way; see docs/metrics.md.

States are lists of float64 and int64 tensors with the items' numbers; ``compute`` gathers them, sorts by number,
drops repeated items (a sampler's padding) and calls the pure numpy function. So the value is the same on any number
of ranks and whatever each rank saw, to the last bit, which torchmetrics' own correlations are not (float32 ranks,
a constant list gives 0). Undefined is NaN. States grow until ``reset()``.

The only module of this package that imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from clip_align.metrics import accuracy as decisions
from clip_align.metrics import correlation, noise, texture
from clip_align.metrics.estimate import Estimate

__all__ = [
    "Accuracy",
    "ContentSrocc",
    "CorrectedDrop",
    "ItemMetric",
    "Krocc",
    "Plcc",
    "Srocc",
    "TextureBias",
    "TextureBiasCorrected",
    "WithinLevelSrocc",
]

Columns = Mapping[str, NDArray[Any]]


class ItemMetric(Metric):
    """A score over numbered items. A subclass names the columns in ``columns`` and computes the score in ``value``.

    ``set_dtype``, and ``.to(dtype)`` of the metric or of a module that holds it, convert what it has seen so far, so
    that values which differ by less than the rounding of that type are tied: call ``reset()`` after them.
    """

    columns: ClassVar[Mapping[str, torch.dtype]]
    full_state_update = False  # forward() may compute a batch's value from that batch alone
    is_differentiable = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("item", *self.columns):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def value(self, columns: Columns) -> float | Estimate:
        """The score of the gathered columns, one row an item, in the order of the items' numbers."""
        raise NotImplementedError

    def update(self, item: Tensor, *values: Tensor) -> None:
        """Add items.

        Args:
            item: their numbers [n], integers; the same item has the same number on all ranks, and is counted once.
            values: one tensor [n] for each of ``columns``, in their order.

        ValueError for another number of tensors or unequal lengths.
        """
        if len(values) != len(self.columns):
            raise ValueError(f"{type(self).__name__} takes {', '.join(self.columns)}; got {len(values)} tensors")
        for name, tensor in zip(("item", *self.columns), (item, *values), strict=True):
            if tensor.shape != item.shape or item.ndim != 1:
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}, the item numbers {tuple(item.shape)}")
            # float64 at once: differences below float32's rounding decide ranks
            getattr(self, name).append(tensor.detach().to(self._kind(name)))

    def compute(self) -> Tensor:
        """The score as a float64 scalar, NaN where it is undefined."""
        _, first = np.unique(self._column("item"), return_index=True)  # sorted, so that any deal gives the same bits
        if not len(first):
            return torch.tensor(torch.nan, dtype=torch.float64)
        score = self.value({name: self._column(name)[first] for name in self.columns})
        number = score.value if isinstance(score, Estimate) else score
        return torch.tensor(torch.nan if number is None else number, dtype=torch.float64)

    def _kind(self, name: str) -> torch.dtype:
        return torch.int64 if name == "item" else self.columns[name]

    def _column(self, name: str) -> NDArray[Any]:
        state: list[Tensor] | Tensor = getattr(self, name)
        tensors = [state] if isinstance(state, Tensor) else state  # a tensor after torchmetrics has gathered
        empty = np.empty(0, dtype=np.int64 if self._kind(name) is torch.int64 else np.float64)
        return np.concatenate([empty, *(t.cpu().numpy() for t in tensors)])

    def _sync_dist(self, *args: Any, **kwargs: Any) -> None:
        """Gather. A rank that saw nothing must send an empty tensor of the right type: the default is float32."""
        for name in ("item", *self.columns):
            if not len(getattr(self, name)):
                setattr(self, name, [torch.empty(0, dtype=self._kind(name), device=self.device)])
        super()._sync_dist(*args, **kwargs)


class Srocc(ItemMetric):
    """Rank correlation; ``update(item, model, human)``; see ``correlation.srocc``."""

    columns: ClassVar[Mapping[str, torch.dtype]] = {"model": torch.float64, "human": torch.float64}
    higher_is_better = True

    def value(self, columns: Columns) -> float:
        """Score of the gathered columns."""
        return correlation.srocc(columns["model"], columns["human"])


class Plcc(Srocc):
    """Linear correlation; ``update(item, model, human)``; see ``correlation.plcc``."""

    def value(self, columns: Columns) -> float:
        """Score of the gathered columns."""
        return correlation.plcc(columns["model"], columns["human"])


class Krocc(Srocc):
    """Kendall's tau-b; ``update(item, model, human)``; see ``correlation.krocc``."""

    def value(self, columns: Columns) -> float:
        """Score of the gathered columns."""
        return correlation.krocc(columns["model"], columns["human"])


class WithinLevelSrocc(ItemMetric):
    """Mean rank correlation at equal level; ``update(item, model, human, level)``, levels as whole numbers."""

    columns: ClassVar[Mapping[str, torch.dtype]] = {**Srocc.columns, "level": torch.int64}
    higher_is_better = True

    def value(self, columns: Columns) -> float:
        """Score of the gathered columns."""
        return correlation.within_level_srocc(columns["model"], columns["human"], columns["level"])


class ContentSrocc(ItemMetric):
    """Rank correlation beyond the conditions' means; ``update(item, model, human, condition)``, whole numbers."""

    columns: ClassVar[Mapping[str, torch.dtype]] = {**Srocc.columns, "condition": torch.int64}
    higher_is_better = True

    def value(self, columns: Columns) -> float:
        """Score of the gathered columns."""
        return correlation.content_srocc(columns["model"], columns["human"], columns["condition"])


class Accuracy(ItemMetric):
    """Fraction of right decisions; ``update(item, choice, right)``, class indices, choice -1 for none."""

    columns: ClassVar[Mapping[str, torch.dtype]] = {"choice": torch.int64, "right": torch.int64}
    higher_is_better = True

    def value(self, columns: Columns) -> Estimate:
        """Score of the gathered columns."""
        return decisions.accuracy(columns["choice"], columns["right"])


class _AmongClasses(ItemMetric):
    """A score whose chance or correction depends on the number of classes that the model chooses among."""

    def __init__(self, classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.classes = classes


class TextureBias(_AmongClasses):
    """T/(S+T), NaN while the gate is closed; ``update(item, choice, shape, texture)``; see ``texture.texture_bias``.

    Neither direction is better; ``classes``: the number of classes that the model chooses among.
    """

    columns: ClassVar[Mapping[str, torch.dtype]] = dict.fromkeys(("choice", "shape", "texture"), torch.int64)

    def value(self, columns: Columns) -> Estimate:
        """Score of the gathered columns."""
        return texture.texture_bias(*_decisions(columns), classes=self.classes)


class TextureBiasCorrected(TextureBias):
    """Texture bias corrected for guesses, at least 3 classes; see ``texture.texture_bias_corrected``."""

    def value(self, columns: Columns) -> Estimate:
        """Score of the gathered columns."""
        return texture.texture_bias_corrected(*_decisions(columns), classes=self.classes)


def _decisions(columns: Columns) -> tuple[Any, Any, Any]:
    return columns["choice"], columns["shape"], columns["texture"]


class CorrectedDrop(_AmongClasses):
    """Fraction of the above-chance accuracy lost; ``update(item, clean, noisy, right)``; see ``noise.corrected_drop``.

    ``classes``: the number of classes that the model chooses among.
    """

    columns: ClassVar[Mapping[str, torch.dtype]] = dict.fromkeys(("clean", "noisy", "right"), torch.int64)
    higher_is_better = False

    def value(self, columns: Columns) -> Estimate:
        """Score of the gathered columns."""
        return noise.corrected_drop(**columns, classes=self.classes)
