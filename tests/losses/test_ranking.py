"""Both ranking losses against loops written from the formula."""

import itertools
import math

import pytest
import torch

from fgvc_zoo.losses import inter_scale_ranking_loss, score_ranking_loss, true_class_probability


def probability(logits, label):
    powers = [math.exp(value) for value in logits]
    return powers[label] / sum(powers)


def naive(own, other, targets, margin):
    """max(0, p_other - p_own + margin) of each row that counts, averaged."""
    terms = [
        max(0.0, probability(b, label) - probability(a, label) + margin)
        for a, b, label in zip(own.tolist(), other.tolist(), targets, strict=True) if label >= 0]
    return sum(terms) / len(terms) if terms else 0.0


@pytest.mark.parametrize('targets', [[0, 1, 2, 1], [-100, 1, -100, 2], [-1, 1, -1, 2], [-100, -100, -100, 0], [-100] * 4])
@pytest.mark.parametrize('margin', [0.0, 0.05, 0.5])
def test_loss_equals_the_loop(targets, margin):
    own, other = 2 * torch.randn(2, 4, 3, dtype=torch.double)
    computed = score_ranking_loss(own, other, torch.tensor(targets), margin)
    assert computed.item() == pytest.approx(naive(own, other, targets, margin))
    shaped = score_ranking_loss(own.view(2, 2, 3), other.view(2, 2, 3), torch.tensor(targets).view(2, 2), margin)
    torch.testing.assert_close(shaped, computed)


@pytest.mark.parametrize('margin', [0.05, 0.3])
def test_equal_predictions_cost_the_margin(margin):
    logits, targets = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    assert score_ranking_loss(logits, logits, targets, margin).item() == pytest.approx(margin)
    assert score_ranking_loss(logits, logits, targets).item() == pytest.approx(0.05)  # the authors' margin


def test_a_lead_of_the_margin_is_enough_and_a_lag_costs():
    own, other = torch.tensor([[0.7, 0.3]]).log(), torch.tensor([[0.6, 0.4]]).log()
    target = torch.tensor([0])
    assert score_ranking_loss(own, other, target, 0.05).item() == 0
    assert score_ranking_loss(other, own, target, 0.05).item() == pytest.approx(0.15)
    assert score_ranking_loss(own, other, 1 - target, 0.05).item() == pytest.approx(0.15)  # of the other class


def test_gradient():
    own, other = torch.randn(2, 6, 4, dtype=torch.double)
    targets = torch.tensor([0, 1, 2, 3, -100, 0])
    assert torch.autograd.gradcheck(
        lambda a, b: score_ranking_loss(a, b, targets, 0.4), (own.requires_grad_(), other.requires_grad_()))


def test_gradient_raises_one_and_lowers_the_other_and_leaves_other_rows_alone():
    own, other = torch.zeros(2, 2, 3)
    own.requires_grad_()
    other.requires_grad_()
    score_ranking_loss(own, other, torch.tensor([1, -100])).backward()
    assert own.grad[0, 1] < 0 < other.grad[0, 1]
    assert not own.grad[1].any() and not other.grad[1].any()


@pytest.mark.parametrize('scale', [0.0, 1e4, 6e4])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_any_logits_are_finite_under_autocast(scale, dtype):
    logits = (scale * torch.tensor([[1.0, -1.0], [-1.0, 1.0]])).to(dtype).requires_grad_()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = score_ranking_loss(logits, logits.flip(0), torch.tensor([0, 0]))
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite()
    assert logits.grad.isfinite().all()


def test_true_class_probability():
    logits = torch.randn(2, 3, 4, dtype=torch.double)
    targets = torch.tensor([[0, 3, 1], [2, -100, 0]])
    computed = true_class_probability(logits, targets)
    for i in range(2):
        for j in range(3):
            assert computed[i, j].item() == pytest.approx(probability(logits[i, j].tolist(), max(targets[i, j].item(), 0)))


# ---- between the scales of RA-CNN


def naive_inter_scale(logits, targets, margin):
    """Each image's sum over neighbouring scales of max(0, p_coarse - p_fine + margin), averaged."""
    total = 0.0
    for b, label in enumerate(targets.tolist()):
        p = [probability(scale[b].tolist(), label) for scale in logits]
        total += sum(max(0.0, coarse - fine + margin) for coarse, fine in itertools.pairwise(p))
    return total / len(targets)


@pytest.mark.parametrize('scales', [2, 3, 4])
@pytest.mark.parametrize('margin', [0.0, 0.05, 0.3])
def test_inter_scale_loss_equals_the_loop(scales, margin):
    logits = [torch.randn(6, 5) * 2 for _ in range(scales)]
    targets = torch.randint(0, 5, (6,))
    expected = naive_inter_scale(logits, targets, margin)
    for detach_coarse in (True, False):
        assert inter_scale_ranking_loss(logits, targets, margin, detach_coarse).item() == pytest.approx(expected, abs=1e-6)


def test_equal_scales_cost_the_margin_each():
    logits = [torch.randn(4, 3)] * 3
    assert inter_scale_ranking_loss(logits, torch.tensor([0, 1, 2, 0]), 0.3).item() == pytest.approx(2 * 0.3)
    assert inter_scale_ranking_loss(logits, torch.tensor([0, 1, 2, 0])).item() == pytest.approx(2 * 0.05)


def test_zero_once_the_finer_scale_leads_by_the_margin():
    def with_probability(p):
        return torch.tensor([[p, 1 - p]]).log()

    target = torch.tensor([0])
    for lead, expected in ((0.051, 0.0), (0.3, 0.0), (0.04, 0.01), (-0.1, 0.15)):
        computed = inter_scale_ranking_loss([with_probability(0.5), with_probability(0.5 + lead)], target, 0.05)
        assert computed.item() == pytest.approx(expected, abs=1e-6)


def test_gradient_raises_the_finer_scale_and_spares_the_coarse_one():
    logits = [torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    targets = torch.tensor([0, 3, 1])
    inter_scale_ranking_loss(logits, targets, 0.9).backward()  # detached unless said
    rows = torch.arange(3)
    assert logits[0].grad is None or not logits[0].grad.any()
    assert (logits[1].grad[rows, targets] < 0).all() and (logits[2].grad[rows, targets] < 0).all()
    inter_scale_ranking_loss(logits, targets, 0.9, detach_coarse=False).backward()
    assert (logits[0].grad[rows, targets] > 0).all()
    assert torch.autograd.gradcheck(
        lambda *scales: inter_scale_ranking_loss(scales, targets, 0.9, detach_coarse=False), logits)


def test_inter_scale_loss_of_huge_logits_in_half_precision_is_finite():
    logits = [(torch.randn(2, 3) * 1e4).to(torch.float16).requires_grad_() for _ in range(2)]
    loss = inter_scale_ranking_loss(logits, torch.tensor([0, 1]))
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite()
    assert logits[1].grad.isfinite().all()
