# SPDX-License-Identifier: Apache-2.0
"""The gradient of a batch that does not fit into memory: gradient caching (Gao et al. 2021, arXiv 2101.06983).

A contrastive loss compares all pairs of a batch, so the mean of the gradients of its parts is not its gradient. Here
all parts, the micro-batches, are encoded twice. First without a graph, for the embeddings of the whole batch; the loss
of these gives the gradient with respect to each embedding. Then one micro-batch after another is encoded with a graph,
which passes on the gradient of its own embeddings. Memory is that of one micro-batch, and of the embeddings; the cost
is one more forward pass.

Exact needs the same embeddings both times: random states are replayed, so that dropout, patch dropout and stochastic
depth draw the same numbers, and running statistics (BatchNorm) take in each micro-batch once, the second time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from clip_align.evaluation.random_state import RandomState

MICRO_BATCHES = "micro_batches"  # the key of `MicroBatches` in a batch that is made of them
Part = TypeVar("Part")


class MicroBatches:
    """Batches that are contrasted together. No list: DDP would move all tensors in one to the device at once."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts = parts


@dataclass(frozen=True, eq=False)
class Embedded:
    """Embeddings [b, D] of images and their texts, not normalized; ``copies``: bool [b], or None for none."""

    image: Tensor
    text: Tensor
    copies: Tensor | None = None


def cached_loss(
    parts: Sequence[Part],
    encode: Callable[[Part], Embedded],
    loss: Callable[[Embedded], Tensor],
    shared: Sequence[Tensor],
    model: nn.Module,
    backward: Callable[[Tensor], None],
) -> tuple[Tensor, Tensor]:
    """The loss of all parts together, with the gradient of all but the last one already passed to the parameters.

    Args:
        parts: micro-batches of equal size, in the order of their rows in the whole batch.
        encode: of a part; called twice for each of them, under the autocast that is on now.
        loss: of the embeddings of the whole batch; may be a collective, which all ranks take part in.
        shared: parameters that ``loss`` depends on beside the embeddings.
        model: its running statistics change in the second pass only.
        backward: called for each part but the last, with a scalar whose gradient is that part's contribution; not
            under autocast. Gradients must not be averaged over ranks yet.

    Returns:
        A scalar with the value of the loss (within rounding), whose backward pass adds what is missing: the last part's
        contribution and the gradients of ``shared``. And the loss itself, without a graph.
    """
    device = next(model.parameters()).device
    states: list[RandomState] = []
    first: list[Embedded] = []
    with torch.no_grad(), _running_statistics_kept(model):
        for part in parts:
            states.append(RandomState(device))
            first.append(encode(part))
    images, texts = _leaf([one.image for one in first]), _leaf([one.text for one in first])
    trained = [parameter for parameter in shared if parameter.requires_grad]
    value = loss(Embedded(images, texts, _whole_copies(first)))
    with torch.autocast(device.type, enabled=False):  # which would do the backward pass of a float32 loss in bfloat16
        of_images, of_texts, *of_trained = torch.autograd.grad(value, [images, texts, *trained])
    result = sum((torch.sum(p * g) for p, g in zip(trained, of_trained, strict=True)), value.new_zeros(()))
    cached = zip(of_images.chunk(len(parts)), of_texts.chunk(len(parts)), strict=True)
    for number, (part, state, (of_image, of_text)) in enumerate(zip(parts, states, cached, strict=True), 1):
        state.restore()
        # the converted weights that autocast keeps belong to the part before, or to the pass without a graph
        torch.clear_autocast_cache()
        again = encode(part)
        contribution = torch.sum(again.image * of_image) + torch.sum(again.text * of_text)
        if number == len(parts):
            result = result + contribution
        else:
            with torch.autocast(device.type, enabled=False):
                backward(contribution)
        del again, contribution  # the graph of a part is gone before the next one is encoded
    return result + (value.detach() - result.detach()), value.detach()


def batch_norm_line(model: nn.Module, accumulate: int) -> tuple[str, ...]:
    """A line for the user where a model's statistics are of the micro-batches, none elsewhere.

    Args:
        model: looked at for BatchNorm.
        accumulate: micro-batches of a step.
    """
    count = len(_with_running_statistics(model))
    if accumulate == 1 or not count:
        return ()
    return (
        f"trainer.accumulate: the model has {count} BatchNorm layers, whose statistics are those of each of the "
        f"{accumulate} batches: the gradient is that of the larger batch but for this",
    )


def _leaf(parts: list[Tensor]) -> Tensor:
    """Embeddings of all parts, float32 at least: gradients of a mean over a large batch are too small for float16."""
    whole = torch.cat(parts)
    return whole.to(torch.promote_types(whole.dtype, torch.float32)).requires_grad_()


def _whole_copies(parts: Sequence[Embedded]) -> Tensor | None:
    if all(part.copies is None for part in parts):
        return None
    none = torch.zeros(len(parts[0].image), dtype=torch.bool, device=parts[0].image.device)
    return torch.cat([none if part.copies is None else part.copies for part in parts])


def _with_running_statistics(model: nn.Module) -> list[Any]:
    return [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._NormBase) and m.track_running_stats]


@contextmanager
def _running_statistics_kept(model: nn.Module) -> Iterator[None]:
    """Layers in training mode normalize by their batch meanwhile, as always, and do not take it into their average."""
    changed = [module for module in _with_running_statistics(model) if module.training]
    for module in changed:
        module.track_running_stats = False
    try:
        yield
    finally:
        for module in changed:
            module.track_running_stats = True
