"""Attention regularisation against loops, and what the two centre rules really do."""

import pytest
import torch
from torch.nn import functional as F

from fgvc_zoo import UserError
from fgvc_zoo.losses import center_loss, update_centers


def units(count, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, width, generator=generator, dtype=torch.double), dim=1)


def test_loss_equals_the_loops():
    embedding, centers, targets = units(3, 5), 0.3 * torch.randn(4, 5, dtype=torch.double), torch.tensor([2, 0, 2])
    total = 0.0
    for f, y in zip(embedding.tolist(), targets.tolist(), strict=True):
        length = sum(value * value for value in centers[y].tolist()) ** 0.5
        total += sum((value - c / length) ** 2 for value, c in zip(f, centers[y].tolist(), strict=True))
    assert center_loss(embedding, centers, targets).item() == pytest.approx(total / 3)


def test_first_visit_costs_one_and_a_second_equal_visit_nothing():
    embedding, targets = units(2, 6), torch.tensor([0, 1])
    centers = torch.zeros(2, 6, dtype=torch.double)
    assert center_loss(embedding, centers, targets).item() == pytest.approx(1.0)
    for rule in ('ema', 'reference'):
        moved = update_centers(centers, embedding, targets, 0.05, rule)
        assert center_loss(embedding, moved, targets).item() == pytest.approx(0.0, abs=1e-12)


def test_gradient_flows_to_the_embedding_only():
    embedding, targets = units(3, 4).requires_grad_(), torch.tensor([0, 1, 1])
    centers = units(2, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda f: center_loss(f, centers, targets), (embedding,))
    center_loss(embedding, centers, targets).backward()
    assert centers.grad is None
    assert not any(update_centers(centers, embedding, targets, 0.05, rule).requires_grad for rule in ('ema', 'reference'))


def test_without_options_centres_move_by_a_twentieth_of_the_way():
    centers, embedding, targets = torch.zeros(3, 4, dtype=torch.double), units(2, 4), torch.tensor([2, 0])
    moved = update_centers(centers, embedding, targets)
    torch.testing.assert_close(moved[targets], 0.05 * embedding)


def test_ema_equals_the_loops():
    embedding, targets = units(4, 3), torch.tensor([1, 2, 1, 1])
    centers = units(3, 3, seed=1)
    expected = centers.clone()
    for k in range(3):
        differences = [embedding[i] - centers[k] for i in range(4) if targets[i] == k]
        if differences:
            expected[k] = centers[k] + 0.2 * sum(differences) / len(differences)
    torch.testing.assert_close(update_centers(centers, embedding, targets, 0.2, 'ema'), expected)


def test_reference_takes_the_last_image_of_a_class():
    embedding, targets = units(4, 3), torch.tensor([1, 2, 1, 1])
    centers = units(3, 3, seed=1) * 0.05
    expected = centers.clone()
    for i in range(4):  # index assignment: every image starts from the old centre, so the last one stays
        k = targets[i]
        expected[k] = centers[k] + 0.05 * (embedding[i] - centers[k] / centers[k].norm())
    torch.testing.assert_close(update_centers(centers, embedding, targets, 0.05, 'reference'), expected)


def test_reference_rule_is_the_last_embedding_seen():
    centers = torch.zeros(1, 8, dtype=torch.double)
    for f in units(50, 8):
        centers = update_centers(centers, f[None], torch.tensor([0]), 0.05, 'reference')
        assert centers.norm().item() == pytest.approx(0.05)
        torch.testing.assert_close(F.normalize(centers, dim=1)[0], f)


def test_ema_is_not():
    centers = torch.zeros(1, 8, dtype=torch.double)
    for f in units(50, 8):
        centers = update_centers(centers, f[None], torch.tensor([0]), 0.05, 'ema')
    assert (F.normalize(centers, dim=1)[0] - units(50, 8)[-1]).norm() > 0.1


def test_unseen_classes_stay_and_the_input_is_not_changed():
    centers = units(5, 3, seed=1)
    before = centers.clone()
    for rule in ('ema', 'reference'):
        moved = update_centers(centers, units(2, 3), torch.tensor([1, 1]), 0.05, rule)
        assert torch.equal(moved[[0, 2, 3, 4]], before[[0, 2, 3, 4]])
        assert not torch.equal(moved[1], before[1])
        assert torch.equal(centers, before)


@pytest.mark.parametrize('scale', [0.0, 1.0, 1e4])
def test_half_precision_is_finite(scale):
    embedding = (torch.ones(2, 4) * scale).half().requires_grad_()
    loss = center_loss(embedding, torch.zeros(2, 4), torch.tensor([0, 1]))
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()


def test_unknown_rule():
    with pytest.raises(UserError, match="did you mean 'reference'"):
        update_centers(torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([0]), rule='referenz')
