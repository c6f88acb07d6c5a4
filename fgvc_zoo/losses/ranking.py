"""Ranking of scores: one prediction must be surer of the true class than another by a margin."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def true_class_probability(logits: Tensor, targets: Tensor) -> Tensor:
    """Softmax probability of the true class.

    Args:
        logits: (..., K).
        targets: (...), int64 in [0, K); negative ones stand for rows that do not count and get class 0's probability.

    Returns:
        (...), in [0, 1], float32 at least.
    """
    probability = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(-1)
    return probability.gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)


def score_ranking_loss(own: Tensor, other: Tensor, targets: Tensor, margin: float = 0.05) -> Tensor:
    """Score ranking regularisation (API-Net: Zhuang et al., arXiv 2002.10191, section 3): what an image's own gate shows beats the other's.

    Mean over the rows that count of max(0, p_other - p_own + margin), p the softmax probability of the true class.

    Args:
        own: Logits (..., K) of features under the image's own gate.
        other: Logits (..., K) of the same features under the other image's gate.
        targets: (...), int64 in [0, K); rows with a negative one do not count.
        margin: Wanted lead of p_own, in [0, 1]; the authors' 0.05.

    Returns:
        A scalar in [0, 1 + margin], float32 at least; 0 where no row counts.
    """
    lead = true_class_probability(own, targets) - true_class_probability(other, targets)
    counts = targets >= 0
    return (margin - lead).relu().masked_fill(~counts, 0.0).sum() / counts.sum().clamp(min=1)


def inter_scale_ranking_loss(logits: Sequence[Tensor], targets: Tensor, margin: float = 0.05, detach_coarse: bool = True) -> Tensor:
    """Inter-scale pairwise ranking (RA-CNN: Fu et al., CVPR 2017, section 3): each scale is surer of the true class than the one before.

    Mean over the batch of the sum over scales s of max(0, p_s - p_{s+1} + margin), p the softmax probability of the true class.

    Args:
        logits: Of every scale from coarse to fine, (B, K) each.
        targets: (B,), int64 in [0, K).
        margin: Wanted lead of the finer scale, in [0, 1].
        detach_coarse: Take p_s as given, so that only raising p_{s+1} lowers the loss. Otherwise a worse coarse scale does so too.

    Returns:
        A scalar >= 0, float32 at least.
    """
    probability = torch.stack([true_class_probability(scale, targets) for scale in logits])
    coarse = probability[:-1].detach() if detach_coarse else probability[:-1]
    return (coarse - probability[1:] + margin).relu().sum(0).mean()
