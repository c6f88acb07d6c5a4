"""Distillation: one prediction learns from another's softened probabilities (Hinton et al., arXiv 1503.02531, section 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from fgvc_zoo._errors import check_range


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float = 10.0) -> Tensor:
    """T^2 times the mean Kullback-Leibler divergence of the student's softened probabilities from the teacher's.

    The factor T^2 keeps the gradient's size independent of T: for large T it is that of half the squared difference of centred logits,
    divided by the number of classes. The divergence differs from the cross-entropy with soft targets by the teacher's entropy,
    which has no gradient; it is 0 where the two agree.

    Args:
        student: Logits (B, K).
        teacher: Logits (B, K); no gradient flows to them.
        temperature: T > 0; larger is softer.

    Returns:
        A scalar >= 0, float32 at least.

    Raises:
        UserError: The temperature is not positive.
    """
    check_range('temperature', temperature, 0, exclude=(0,))
    dtype = torch.promote_types(student.dtype, torch.float32)
    found = (student.to(dtype) / temperature).log_softmax(1)
    wanted = (teacher.detach().to(dtype) / temperature).log_softmax(1)
    return temperature ** 2 * (wanted.exp() * (wanted - found)).sum(1).mean()
