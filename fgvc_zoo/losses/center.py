"""Attention regularisation: an embedding is pulled to its class's centre (WS-DAN section 3.2, equation 5)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fgvc_zoo._errors import check_choice

CENTER_RULES = ('ema', 'reference')


def center_loss(embedding: Tensor, centers: Tensor, targets: Tensor) -> Tensor:
    """Mean over the batch of the squared distance between an embedding and its class's centre, scaled to unit length.

    A zero centre stays zero, so the first image of a class contributes exactly 1 if its embedding has unit length.

    Args:
        embedding: (B, D).
        centers: (K, D); no gradient flows to them.
        targets: (B,), int64 in [0, K).

    Returns:
        A scalar, float32 at least.

    Example:
        The first image of a class, and one that lies on its centre:

        >>> import torch
        >>> image, nothing = torch.tensor([[0.0, 1.0]]), torch.zeros(1, 2)
        >>> center_loss(image, nothing, torch.tensor([0])), center_loss(image, 3 * image, torch.tensor([0]))
        (tensor(1.), tensor(0.))
    """
    center = F.normalize(centers.detach()[targets], dim=1)
    if embedding.dtype != torch.float64:
        embedding, center = embedding.float(), center.float()
    return (embedding - center).square().sum(1).mean()


@torch.no_grad()
def update_centers(centers: Tensor, embedding: Tensor, targets: Tensor, beta: float = 0.05, rule: str = 'ema') -> Tensor:
    """The centres after a batch.

    `ema` is the paper's rule: c <- c + beta (f - c). A class with several images in the batch moves by the mean of their differences.
    `reference` is what the authors' code and its ports compute: c <- c + beta (f - c / |c|), with the last image of a class in the batch.
    Starting from a zero centre, |c| stays equal to beta and c / |c| equal to the class's previous embedding. So it pulls each image to the
    previous image of its class, not to a mean. The published accuracies come from this rule.

    Args:
        centers: (K, D).
        embedding: (B, D).
        targets: (B,), int64 in [0, K).
        beta: Step, in (0, 1].
        rule: 'ema' or 'reference'.

    Returns:
        New centres (K, D).

    Raises:
        UserError: The rule is not known.
    """
    check_choice('center_rule', rule, CENTER_RULES)
    embedding = embedding.to(centers.dtype)
    if rule == 'ema':
        count = centers.new_zeros(len(centers)).index_add_(0, targets, torch.ones_like(targets, dtype=centers.dtype))
        total = torch.zeros_like(centers).index_add_(0, targets, embedding - centers[targets])
        return centers + beta * total / count.clamp(min=1)[:, None]
    order = torch.arange(len(targets), device=targets.device)
    last = order.new_full((len(centers),), -1).scatter_reduce_(0, targets, order, 'amax')
    in_batch = (last >= 0)[:, None]
    moved = centers + beta * (embedding[last.clamp(min=0)] - F.normalize(centers, dim=1))
    return torch.where(in_batch, moved, centers)
