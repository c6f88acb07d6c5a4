"""MAMC against the paper's sets, written as sets, and closed forms."""

import math

import pytest
import torch

from fgvc_zoo import UserError
from fgvc_zoo.losses import attention_sets, mamc_loss

LABELS = [[0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 1, 3], [0, 1, 2], [4, 4, 4], [7]]


def set_builder(targets, attentions, i, p):
    """The four sets of anchor (image i, attention p), from their definition."""
    every = {(j, q) for j in range(len(targets)) for q in range(attentions)}
    return dict(
        sasc={(j, q) for j, q in every if q == p and targets[j] == targets[i] and j != i},
        sadc={(j, q) for j, q in every if q == p and targets[j] != targets[i]},
        dasc={(j, q) for j, q in every if q != p and targets[j] == targets[i]},
        dadc={(j, q) for j, q in every if q != p and targets[j] != targets[i]})


def naive(features, targets, normalization):
    """The formula, one anchor, positive and negative at a time, in float64 without any protection."""
    images, attentions, _ = features.shape
    f = features.double().tolist()

    def dot(a, b):
        return sum(x * y for x, y in zip(f[a[0]][a[1]], f[b[0]][b[1]], strict=True))

    totals, pairs = dict(sasc=0.0, sadc=0.0, dasc=0.0), dict(sasc=0, sadc=0, dasc=0)
    for i in range(images):
        for p in range(attentions):
            sets = set_builder(targets, attentions, i, p)
            negatives = dict(sasc=sets['sadc'] | sets['dasc'] | sets['dadc'], sadc=sets['dadc'], dasc=sets['dadc'])
            for name in totals:
                for positive in sets[name]:
                    totals[name] += math.log(1 + sum(
                        math.exp(dot((i, p), negative) - dot((i, p), positive)) for negative in negatives[name]))
                    pairs[name] += 1
    for name in totals:
        totals[name] /= {'per_pair': images / 2, 'per_positive': max(pairs[name], 1)}[normalization]
    return totals


@pytest.mark.parametrize('targets', LABELS)
@pytest.mark.parametrize('attentions', [1, 2, 3])
def test_sets_equal_their_definition(targets, attentions):
    computed = attention_sets(torch.tensor(targets), attentions)
    for name, mask in computed._asdict().items():
        for i in range(len(targets)):
            for p in range(attentions):
                members = {(j, q) for j in range(len(targets)) for q in range(attentions)
                           if mask[i * attentions + p, j * attentions + q]}
                assert members == set_builder(targets, attentions, i, p)[name], name


@pytest.mark.parametrize('targets', LABELS)
@pytest.mark.parametrize('attentions', [1, 2, 3])
@pytest.mark.parametrize('normalization', ['per_positive', 'per_pair'])
def test_loss_equals_the_loops(targets, attentions, normalization):
    torch.manual_seed(0)
    features = torch.randn(len(targets), attentions, 4, dtype=torch.double)
    computed = mamc_loss(features, torch.tensor(targets), normalization)
    for name, value in naive(features, targets, normalization).items():
        assert getattr(computed, name).item() == pytest.approx(value), name


def test_equal_features_of_five_pairs():
    targets = torch.arange(5).repeat_interleave(2)
    terms = mamc_loss(torch.full((10, 2, 3), 0.7), targets, 'per_pair')
    assert sum(terms).item() == pytest.approx(99.67, abs=5e-3)
    for value, expected in zip(terms, (math.log(19), 8 * math.log(9), 2 * math.log(9)), strict=True):
        assert value.item() == pytest.approx(4 * expected, rel=1e-5)


def test_per_positive_does_not_grow_with_the_batch_but_by_the_logarithm():
    for pairs in (5, 16):
        targets = torch.arange(pairs).repeat_interleave(2)
        computed = mamc_loss(torch.zeros(2 * pairs, 2, 3), targets, 'per_positive')
        others = 2 * (pairs - 1)
        for value, expected in zip(computed, (math.log(3 + 2 * others), math.log(1 + others), math.log(1 + others)), strict=True):
            assert value.item() == pytest.approx(expected, rel=1e-5)


def test_perfect_features_cost_nothing_and_exchanged_attentions_much():
    """Orthogonal for every attention and class: then only same-attention same-class features are alike."""
    targets = torch.tensor([0, 0, 1, 1])
    basis = 20 * torch.eye(4).view(2, 2, 4)  # class, attention
    perfect = basis[targets]
    assert mamc_loss(perfect, targets).sasc.item() == pytest.approx(0, abs=1e-6)
    exchanged = perfect.clone()
    exchanged[1] = perfect[1].flip(0)
    assert mamc_loss(exchanged, targets).sasc.item() > 100


@pytest.mark.parametrize('targets', LABELS)
@pytest.mark.parametrize('normalization', ['per_positive', 'per_pair'])
def test_gradient(targets, normalization):
    torch.manual_seed(1)
    features = torch.randn(len(targets), 2, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: tuple(mamc_loss(f, torch.tensor(targets), normalization)), (features,))


@pytest.mark.parametrize('targets', [[3], [2, 2], [0, 1, 2]])
def test_missing_positives_or_negatives_cost_nothing_and_have_no_nan_gradient(targets):
    features = torch.randn(len(targets), 2, 4, requires_grad=True)
    computed = mamc_loss(features, torch.tensor(targets))
    sum(computed).backward()
    assert features.grad.isfinite().all()
    if len(set(targets)) == 1:  # no other class: no DADC, so neither SADC nor DASC
        assert computed.sadc == 0 and computed.dasc == 0
    if len(set(targets)) == len(targets):  # no class has a pair
        assert computed.sasc == 0


def test_order_of_the_images_does_not_matter():
    torch.manual_seed(2)
    features, targets = torch.randn(6, 2, 4), torch.tensor([0, 0, 1, 1, 2, 2])
    order = torch.randperm(6)
    for first, second in zip(mamc_loss(features, targets), mamc_loss(features[order], targets[order]), strict=True):
        torch.testing.assert_close(first, second)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize('scale', [0.0, 1.0, 6e4])
def test_any_length_is_finite_under_autocast(dtype, scale):
    """exp would overflow at 88.7 in float32 and at 11.1 in float16; even the inner products do in float16."""
    targets = torch.tensor([0, 0, 1, 1])
    features = (scale * torch.tensor([1.0, -1.0, 1.0, 1.0]).view(4, 1, 1).expand(4, 2, 8)).to(dtype).requires_grad_()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        computed = mamc_loss(features, targets)
    sum(computed).backward()
    assert all(value.dtype == torch.float32 and value.isfinite() for value in computed)
    assert features.grad.float().isfinite().all() or dtype == torch.float16  # the gradient itself is beyond float16 there
    assert features.grad.float().isnan().sum() == 0


def test_autocast_does_not_change_the_value():
    torch.manual_seed(3)
    features, targets = torch.randn(8, 2, 64), torch.arange(4).repeat(2)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        inside = mamc_loss(features, targets)
    for first, second in zip(inside, mamc_loss(features, targets), strict=True):
        assert torch.equal(first, second)


def test_unknown_normalization():
    with pytest.raises(UserError, match="did you mean 'per_pair'"):
        mamc_loss(torch.zeros(2, 2, 3), torch.tensor([0, 0]), 'per_par')
