from __future__ import annotations

import math

import pytest
import torch

from fgvc_zoo._errors import UserError
from fgvc_zoo.losses import distillation_loss


def naive(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> float:
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        soft_s, soft_t = ([math.exp(v / temperature) for v in row] for row in (s, t))
        p, q = [v / sum(soft_t) for v in soft_t], [v / sum(soft_s) for v in soft_s]
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return temperature ** 2 * total / len(student)


@pytest.mark.parametrize('temperature', [0.5, 1.0, 4.0, 10.0])
def test_follows_the_formula(temperature: float) -> None:
    torch.manual_seed(0)
    student, teacher = 3 * torch.randn(2, 5, 7, dtype=torch.float64)
    assert distillation_loss(student, teacher, temperature).item() == pytest.approx(naive(student, teacher, temperature))


def test_the_temperature_is_ten_unless_said() -> None:
    student, teacher = 3 * torch.randn(2, 5, 7, dtype=torch.float64)
    assert distillation_loss(student, teacher).item() == pytest.approx(naive(student, teacher, 10.0))


def test_is_zero_where_both_agree_up_to_a_constant() -> None:
    logits = torch.randn(4, 6, dtype=torch.float64)
    assert distillation_loss(logits + 3, logits).item() == pytest.approx(0, abs=1e-12)


def test_gradient_is_that_of_a_soft_cross_entropy_and_none_reaches_the_teacher() -> None:
    torch.manual_seed(1)
    student, teacher = (torch.randn(3, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    distillation_loss(student, teacher, 3.0).backward()
    expected = 3.0 * ((student / 3).softmax(1) - (teacher / 3).softmax(1)).detach() / 3  # T * (q - p) / B
    torch.testing.assert_close(student.grad, expected)
    assert teacher.grad is None
    assert torch.autograd.gradcheck(lambda s: distillation_loss(s, teacher, 3.0), (student,))


def test_for_high_temperatures_it_matches_centred_logits() -> None:
    torch.manual_seed(2)
    student, teacher = torch.randn(2, 4, 6, dtype=torch.float64)
    difference = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    torch.testing.assert_close(
        distillation_loss(student, teacher, 1e4), (difference.square().sum(1) / (2 * 6)).mean(), rtol=1e-3, atol=1e-6)


def test_half_precision_is_computed_in_float32() -> None:
    logits = torch.tensor([[6e4, -6e4, 0.0]], dtype=torch.float16)
    loss = distillation_loss(logits, logits.flip(1), 1.0)
    assert loss.dtype == torch.float32 and loss.isfinite()


@pytest.mark.parametrize('temperature', [0.0, -1.0, math.nan])
def test_impossible_temperatures(temperature: float) -> None:
    with pytest.raises(UserError, match='temperature'):
        distillation_loss(torch.zeros(1, 2), torch.zeros(1, 2), temperature)
