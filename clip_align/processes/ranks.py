# SPDX-License-Identifier: Apache-2.0
"""What an evaluation needs of the process group: agree on failure, gather to rank 0, send back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from clip_align.errors import RunError, UserError

T = TypeVar("T")
PATIENCE = timedelta(hours=3)  # rank 0 may make stimuli or score while the others wait


class Ranks:
    """This process among the others; everything is a no-op where there is only one.

    Python objects travel over gloo, also where training uses NCCL: they live on the host.
    """

    def __init__(self) -> None:
        self.rank, self.world = 0, 1
        self._group: Any = None
        if dist.is_available() and dist.is_initialized():
            self.rank, self.world = dist.get_rank(), dist.get_world_size()
            if self.world > 1:
                self._group = dist.new_group(backend="gloo", timeout=PATIENCE)

    def together(self, work: Callable[[], T], kind: type[UserError] = RunError, what: str = "evaluation") -> T:
        """Do ``work`` on every rank; where one fails, all end with its reason instead of waiting for it.

        Args:
            work: may use collectives, as long as every rank comes to them.
            kind: what the ranks that have not failed themselves raise.
            what: names the work in the message of an error that is not a UserError.
        """
        result: T | None = None
        error: Exception | None = None
        lines: list[str] | None = None
        try:
            result = work()
        except UserError as e:
            error, lines = e, list(e.lines)
        except Exception as e:
            error, lines = e, [f"{what}: {type(e).__name__}: {e}".replace("\n", " ")]
        if self.world > 1:
            answers: list[Any] = [None] * self.world
            # before anything is raised: every rank comes here
            dist.all_gather_object(answers, lines, group=self._group)
            failed = [(rank, answer) for rank, answer in enumerate(answers) if answer]
            if failed and lines is None:
                rank, answer = failed[0]
                error = kind(*(f"rank {rank}: {line}" for line in answer))
                error.on_all_ranks = True
                raise error
        if error is not None and lines is not None:
            known = error if isinstance(error, UserError) else kind(*lines)
            known.on_all_ranks = True
            raise known from (None if known is error else error)
        return result  # type: ignore[return-value]  # an error was raised above

    def gather(self, value: T) -> list[T]:
        """The values of all ranks, on rank 0; an empty list elsewhere."""
        if self.world == 1:
            return [value]
        answers: list[Any] | None = [None] * self.world if self.rank == 0 else None
        dist.gather_object(value, answers, dst=0, group=self._group)
        return answers or []

    def broadcast(self, value: T) -> T:
        """Rank 0's value, everywhere."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._group)
        return box[0]

    def broadcast_tensors(self, tensors: Iterable[torch.Tensor]) -> None:
        """Overwrite tensors in place with rank 0's, over the group that training uses; those on the host over gloo."""
        for tensor in tensors if self.world > 1 else ():
            whole = tensor.contiguous()  # itself where it is
            dist.broadcast(whole, src=0, group=self._group if tensor.device.type == "cpu" else None)
            if whole is not tensor:
                tensor.copy_(whole)
