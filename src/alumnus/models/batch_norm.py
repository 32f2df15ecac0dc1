"""Batch norm over several processes: mean and variance of the global batch, not of one process's share of it.

On a GPU that is torch's SyncBatchNorm. On a CPU torch has none, and what is here is the same sums in plain torch: slower, but a share may
hold one domain alone (a balanced batch of two domains in two processes does), and its statistics would be wrong for the other.

Names of parameters and buffers stay, so a student or checkpoint does not tell how many processes trained it.
"""

from __future__ import annotations

import torch
from timm.layers.norm_act import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from alumnus.distributed import summed


def synchronise(module: nn.Module, *, device: torch.device) -> None:
    """Replaces the batch norms inside a module (not itself) by those of the global batch; weights stay the same tensors."""
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            on_gpu = device.type == "cuda"
            new = convert_sync_batchnorm(child) if on_gpu else GlobalBatchNorm(child)  # type: ignore[no-untyped-call]
            module.register_module(name, new)
        else:
            synchronise(child, device=device)


class GlobalBatchNorm(nn.SyncBatchNorm):
    """SyncBatchNorm for the CPU."""

    def __init__(self, old: _BatchNorm) -> None:
        """Takes over everything of a batch norm, the activation that timm puts into it too."""
        super().__init__(old.num_features, old.eps, old.momentum, old.affine, old.track_running_stats)
        self.weight, self.bias = old.weight, old.bias
        self.running_mean, self.running_var = old.running_mean, old.running_var
        self.num_batches_tracked = old.num_batches_tracked
        self.drop: nn.Module = old.drop if isinstance(old, BatchNormAct2d) else nn.Identity()
        self.act: nn.Module = old.act if isinstance(old, BatchNormAct2d) else nn.Identity()
        self.train(old.training)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (b, C, ...) of the same shape."""
        normalised = self._normalised(x) if self.training else super().forward(x)
        activated: Tensor = self.act(self.drop(normalised))
        return activated

    def _normalised(self, x: Tensor) -> Tensor:
        axes, shape = [0, *range(2, x.ndim)], [1, -1, *[1] * (x.ndim - 2)]
        rows = x.float()
        count = summed(torch.tensor(float(x.numel() // x.shape[1])))
        mean = summed(rows.sum(axes)) / count  # (C,)
        centred = rows - mean.view(shape)
        variance = summed(centred.square().sum(axes)) / count  # (C,)
        self._keep(mean.detach(), variance.detach() * (count / (count - 1).clamp(min=1)))
        scale = (variance + self.eps).rsqrt()
        if self.affine:
            return (centred * (scale * self.weight).view(shape) + self.bias.view(shape)).to(x.dtype)
        return (centred * scale.view(shape)).to(x.dtype)

    @torch.no_grad()
    def _keep(self, mean: Tensor, variance: Tensor) -> None:
        """Moves the running statistics, with the unbiased variance, as torch does."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)
