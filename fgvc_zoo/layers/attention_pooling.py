"""Bilinear attention pooling: attention maps pool a feature map part by part (WS-DAN section 3.2, WS-BAN)."""

from __future__ import annotations

import torch
from timm.models import register_notrace_function
from torch import Tensor, nn


class AttentionMaps(nn.Module):
    """A 1x1 convolution, batch norm and ReLU: M attention maps from a feature map (WS-DAN equation 1).

    Maps (B, in_channels, H, W) -> (B, num_maps, H, W), >= 0.

    Args:
        in_channels: Channels of the feature map.
        num_maps: M.
    """

    def __init__(
            self,
            in_channels: int,
            num_maps: int,
            *,
            device: torch.device | str | None = None,
            dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, num_maps, 1, bias=False, device=device, dtype=dtype)
        self.bn = nn.BatchNorm2d(num_maps, eps=1e-3, device=device, dtype=dtype)
        self.act = nn.ReLU()
        nn.init.kaiming_normal_(self.conv.weight, mode='fan_out', nonlinearity='relu')

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


def bilinear_attention_pooling(features: Tensor, attention: Tensor, pool: str = 'avg') -> Tensor:
    """Pool the features once through each attention map (WS-DAN equations 2 and 3).

    G[m, c] is the mean (or the maximum) over positions of attention[m] * features[c].

    Args:
        features: (B, C, H, W), any sign.
        attention: (B, M, H, W).
        pool: 'avg' (the authors' code) or 'max' (the paper's figure).

    Returns:
        (B, M, C), float32 or float64, also under autocast, because sums of half precision products overflow.

    Example:
        A map that attends to the left half of the image pools what is there, divided by all positions:

        >>> import torch
        >>> features = torch.tensor([[[[2.0, 6.0]]]])  # one channel, one row, two columns
        >>> bilinear_attention_pooling(features, torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]]))
        tensor([[[1.],
                 [3.]]])
    """
    if not torch.jit.is_scripting():  # TorchScript and the meta device have no autocast
        device = features.device.type
        # torch.compile cannot follow that function in torch 2.8, and compiles for devices that have autocast
        if torch.compiler.is_compiling() or torch.amp.is_autocast_available(device):
            with torch.autocast(device, enabled=False):  # autocast would run the matrix product in half precision
                return _pool(features, attention, pool)
    return _pool(features, attention, pool)


def _pool(features: Tensor, attention: Tensor, pool: str) -> Tensor:
    if features.dtype != torch.float64:
        features, attention = features.float(), attention.float()
    positions = features.shape[2] * features.shape[3]
    if pool == 'max':
        return (attention.flatten(2).unsqueeze(2) * features.flatten(2).unsqueeze(1)).amax(3)
    return torch.matmul(attention.flatten(2) / positions, features.flatten(2).transpose(1, 2))


def signed_sqrt(x: Tensor, eps: float = 1e-12) -> Tensor:
    """sign(x) * sqrt(|x| + eps): reduces the range of products and keeps their sign.

    At x = 0 the value and the gradient are 0 (sign(0) = 0). Near 0 the gradient is at most 1 / (2 sqrt(eps)).

    Args:
        x: Any shape, float32 or float64. In half precision eps would round to 0.
        eps: Bounds the gradient.
    """
    return x.abs().add_(eps).sqrt_() * x.sign()


@register_notrace_function  # a leaf for symbolic tracing, which cannot follow choices by dtype and device
def attention_embedding(features: Tensor, attention: Tensor, pool: str = 'avg') -> Tensor:
    """The part features of an image as one unit vector: pooling, signed square root, L2 norm over all M * C entries.

    Args:
        features: (B, C, H, W).
        attention: (B, M, H, W).
        pool: As in `bilinear_attention_pooling`.

    Returns:
        (B, M * C), float32 or float64, of length 1, or 0 if every product is 0.
    """
    parts = signed_sqrt(bilinear_attention_pooling(features, attention, pool)).flatten(1)
    return nn.functional.normalize(parts, dim=1)
