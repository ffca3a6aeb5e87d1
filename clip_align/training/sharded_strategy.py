# SPDX-License-Identifier: Apache-2.0
"""Training with the model's parameters, gradients and optimizer state divided over the ranks: ``trainer=fsdp``.

Lightning's ``ModelParallelStrategy`` is not used: it refuses storage options and goes past the ``CheckpointIO`` when it
loads, so that our writer (atomic, checked, in the background) could not be used; its optimizer cannot hold the logit
scale, which is whole, beside DTensors; and one file in the format of every other run is not what it loads optimizers
from. What is needed beside DDP's ranks and barriers is below.

The optimizer holds this rank's parts as plain tensors. AdamW acts on each element by itself, so that is what it would
do to DTensors, in one fused kernel, with the same state under the same numbers as in every other run.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from clip_align.models.sharding import gathered, gathering_apart, is_divided, own_part, part_of, shard_model
from clip_align.training.checkpoint_files import load

AGREE_S = 10.0  # after a failure, for the other ranks to have failed too
APART = timedelta(minutes=2)  # for each exchange that follows


class ShardedStrategy(DDPStrategy):
    """DDP's processes; the model under ``module.model`` is sharded, the loss's own parameters are whole everywhere.

    Args:
        backend: nccl or gloo, of the process group that has been joined.
        timeout: of process groups that Lightning makes.
        reshard_after_forward: see `sharding.shard_model`.
    """

    def __init__(self, backend: str, timeout: timedelta, reshard_after_forward: bool) -> None:
        super().__init__(process_group_backend=backend, timeout=timeout)
        self._reshard_after_forward = reshard_after_forward
        self._channels_last: set[str] = set()  # names of parameters that have this layout on one rank, and in files
        self._parts: list[tuple[nn.Parameter, nn.Parameter]] = []  # a sharded parameter, and what the optimizer has
        self._apart: Any = None  # process group for the time after a failure

    def model_to_device(self) -> None:
        """Shard where the weights were drawn, block by block: the whole model is never on one GPU."""
        from torch.distributed.device_mesh import init_device_mesh

        module = self._module
        if not self._parts:
            group: Any = dist.new_group(backend="gloo", timeout=self._timeout)
            for tensor in (*module.parameters(), *module.buffers()):  # as DDP does: all begin with the first rank's
                dist.broadcast(tensor.detach(), src=0, group=group)
            dist.destroy_process_group(group)
            self._apart = dist.new_group(backend="gloo", timeout=APART)
            self._channels_last = {name for name, p in module.named_parameters() if not p.is_contiguous()}
            mesh = init_device_mesh(self.root_device.type, (dist.get_world_size(),))
            shard_model(module.model, mesh, self._reshard_after_forward)
        super().model_to_device()

    def configure_ddp(self) -> None:
        """Nothing is wrapped."""

    def setup_optimizers(self, trainer: pl.Trainer) -> None:
        """The module's optimizer, with this rank's parts in place of the sharded parameters."""
        super().setup_optimizers(trainer)
        (optimizer,) = self.optimizers
        self._parts = []
        for group in optimizer.param_groups:
            group["params"] = [self._part(parameter) for parameter in group["params"]]

    def _part(self, parameter: nn.Parameter) -> nn.Parameter:
        if not is_divided(parameter):
            return parameter
        part = nn.Parameter(own_part(parameter), parameter.requires_grad)
        self._parts.append((parameter, part))
        return part

    def post_backward(self, closure_loss: Tensor) -> None:
        """Give the optimizer its gradients; those of whole parameters are averaged over the ranks here.

        Once a batch, also where several are accumulated: the mean of what has been averaged already is itself.
        """
        for parameter, part in self._parts:
            part.grad = None if parameter.grad is None else own_part(parameter.grad)
        for gradient in (p.grad for p in self._whole() if p.grad is not None):
            dist.all_reduce(gradient)
            gradient /= dist.get_world_size()

    def _whole(self) -> list[nn.Parameter]:
        """Parameters that every rank has, where they have gradients."""
        return [p for p in self._module.parameters() if p.grad is not None and not is_divided(p)]

    def clip(self, limit: float) -> Tensor:
        """Scale the gradients down to a norm of ``limit``; returns the norm over all ranks' parts before."""
        parts, whole = [p for _, p in self._parts if p.grad is not None], self._whole()
        square = get_total_norm([p.grad for p in parts if p.grad is not None]).square().to(self.root_device)
        dist.all_reduce(square)
        of_whole = get_total_norm([p.grad for p in whole if p.grad is not None]).to(self.root_device)
        norm = (square + of_whole.square()).sqrt()
        clip_grads_with_norm_([*parts, *whole], limit, norm)
        return norm

    def optimizer_step(self, *arguments: Any, **options: Any) -> Any:
        """The parts' gradients are the parameters' own memory: nothing may hold them when the next ones are made."""
        result = super().optimizer_step(*arguments, **options)
        for _, part in self._parts:
            part.grad = None
        return result

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Whole tensors in host memory on the first rank, nothing elsewhere; all ranks take part."""
        state = self._on_first(self._module.state_dict())
        return {name: self._laid_out(tensor, name) for name, tensor in state.items()}

    def optimizer_state(self, optimizer: Any) -> dict[str, Any]:
        """Likewise, in the form that AdamW has on one rank."""
        optimizer = getattr(optimizer, "_optimizer", optimizer)  # Lightning wraps it
        content, sharded = optimizer.state_dict(), {id(part): parameter for parameter, part in self._parts}
        names = {id(parameter): name for name, parameter in self._module.named_parameters()}
        parameters = [p for group in optimizer.param_groups for p in group["params"]]  # in the order of their numbers
        state: dict[int, dict[str, Any]] = {}
        for number, of_parameter in content["state"].items():
            like = sharded.get(id(parameters[number]))
            whole = {k: v if like is None or not v.ndim else gathered(v, like) for k, v in of_parameter.items()}
            # a fused AdamW reads moments in the order of their memory: it has to be that of the parameter
            state[number] = {k: self._laid_out(v, names.get(id(like))) for k, v in self._on_first(whole).items()}
        return {"state": state, "param_groups": content["param_groups"]}

    def agreed(self, step: int | None) -> bool:
        """After a failure: whether all ranks have failed, and ask this about the same step.

        The time is limited, and no collective that was under way matters. Ranks that were given different answers, as
        one has been lost meanwhile, do not wait for each other for longer than `APART`.

        Args:
            step: optimizer steps that this rank's state is whole after; None where it cannot be saved.
        """
        steps: list[int | None] = [None] * dist.get_world_size(self._apart)
        try:
            dist.monitored_barrier(self._apart, timeout=timedelta(seconds=AGREE_S))
            dist.all_gather_object(steps, step, group=self._apart)
        except RuntimeError:  # one has not come
            return False
        return step is not None and set(steps) == {step}

    def gathering_apart(self) -> AbstractContextManager[None]:
        """Inside, all ranks that have `agreed` can make a checkpoint, which is the first one's."""
        return gathering_apart(self._apart)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Tensors are read from the file as they are used: a rank needs its part of most of them."""
        return load(Path(checkpoint_path), mapped=True)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """From whole tensors, as any number of ranks has saved them."""
        (optimizer,) = self.optimizers
        (content,) = checkpoint["optimizer_states"]
        sharded = {id(part): parameter for parameter, part in self._parts}
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        state = {}
        for number, of_parameter in content["state"].items():
            like = sharded.get(id(parameters[number]))
            state[number] = {k: v if like is None or not v.ndim else part_of(v, like) for k, v in of_parameter.items()}
        optimizer.load_state_dict({**content, "state": state})

    def teardown(self) -> None:
        """As DDP does, but the parts stay on their device: DTensors belong to that of their mesh."""
        self.precision_plugin.teardown()
        if self.accelerator is not None:
            self.accelerator.teardown()
        self.checkpoint_io.teardown()  # waits for what is being written

    def _laid_out(self, value: Any, name: str | None) -> Any:
        """In the layout that the parameter of this name has on one rank."""
        if name not in self._channels_last or value.ndim != 4:  # AdamW counts a parameter's steps in a scalar
            return value
        return value.contiguous(memory_format=torch.channels_last)

    @property
    def _module(self) -> Any:
        return self.lightning_module

    def _on_first(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Of every tensor the whole, one after another; kept on the first rank only."""
        found: dict[str, Any] = {}
        for name, tensor in tensors.items():
            whole = gathered(own_part(tensor), tensor) if isinstance(tensor, Tensor) else tensor
            if self.global_rank == 0:
                found[name] = whole.cpu() if isinstance(whole, Tensor) else whole
        return found
