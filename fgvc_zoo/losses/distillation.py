"""Distillation: a student learns from a teacher's softened probabilities (Hinton et al., arXiv 1503.02531, section 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from fgvc_zoo._errors import check_range


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float = 10.0) -> Tensor:
    """T^2 times the mean Kullback-Leibler divergence of the student's softened probabilities from the teacher's.

    The factor T^2 makes the size of the gradient independent of T. For large T the loss approaches half the squared difference of the
    centred logits, divided by the number of classes. It equals the cross-entropy with soft targets minus the teacher's entropy, which has
    no gradient, and is 0 if both agree.

    Args:
        student: Logits (B, K).
        teacher: Logits (B, K); no gradient flows to them.
        temperature: T > 0; larger is softer.

    Returns:
        A scalar >= 0, float32 at least.

    Raises:
        UserError: The temperature is not positive.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[1.0, 2.0, 3.0]])
        >>> distillation_loss(logits, logits + 5)  # the same probabilities
        tensor(0.)
    """
    check_range('temperature', temperature, 0, exclude=(0,))
    dtype = torch.promote_types(student.dtype, torch.float32)
    student_log = (student.to(dtype) / temperature).log_softmax(1)
    teacher_log = (teacher.detach().to(dtype) / temperature).log_softmax(1)
    return temperature ** 2 * (teacher_log.exp() * (teacher_log - student_log)).sum(1).mean()
