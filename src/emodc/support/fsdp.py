"""Weights that several processes hold together, each a part of every one (FSDP).

Zhao et al., "PyTorch FSDP", VLDB 2023, by torch's ``fully_shard``. A weight that is split is a
DTensor; all processes must ask for its whole at the same points.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def shard(network: nn.Module, blocks: Iterable[nn.Module]) -> None:
    """Split a network's weights, gradients and so its optimizer's moments over all processes.

    Args:
        network: all weights are trained, and are the same in every process.
        blocks: its parts, in order; the weights of one at a time are put together to be used.
    """
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    device = next(network.parameters()).device.type
    mesh = init_device_mesh(device, (torch.distributed.get_world_size(),))
    for part in (*blocks, network):
        fully_shard(part, mesh=mesh)


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor put together from the parts of all processes; itself if it is not split."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def split_like(weight: Tensor, tensor: Tensor) -> Tensor:
    """Return the part of a tensor that this process has of a weight, as a DTensor if that is."""
    if not isinstance(weight, DTensor):
        return tensor
    return distribute_tensor(tensor.to(weight.device), weight.device_mesh, weight.placements)
