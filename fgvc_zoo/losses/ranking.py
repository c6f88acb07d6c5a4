"""Ranking losses: one prediction must assign the true class a higher probability than another, by a margin."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def true_class_probability(logits: Tensor, targets: Tensor) -> Tensor:
    """Softmax probability of the true class.

    Args:
        logits: (..., K).
        targets: (...), int64 in [0, K). Negative targets are ignored: their rows get the probability of class 0.

    Returns:
        (...), in [0, 1], float32 at least.
    """
    probability = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(-1)
    return probability.gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)


def score_ranking_loss(own: Tensor, other: Tensor, targets: Tensor, margin: float = 0.05) -> Tensor:
    """Score ranking regularisation (API-Net: Zhuang et al., arXiv 2002.10191, section 3): an image's own gate must beat the other image's.

    Mean of max(0, p_other - p_own + margin) over the rows, where p is the softmax probability of the true class.

    Args:
        own: Logits (..., K) of features under the image's own gate.
        other: Logits (..., K) of the same features under the other image's gate.
        targets: (...), int64 in [0, K). Rows with a negative target are ignored.
        margin: Required difference p_own - p_other, in [0, 1]; the authors' 0.05.

    Returns:
        A scalar in [0, 1 + margin], float32 at least; 0 if all rows are ignored.

    Example:
        Equal probabilities under both gates miss the margin by all of it:

        >>> import torch
        >>> score_ranking_loss(torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([0]))
        tensor(0.0500)
    """
    lead = true_class_probability(own, targets) - true_class_probability(other, targets)
    used = targets >= 0
    return (margin - lead).relu().masked_fill(~used, 0.0).sum() / used.sum().clamp(min=1)


def inter_scale_ranking_loss(logits: Sequence[Tensor], targets: Tensor, margin: float = 0.05, detach_coarse: bool = True) -> Tensor:
    """Inter-scale pairwise ranking (RA-CNN: Fu et al., CVPR 2017, section 3): each scale must beat the one before.

    Mean over the batch of the sum over scales s of max(0, p_s - p_{s+1} + margin), where p is the softmax probability of the true class.

    Args:
        logits: (B, K) for every scale, from coarse to fine.
        targets: (B,), int64 in [0, K).
        margin: Required difference p_{s+1} - p_s, in [0, 1].
        detach_coarse: No gradient to p_s, so that the loss falls only if p_{s+1} rises. Otherwise a worse coarse scale lowers it too.

    Returns:
        A scalar >= 0, float32 at least.

    Example:
        >>> import torch
        >>> coarse, fine = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.4, 0.6]]).log()
        >>> inter_scale_ranking_loss([coarse, fine], torch.tensor([0]))
        tensor(0.1500)
    """
    probability = torch.stack([true_class_probability(scale, targets) for scale in logits])
    coarse = probability[:-1].detach() if detach_coarse else probability[:-1]
    return (coarse - probability[1:] + margin).relu().sum(0).mean()
