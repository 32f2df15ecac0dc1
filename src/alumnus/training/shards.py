"""Shards: with `shard: true` each of W processes holds 1/W of the student's weights, gradients, moments and moving average.

That is torch's FSDP2 (`fully_shard`), after ZeRO stage 3 (Rajbhandari et al. 2020, arXiv 1910.02054) and FSDP (Zhao et al. 2023, arXiv
2304.11277). A unit's weights are gathered when the network comes to it, forward and backward, and dropped behind it; its gradients are
summed in the backward pass, and each process keeps the sum of its shard. Units are the blocks or stages of a timm network, and the student
itself for all the rest: stem, norms, heads. The student is the root and not its backbone, so that objectives go on calling the one and the
student's code the other by `forward_features` and the like.

FSDP2 takes the mean of the gradients. Here it is told to take the sum: see `whole.py`. What an objective trains stays whole everywhere.

A tensor that is sharded is torch's DTensor; the functions here are the only ones that look inside. Where they speak of a tensor as whole,
all processes have to call them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from alumnus.distributed import decided, is_main, summed, world_size
from alumnus.errors import ConfigError
from alumnus.models.student import Student


def shard(student: Student, *, device: torch.device) -> None:
    """Shards a student, in place: its parameters become DTensors, so who holds the old ones has to come after.

    Raises:
        ConfigError: it has a parameter without an axis, which cannot be cut.
    """
    scalars = [name for name, parameter in student.named_parameters() if parameter.ndim == 0]
    if scalars:
        raise ConfigError(
            f"shard: {student.architecture.model} has parameters of a single number without an axis ({', '.join(scalars[:3])}), which "
            "torch cannot shard; leave `shard` out, or choose another student"
        )
    student.to(memory_format=torch.contiguous_format)  # FSDP2 takes no other
    mesh = init_device_mesh(device.type, (world_size(),))
    for module in (*(unit for network in student.networks for unit in units(network)), student):
        fully_shard(module, mesh=mesh)
    for module in student.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo can only sum


def units(backbone: nn.Module) -> list[nn.Module]:
    """Returns the blocks or stages of a timm network: what stands in a row right below it, and has parameters."""
    rows = [row for row in backbone.children() if isinstance(row, nn.Sequential | nn.ModuleList)]
    return [block for row in rows for block in row if any(True for _ in block.parameters())]


def is_sharded(module: nn.Module) -> bool:
    """Whether the module went through `shard`."""
    return isinstance(module, FSDPModule)


def local(tensor: Tensor) -> Tensor:
    """Returns this process's part of a tensor, in the same memory; all of it, if it is not sharded. Without gradient."""
    part: Tensor = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    return part.detach()


def share_tensors(module: nn.Module) -> None:
    """Gives the parameters and buffers of a module, which is not sharded, the values that they have in the first process."""
    if world_size() == 1:
        return
    for tensor in module.state_dict().values():
        values = tensor.contiguous()
        dist.broadcast(values, src=0)
        tensor.copy_(values)


def gather_shards(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns tensors whole and on the CPU, in the first process; none in the others. On a GPU only one is whole at a time."""
    found = dict[str, Tensor]()
    for name, tensor in tensors.items():
        whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if is_main():
            found[name] = whole.detach().cpu()
    return found


def spread(tensors: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors that the first process gives, in every process: of those whose likes are sharded, its shard.

    Args:
        tensors: whole; what others than the first process give is not looked at.
        like: where each one goes; a tensor without one, or of another shape, is given to all as it is.
    """
    about = decided(lambda: [(name, list(t.shape), str(t.dtype)) for name, t in tensors.items()])
    found = dict[str, Tensor]()
    for name, shape, dtype in about:
        kind = getattr(torch, dtype.removeprefix("torch."))
        whole = tensors[name].contiguous() if is_main() else torch.empty(shape, dtype=kind)
        place = like.get(name)
        if isinstance(place, DTensor) and place.shape == whole.shape:
            found[name] = distribute_tensor(
                whole.to(place.device), place.device_mesh, place.placements, src_data_rank=0
            )
        else:
            dist.broadcast(whole, src=0)
            found[name] = whole
    return found


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Returns the norm of the gradient of all parameters together, (), with the shards of the other processes."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = get_total_norm([g for g in gradients if not isinstance(g, DTensor)])
    shares = [local(g) for g in gradients if isinstance(g, DTensor)]
    if not shares:
        return norm
    share = get_total_norm(shares)
    squares = summed(share.double().square()) + norm.to(share.device).double().square()
    return squares.sqrt().to(share.dtype)


def clip_gradients(parameters: Iterable[nn.Parameter], *, largest: float, norm: Tensor) -> None:
    """Scales the gradients down to a norm of `largest`, if `norm`, which they have together, is larger."""
    parameters = list(parameters)
    for kind in (False, True):  # torch takes no mixture
        clip_grads_with_norm_([p for p in parameters if isinstance(p, DTensor) is kind], largest, norm)
