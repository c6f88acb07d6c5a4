"""Two images looked at together: mutual vector, gates, residual interaction (API-Net: Zhuang et al., arXiv 2002.10191)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Pairs(NamedTuple):
    """Which images are looked at together: R ordered pairs.

    Attributes:
        images: Anchor and partner as positions in the batch, (R, 2) int64.
        valid: Which pairs are what they should be, (R,) bool; the others only keep the shape.
    """

    images: Tensor
    valid: Tensor


@torch.no_grad()
def nearest_pairs(features: Tensor, targets: Tensor) -> Pairs:
    """Every image with the nearest other image of its class, and with the nearest image of another class.

    Pairs are ordered, anchor first; two images that are each other's nearest make two pairs. Nearest by the Euclidean distance in
    float32, computed from differences, so that equal features are at distance 0; the first of equally near images counts. An image
    alone in its class has no pair within it, and a batch of a single class none across classes: those are marked as not valid.

    Args:
        features: (B, C); no gradient flows to them.
        targets: (B,), int64.

    Returns:
        R = 2 * B pairs: B within classes in the order of the batch, then B across.
    """
    count = len(targets)
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    distance = torch.cdist(features, features, compute_mode='donot_use_mm_for_euclid_dist')
    same = targets[:, None] == targets
    self_pairs = torch.eye(count, dtype=torch.bool, device=targets.device)
    wanted = torch.stack([same & ~self_pairs, ~same])  # (2, B, B)
    partner = distance.masked_fill(~wanted, torch.inf).argmin(2, keepdim=True)
    # where a row is all infinite, argmin names some image that was not wanted
    valid = wanted.gather(2, partner)
    anchor = torch.arange(count, device=targets.device).repeat(2)
    return Pairs(torch.stack([anchor, partner.flatten()], 1), valid.flatten())


def attentive_features(pairs: Tensor, mutual: Tensor, gated: Tensor | None = None) -> Tensor:
    """Each image of a pair as its own and as the other's gate shows it (equations 2 to 6).

    g_i = sigmoid(x_m * x_i); x_i^self = x_i + x_i * g_i; x_i^other = x_i + x_i * g_j, the other image's gate.

    Args:
        pairs: x_1 and x_2, (R, 2, C).
        mutual: x_m, (R, C).
        gated: What the gates are made from in place of x_1 and x_2, (R, 2, C).

    Returns:
        (R, 2, 2, C): pair, image, [self, other], channel.
    """
    gates = torch.sigmoid(mutual.unsqueeze(1) * (pairs if gated is None else gated))
    return torch.stack([pairs + pairs * gates, pairs + pairs * gates.flip(1)], 2)


def unit_size(vectors: Tensor) -> Tensor:
    """Vectors (..., C) brought to a root mean square of 1; zeros stay zeros."""
    return vectors * vectors.square().mean(-1, keepdim=True).clamp(min=1e-12).rsqrt()


class PairwiseInteraction(nn.Module):
    """Pairs of feature vectors (R, 2, C) -> their attentive features (R, 2, 2, C), as `attentive_features`.

    The mutual vector x_m = W_2 dropout(W_1 [x_1, x_2]) (equation 1) has no activation between its layers, as in the authors' code; it
    depends on the order of the pair. Everything is computed in the dtype of the parameters whatever autocast says: an overflow in half
    precision would meet a channel that is 0, and infinity times 0 is not a number.

    Args:
        channels: C.
        hidden: Width between the two layers; the authors' 512.
        drop_rate: Dropout between them; the authors' 0.5.
        normalize: The mutual vector and the gates see x_1 and x_2 at a root mean square of 1. ResNet's pooled features are of about that
            size. Where a backbone's are small (0.17 in EfficientNet-Lite0), x_m * x_i stays near 0 and every gate at 1/2, so that
            an image's own and the other's gate show the same.
    """

    def __init__(
            self,
            channels: int,
            hidden: int = 512,
            drop_rate: float = 0.5,
            normalize: bool = False,
            *,
            device: torch.device | str | None = None,
            dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.normalize = normalize
        self.reduce = nn.Linear(2 * channels, hidden, device=device, dtype=dtype)
        self.drop = nn.Dropout(drop_rate)
        self.expand = nn.Linear(hidden, channels, device=device, dtype=dtype)

    def forward(self, pairs: Tensor) -> Tensor:
        with torch.autocast(pairs.device.type, enabled=False):
            pairs = pairs.to(self.reduce.weight.dtype)
            seen = unit_size(pairs) if self.normalize else pairs
            mutual = self.expand(self.drop(self.reduce(seen.flatten(1))))
            return attentive_features(pairs, mutual, seen)
