"""How a model lies in several processes: whole in each (DDP), or a share in each (FSDP2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import FullyShardedDataParallelPlugin, parse_flag_from_env
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from medtune.core.errors import InputError

T = TypeVar("T", bound=Tensor)


def share_out(head: nn.Module, accelerator: Accelerator) -> nn.Module:
    """Lay a model out among the processes as they were launched.

    accelerate's own FSDP2 wants a torch optimizer on the model's weights and leaves CPUs out; the
    fp32 masters are optimized here, so only its settings are taken.

    Args:
        head: Changed in place where it is sharded: its parameters are then `DTensor`s.
        accelerator: As launched.

    Raises:
        InputError: FSDP of the first version, or settings of it that an experiment makes.
    """
    if accelerator.num_processes == 1 or not parse_flag_from_env("ACCELERATE_USE_FSDP"):
        prepared: nn.Module = accelerator.prepare(head)
        return prepared
    plugin = FullyShardedDataParallelPlugin()
    if plugin.fsdp_version != 2:
        raise InputError("FSDP of version 1", expected="fsdp_version: 2 (FSDP_VERSION=2)")
    if plugin.activation_checkpointing:
        raise InputError(
            "activation checkpointing asked of FSDP", expected="training.recompute = true"
        )
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    offload: OffloadPolicy = plugin.cpu_offload or OffloadPolicy()
    assert isinstance(offload, (OffloadPolicy, CPUOffloadPolicy))
    units = {name for m in head.modules() for name in getattr(m, "_no_split_modules", None) or ()}
    for module in head.modules():
        if type(module).__name__ in units:
            fully_shard(
                module,
                mesh=mesh,
                reshard_after_forward=bool(plugin.reshard_after_forward),
                offload_policy=offload,
            )
    fully_shard(head, mesh=mesh, offload_policy=offload)
    return head


def sharded(head: nn.Module) -> bool:
    """Tell whether every forward pass needs all processes."""
    return isinstance(head, FSDPModule)


@contextmanager
def gathered(head: nn.Module) -> Iterator[None]:
    """Hold a model whole in every process, which may then go forward alone."""
    units = [module for module in head.modules() if isinstance(module, FSDPModule)]
    for unit in units:
        unit.set_reshard_after_forward(False, recurse=False)
        unit.unshard()
    try:
        yield
    finally:
        for unit in units:
            unit.reshard()
            # The root keeps what it gathered: its backward pass begins at once.
            unit.set_reshard_after_forward(unit is not units[0], recurse=False)


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor of this process; all processes must ask for a sharded one."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shared_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Lay a whole tensor out as another one lies."""
    tensor = tensor.to(like.device)
    if isinstance(like, DTensor):
        return distribute_tensor(tensor, like.device_mesh, like.placements)
    return tensor


def all_whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gather tensors on the CPU."""
    return {name: whole(tensor.detach()).cpu() for name, tensor in tensors.items()}


def all_shared_like(tensors: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Lay whole tensors out as those of the same name lie."""
    with torch.no_grad():
        return {name: shared_like(tensor, like[name]) for name, tensor in tensors.items()}
