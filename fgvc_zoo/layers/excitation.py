"""One squeeze, several excitations: every branch weighs the channels in its own way (OSME: Sun et al., arXiv 1806.05372)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ParallelLinear(nn.Module):
    """P linear layers side by side: (B, P, in_features) -> (B, P, out_features).

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
    """m_p = sigmoid(W2_p relu(W1_p z)): P channel weightings from one squeezed map.

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
