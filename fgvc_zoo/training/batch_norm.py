"""Batch norms whose statistics are those of the images of all processes, so that they do not depend on how a batch is shared."""

from __future__ import annotations

import torch
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn

from fgvc_zoo._processes import share, sum_with_gradient


def share_statistics(model: nn.Module, device: torch.device) -> None:
    """Let the batch norms of a model compute over all processes, in place. Parameters, buffers and their names stay.

    On GPUs they become PyTorch's SyncBatchNorm, which exists for GPUs only, and elsewhere `ProcessBatchNorm`.
    """
    if device.type == 'cuda':
        convert_sync_batchnorm(model)
        return
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, ProcessBatchNorm(child))


class ProcessBatchNorm(nn.BatchNorm2d):
    """A batch norm over the images of all processes, each of which has as many. Maps (B, C, H, W) -> (B, C, H, W).

    Args:
        norm: The batch norm that it takes the place of, or timm's batch norm with an activation. Its tensors are shared.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats, device='meta')
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var, self.num_batches_tracked = norm.running_mean, norm.running_var, norm.num_batches_tracked
        self.training = norm.training
        self.drop, self.act = getattr(norm, 'drop', nn.Identity()), getattr(norm, 'act', nn.Identity())

    def forward(self, input: Tensor) -> Tensor:
        normalized = self._over_processes(input) if self.training else super().forward(input)
        output: Tensor = self.act(self.drop(normalized))
        return output

    def _over_processes(self, input: Tensor) -> Tensor:
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        count = x.numel() // x.shape[1] * share()[1]
        mean = sum_with_gradient(x.sum((0, 2, 3))) / count
        centred = x - mean[:, None, None]
        variance = sum_with_gradient(centred.square().sum((0, 2, 3))) / count
        self._track(mean.detach(), variance.detach() * count / max(count - 1, 1))
        normalized = centred * (variance + self.eps).rsqrt()[:, None, None]
        if self.affine:
            normalized = normalized * self.weight[:, None, None] + self.bias[:, None, None]
        return normalized.to(input.dtype)

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics as `nn.BatchNorm2d` does."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        factor = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), factor)
        self.running_var.lerp_(variance.to(self.running_var.dtype), factor)
