"""Pairwise interaction of two images: mutual vector, gates, residual attention (API-Net: Zhuang et al., arXiv 2002.10191)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

BLOCK_ROWS = 1024  # how many anchors are compared with all images at a time


class Pairs(NamedTuple):
    """R ordered pairs of images of a batch.

    Attributes:
        images: Batch indices of anchor and partner, (R, 2) int64.
        valid: Whether a partner of the required class exists, (R,) bool. Pairs that are not valid are placeholders.
    """

    images: Tensor
    valid: Tensor


@torch.no_grad()
def nearest_pairs(features: Tensor, targets: Tensor) -> Pairs:
    """Pair every image with the nearest other image of its class, and with the nearest image of another class.

    Pairs are ordered, anchor first; two images that are each other's nearest make two pairs. The distance is Euclidean, in float32 at
    least, computed from differences so that equal features have distance 0. Ties go to the first image. Pairs without a candidate (an image
    alone in its class, or a batch of a single class) are marked as not valid.

    Args:
        features: (B, C); no gradient flows to them.
        targets: (B,), int64.

    Returns:
        R = 2 * B pairs: B within classes in the order of the batch, then B across.

    Example:
        Two images of each of two classes, as numbers on a line:

        >>> import torch
        >>> nearest_pairs(torch.tensor([[0.0], [1.0], [3.0], [9.0]]), torch.tensor([0, 0, 1, 1])).images.tolist()
        [[0, 1], [1, 0], [2, 3], [3, 2], [0, 2], [1, 2], [2, 1], [3, 1]]
    """
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    blocks = [_nearest(features, targets, start, start + BLOCK_ROWS) for start in range(0, len(targets), BLOCK_ROWS)]
    partner, valid = torch.cat([block[0] for block in blocks], 1), torch.cat([block[1] for block in blocks], 1)
    anchor = torch.arange(len(targets), device=targets.device).repeat(2)
    return Pairs(torch.stack([anchor, partner.flatten()], 1), valid.flatten())


def _nearest(features: Tensor, targets: Tensor, start: int, stop: int) -> tuple[Tensor, Tensor]:
    """Partners of the anchors from `start` to `stop` within and across classes, and whether they exist: both (2, A)."""
    anchors = targets[start:stop]
    distance = torch.cdist(features[start:stop], features, compute_mode='donot_use_mm_for_euclid_dist')
    same = anchors[:, None] == targets
    candidates = torch.stack([same, ~same])  # (2, A, B)
    candidates[0].diagonal(start).fill_(False)
    partner = distance.masked_fill(~candidates, torch.inf).argmin(2, keepdim=True)
    # a row without candidates is all infinite, and argmin then returns an image that is none
    return partner.squeeze(2), candidates.gather(2, partner).squeeze(2)


def attentive_features(pairs: Tensor, mutual: Tensor, gated: Tensor | None = None) -> Tensor:
    """Each image's features under its own gate and under the other image's gate (equations 2 to 6).

    g_i = sigmoid(x_m * x_i); x_i^self = x_i + x_i * g_i; x_i^other = x_i + x_i * g_j, the other image's gate.

    Args:
        pairs: x_1 and x_2, (R, 2, C).
        mutual: x_m, (R, C).
        gated: Features that the gates are computed from, (R, 2, C); `pairs` if None.

    Returns:
        (R, 2, 2, C): pair, image, [self, other], channel.
    """
    gates = torch.sigmoid(mutual.unsqueeze(1) * (pairs if gated is None else gated))
    return torch.stack([pairs + pairs * gates, pairs + pairs * gates.flip(1)], 2)


def unit_size(vectors: Tensor) -> Tensor:
    """Scale vectors (..., C) to a root mean square of 1. Zero vectors stay zero."""
    return vectors * vectors.square().mean(-1, keepdim=True).clamp(min=1e-12).rsqrt()


class PairwiseInteraction(nn.Module):
    """Pairs of feature vectors (R, 2, C) -> their attentive features (R, 2, 2, C), as `attentive_features`.

    The mutual vector x_m = W_2 dropout(W_1 [x_1, x_2]) (equation 1) has no activation between its layers, as in the authors' code, and
    depends on the order of the pair. Autocast is off: half precision can overflow to infinity, and infinity times a zero channel is NaN.

    Args:
        channels: C.
        hidden: Width between the two layers; the authors' 512.
        drop_rate: Dropout between them; the authors' 0.5.
        normalize: Scale x_1 and x_2 to a root mean square of 1 before the mutual vector and the gates are computed. ResNet's pooled
            features have about that size. Smaller ones (0.17 in EfficientNet-Lite0) keep x_m * x_i near 0 and every gate near 1/2, so that
            both gates of a pair select the same features.
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
            scaled = unit_size(pairs) if self.normalize else pairs
            mutual = self.expand(self.drop(self.reduce(scaled.flatten(1))))
            return attentive_features(pairs, mutual, scaled)
