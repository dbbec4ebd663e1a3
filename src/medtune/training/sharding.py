"""Distribute a model over processes: replicated (DDP) or sharded (FSDP2)."""

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


def prepare_distributed(head: nn.Module, accelerator: Accelerator) -> nn.Module:
    """Replicate or shard a model over the launched processes.

    accelerate's own FSDP2 needs a torch optimizer on the model's weights and does not support CPUs;
    here the fp32 masters are optimized, so only its settings are used.

    Args:
        head: Forward pass; changed in place by sharding: its parameters are then `DTensor`s.
        accelerator: The accelerator with the launch settings.

    Raises:
        InputError: FSDP version 1, or FSDP settings that belong in the experiment.
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


def is_sharded(head: nn.Module) -> bool:
    """Return whether the parameters are sharded, so that a forward pass needs all processes."""
    return isinstance(head, FSDPModule)


@contextmanager
def gather_parameters(head: nn.Module) -> Iterator[None]:
    """Gather all parameters in every process, which can then run forward passes alone."""
    units = [module for module in head.modules() if isinstance(module, FSDPModule)]
    for unit in units:
        unit.set_reshard_after_forward(False, recurse=False)
        unit.unshard()
    try:
        yield
    finally:
        for unit in units:
            unit.reshard()
            # The root keeps its gathered parameters, as its backward pass begins at once.
            unit.set_reshard_after_forward(unit is not units[0], recurse=False)


def gather_tensor(tensor: Tensor) -> Tensor:
    """Return the full tensor; for a sharded one all processes must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shard_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Shard a full tensor like another one."""
    tensor = tensor.to(like.device)
    if isinstance(like, DTensor):
        return distribute_tensor(tensor, like.device_mesh, like.placements)
    return tensor


def gather_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gather the full tensors on the CPU."""
    return {name: gather_tensor(tensor.detach()).cpu() for name, tensor in tensors.items()}


def shard_all_like(tensors: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Shard full tensors like those of the same name."""
    with torch.no_grad():
        return {name: shard_like(tensor, like[name]) for name, tensor in tensors.items()}
