"""RA-CNN's inter-scale ranking loss against a loop written from the formula."""

import math

import pytest
import torch

from fgvc_zoo.losses import inter_scale_ranking_loss


def naive(logits, targets, margin):
    total = 0.0
    for b, target in enumerate(targets.tolist()):
        probability = []
        for scale in logits:
            exponentials = [math.exp(value) for value in scale[b].tolist()]
            probability.append(exponentials[target] / sum(exponentials))
        for coarse, fine in zip(probability, probability[1:]):
            total += max(0.0, coarse - fine + margin)
    return total / len(targets)


@pytest.mark.parametrize('scales', [2, 3, 4])
@pytest.mark.parametrize('margin', [0.0, 0.05, 0.3])
def test_follows_the_formula(scales, margin):
    logits = [torch.randn(6, 5) * 2 for _ in range(scales)]
    targets = torch.randint(0, 5, (6,))
    assert inter_scale_ranking_loss(logits, targets, margin).item() == pytest.approx(naive(logits, targets, margin), abs=1e-6)


def test_equal_scales_cost_the_margin_each():
    logits = [torch.randn(4, 3)] * 3
    assert inter_scale_ranking_loss(logits, torch.tensor([0, 1, 2, 0]), 0.05).item() == pytest.approx(2 * 0.05)


def test_zero_once_the_finer_scale_leads_by_the_margin():
    def with_probability(p):
        return torch.tensor([[p, 1 - p]]).log()

    target = torch.tensor([0])
    for lead, expected in ((0.051, 0.0), (0.3, 0.0), (0.04, 0.01), (-0.1, 0.15)):
        found = inter_scale_ranking_loss([with_probability(0.5), with_probability(0.5 + lead)], target, 0.05)
        assert found.item() == pytest.approx(expected, abs=1e-6)


def test_gradient_raises_the_finer_scale_and_spares_the_coarse_one():
    logits = [torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    targets = torch.tensor([0, 3, 1])
    inter_scale_ranking_loss(logits, targets, 0.9).backward()
    rows = torch.arange(3)
    assert logits[0].grad is None or not logits[0].grad.any()
    assert (logits[1].grad[rows, targets] < 0).all() and (logits[2].grad[rows, targets] < 0).all()
    inter_scale_ranking_loss(logits, targets, 0.9, detach_coarse=False).backward()
    assert (logits[0].grad[rows, targets] > 0).all()
    assert torch.autograd.gradcheck(
        lambda *scales: inter_scale_ranking_loss(scales, targets, 0.9, detach_coarse=False), logits)


def test_half_precision_and_huge_logits_are_finite():
    logits = [(torch.randn(2, 3) * 1e4).to(torch.float16).requires_grad_() for _ in range(2)]
    loss = inter_scale_ranking_loss(logits, torch.tensor([0, 1]))
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite()
    assert logits[1].grad.isfinite().all()
