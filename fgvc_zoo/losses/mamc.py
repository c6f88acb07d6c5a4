"""Multi-attention multi-class constraint: N-pair losses over images and attentions (MAMC: Sun et al., arXiv 1806.05372)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from fgvc_zoo._errors import check_choice

NORMALIZATIONS = ('per_positive', 'per_pair')


class AttentionSets(NamedTuple):
    """How each of R features (one per image and attention) relates to every other, as (R, R) masks.

    Attributes:
        sasc: Same attention, same class, another image.
        sadc: Same attention, different class.
        dasc: Different attention, same class; the same image too.
        dadc: Different attention, different class.
    """

    sasc: Tensor
    sadc: Tensor
    dasc: Tensor
    dadc: Tensor


class MAMCTerms(NamedTuple):
    """The three N-pair losses; each is a scalar >= 0, float32 at least.

    Attributes:
        sasc: Same attention and class closer than everything else.
        sadc: Same attention of another class closer than another attention of another class.
        dasc: Another attention of the same class closer than another attention of another class.
    """

    sasc: Tensor
    sadc: Tensor
    dasc: Tensor


def attention_sets(targets: Tensor, num_attentions: int) -> AttentionSets:
    """The paper's four sets for all anchors. Together they hold every feature except the anchor itself.

    Args:
        targets: (B,), int64.
        num_attentions: P.

    Returns:
        Masks (R, R) of R = B * P features; feature r is attention r % P of image r // P.
    """
    label = targets.repeat_interleave(num_attentions)
    attention = torch.arange(num_attentions, device=targets.device).repeat(len(targets))
    same_class = label[:, None] == label
    same_attention = attention[:, None] == attention
    other = ~torch.eye(len(label), dtype=torch.bool, device=targets.device)
    return AttentionSets(
        same_attention & same_class & other, same_attention & ~same_class, ~same_attention & same_class, ~same_attention & ~same_class)


def mamc_loss(features: Tensor, targets: Tensor, normalization: str = 'per_positive') -> MAMCTerms:
    """The three terms of the constraint.

    For an anchor f with positives and negatives, log(1 + sum over negatives of exp(f.f- - f.f+)), summed over the positives:

        SASC: positives same attention, same class        negatives everything else
        SADC: positives same attention, different class   negatives different attention, different class
        DASC: positives different attention, same class   negatives different attention, different class

    A feature is never its own positive. An anchor without positives or without negatives contributes zero. Classes may have any number of
    images. Computed in float32 or float64, also under autocast, and in log space.

    Args:
        features: f (B, P, D).
        targets: (B,), int64.
        normalization: What each term's sum is divided by. 'per_pair' is the paper's 1 / N for a batch of N pairs; here N = B / 2.
            The sum runs over 2 N P anchors, and every image of another class is a positive of SADC, so the value grows with P and with the
            batch: for equal features, 16 pairs and P = 2, SADC is 120 log 31 = 412. 'per_positive' divides by the number of (anchor,
            positive) pairs of the term. The same example gives log 31 = 3.4, about the size of a cross-entropy.

    Raises:
        UserError: The normalization is not known.

    Example:
        Equal features of five pairs and two attentions: log 19 for SASC, log 9 for the others.

        >>> import torch
        >>> terms = mamc_loss(torch.ones(10, 2, 3), torch.arange(5).repeat(2))
        >>> [round(term.exp().item()) for term in terms]
        [19, 9, 9]
    """
    check_choice('normalization', normalization, NORMALIZATIONS)
    images, attentions, _ = features.shape
    sets = attention_sets(targets, attentions)
    with torch.autocast(features.device.type, enabled=False):  # autocast would run the matrix product in half precision
        rows = features.flatten(0, 1).to(torch.promote_types(features.dtype, torch.float32))
        similarity = rows @ rows.T

        def term(positive: Tensor, negative: Tensor) -> Tensor:
            # the lowest number instead of -inf: an anchor without negatives then contributes log(1 + 0), and its gradient is 0, not NaN
            lowest = torch.finfo(similarity.dtype).min
            repulsion = similarity.masked_fill(~negative, lowest).logsumexp(1, keepdim=True)
            total = F.softplus(repulsion - similarity).masked_fill(~positive, 0.0).sum()
            if normalization == 'per_positive':
                return total / positive.sum().clamp(min=1)
            return total / (images / 2)

        everything_else = sets.sadc | sets.dasc | sets.dadc
        return MAMCTerms(term(sets.sasc, everything_else), term(sets.sadc, sets.dadc), term(sets.dasc, sets.dadc))
