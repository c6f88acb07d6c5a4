"""One squeeze, multiple excitations: every branch has its own channel weights (OSME: Sun et al., arXiv 1806.05372)."""

from __future__ import annotations

import torch
from timm.models import register_notrace_function
from torch import Tensor, nn
from torch.nn import functional as F

from fgvc_zoo._errors import UserError


class ParallelLinear(nn.Module):
    """P independent linear layers: (B, P, in_features) -> (B, P, out_features).

    Args:
        count: P.
        in_features: Width of each layer's input.
        out_features: Width of each layer's output.
    """

    def __init__(
            self,
            count: int,
            in_features: int,
            out_features: int,
            *,
            device: torch.device | str | None = None,
            dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(in_features, out_features, device=device, dtype=dtype) for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([layer(x[:, index]) for index, layer in enumerate(self.layers)], 1)


class MultiExcitation(nn.Module):
    """m_p = sigmoid(W2_p relu(W1_p z)): P sets of channel weights from one squeezed map.

    Squeezed maps (B, channels) -> excitations (B, count, channels), in (0, 1).

    Args:
        channels: C.
        count: P.
        reduction: The bottleneck has C // reduction channels, at least 1.
    """

    def __init__(
            self,
            channels: int,
            count: int,
            reduction: int = 16,
            *,
            device: torch.device | str | None = None,
            dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.count = count
        hidden = max(channels // reduction, 1)
        self.reduce = nn.Linear(channels, count * hidden, device=device, dtype=dtype)  # every W1_p at once
        self.expand = ParallelLinear(count, hidden, channels, device=device, dtype=dtype)

    def forward(self, squeezed: Tensor) -> Tensor:
        hidden = F.relu(self.reduce(squeezed)).unflatten(1, (self.count, -1))
        return self.expand(hidden).sigmoid()


class PositionPool(nn.Module):
    """P weighted sums of a map over its positions, with a weight a channel and position: (B, C, h, w) -> (B, P, C).

    The weights are a grid that is enlarged or reduced to the map's size, so a map may have any. They begin as the mean over positions.

    Args:
        channels: C.
        count: P.
        rows: Height of the grid.
        columns: Width of the grid.
    """

    def __init__(
            self,
            channels: int,
            count: int,
            rows: int,
            columns: int,
            *,
            device: torch.device | str | None = None,
            dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((count, channels, rows, columns), 1 / (rows * columns), device=device, dtype=dtype))

    def weights(self, height: int, width: int) -> Tensor:
        """The weights of a map of height x width cells, (P, C, height, width)."""
        scale = self.weight.shape[2] * self.weight.shape[3] / (height * width)  # keeps the sum over positions
        return F.interpolate(self.weight, (height, width), mode='bilinear', align_corners=False) * scale

    def forward(self, features: Tensor) -> Tensor:
        weights = self.weights(features.shape[2], features.shape[3]).to(features.dtype)
        return torch.einsum('bcx,pcx->bpc', features.flatten(2), weights.flatten(2))


class FlattenedMaps(nn.Module):
    """A map (B, C, height, width) times each of its excitations (B, P, C), flattened: (B, P, C * height * width).

    Args:
        height: Height of the map in cells; the layer after this one is made for it.
        width: Width of the map in cells.

    Raises:
        UserError: The map has another size.
    """

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height = height
        self.width = width

    def forward(self, features: Tensor, excitations: Tensor) -> Tensor:
        require_size(features, self.height, self.width)
        return (features.unsqueeze(1) * excitations[:, :, :, None, None]).flatten(2)


@register_notrace_function  # a leaf for symbolic tracing, which cannot follow a choice by size
def require_size(features: Tensor, height: int, width: int) -> None:  # no underscore: private functions do not become leaves
    if not torch.jit.is_scripting() and features.shape[2:] != (height, width):
        raise UserError(f"branch_pool 'flatten' is tied to maps of {height}x{width} cells and the input gives one of "
                        f"{features.shape[2]}x{features.shape[3]}: use another input size, set map_size, or choose branch_pool 'avg'")
