"""Mining of pairs and their interaction against loops written from the formulas."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fgvc_zoo.layers import PairwiseInteraction, attentive_features, nearest_pairs

# two of each, unequal classes, one image alone, every image alone, a single class, a single image
LABELS = [[0, 1, 0, 1], [3, 0, 3, 3, 0, 3], [2, 5, 2, 5, 7], [4, 2, 0], [1, 1, 1], [6]]


def naive_partner(features, targets, anchor, same):
    """The nearest other image that has, or has not, the anchor's class; None if there is none."""
    best, smallest = None, math.inf
    for other in range(len(targets)):
        if other == anchor or (targets[other] == targets[anchor]) != same:
            continue
        distance = sum((a - b) ** 2 for a, b in zip(features[anchor].tolist(), features[other].tolist(), strict=True))
        if distance < smallest:
            best, smallest = other, distance
    return best


def check(features, targets):
    images, valid = nearest_pairs(features, torch.tensor(targets))
    assert images.shape == (2 * len(targets), 2) and valid.shape == (2 * len(targets),)
    for row, (pair, counts) in enumerate(zip(images.tolist(), valid.tolist(), strict=True)):
        anchor = row % len(targets)
        expected = naive_partner(features, targets, anchor, same=row < len(targets))
        assert pair[0] == anchor
        assert counts == (expected is not None)
        if expected is not None:
            assert pair[1] == expected
    return valid


@pytest.mark.parametrize('targets', LABELS)
def test_pairs_equal_the_loops(targets):
    for seed in range(20):
        features = torch.randn(len(targets), 3, generator=torch.Generator().manual_seed(seed))
        check(features, targets)


@pytest.mark.parametrize(('targets', 'within', 'across'), [
    ([0, 0, 1, 1], 4, 4), ([0, 0, 1], 2, 3), ([0, 1, 2], 0, 3), ([5, 5, 5], 3, 0), ([5], 0, 0)])
def test_number_of_valid_pairs(targets, within, across):
    valid = check(torch.randn(len(targets), 4), targets)
    assert valid[:len(targets)].sum() == within
    assert valid[len(targets):].sum() == across


@pytest.mark.parametrize('rows', [1, 2, 5])
@pytest.mark.parametrize('targets', LABELS)
def test_blocks_of_anchors_give_the_same_pairs(monkeypatch, rows, targets):
    monkeypatch.setattr('fgvc_zoo.layers.pairwise_interaction.BLOCK_ROWS', rows)
    check(torch.randn(len(targets), 3), targets)
    check(torch.ones(len(targets), 3), targets)


class _Largest(TorchDispatchMode):
    """Entries of the largest tensor that any operation returns."""

    entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.entries = max(self.entries, result.numel() if isinstance(result, torch.Tensor) else 0)
        return result


def test_memory_grows_with_the_batch_and_not_with_its_square(monkeypatch):
    monkeypatch.setattr('fgvc_zoo.layers.pairwise_interaction.BLOCK_ROWS', 8)
    with _Largest() as largest:
        nearest_pairs(torch.randn(128, 4), torch.arange(64).repeat(2))
    assert largest.entries == 2 * 8 * 128


def test_duplicates_pair_with_each_other_and_not_with_themselves():
    features = torch.randn(6, 5)
    features[3] = features[0]
    features[4] = features[1]
    targets = [0, 1, 0, 0, 2, 2]
    check(features, targets)
    images = nearest_pairs(features, torch.tensor(targets)).images
    assert images[0].tolist() == [0, 3] and images[3].tolist() == [3, 0]  # the same image twice in a class
    assert images[6 + 1].tolist() == [1, 4]  # the same image in two classes
    check(torch.ones(6, 5), targets)


def test_distances_are_exact_where_an_expanded_square_is_not():
    """|a|^2 + |b|^2 - 2ab of vectors far from the origin loses the differences, and half precision loses them sooner."""
    features = 1000 + torch.tensor([[0.0, 0.0], [0.25, 0.0], [0.0, 0.125], [0.0, 0.5]])
    check(features, [0, 0, 0, 1])
    with torch.autocast('cpu', dtype=torch.bfloat16):
        check(features, [0, 0, 0, 1])
    check(torch.tensor([[200.0, 0], [-200, 0], [100, 0], [0, 50]], dtype=torch.float16), [0, 0, 0, 1])  # squares beyond float16


def test_a_distance_beyond_float32_makes_no_wrong_pair():
    features = torch.tensor([[3e38, 0.0], [-3e38, 0.0], [3e38, 1.0]])
    images, valid = nearest_pairs(features, torch.tensor([0, 0, 1]))
    label = torch.tensor([0, 0, 1])[images]
    same = label[:, 0] == label[:, 1]
    assert (same[:3] & (images[:3, 0] != images[:3, 1]))[valid[:3]].all()
    assert (~same[3:])[valid[3:]].all()


def test_no_gradient_flows_through_mining():
    features = torch.randn(4, 3, requires_grad=True)
    images, _ = nearest_pairs(features, torch.tensor([0, 0, 1, 1]))
    assert not images.requires_grad and not images.is_floating_point()


def test_interaction_equals_the_formula_entry_by_entry():
    pairs, mutual = torch.randn(3, 2, 4, dtype=torch.double), torch.randn(3, 4, dtype=torch.double)
    computed = attentive_features(pairs, mutual)
    assert computed.shape == (3, 2, 2, 4)
    for r in range(3):
        for c in range(4):
            x = [pairs[r, i, c].item() for i in range(2)]
            gate = [1 / (1 + math.exp(-mutual[r, c].item() * x[i])) for i in range(2)]
            for i in range(2):
                assert computed[r, i, 0, c].item() == pytest.approx(x[i] + x[i] * gate[i])
                assert computed[r, i, 1, c].item() == pytest.approx(x[i] + x[i] * gate[1 - i])


def test_equal_images_have_equal_gates():
    image = torch.randn(2, 1, 4).expand(2, 2, 4)
    computed = attentive_features(image, torch.randn(2, 4))
    torch.testing.assert_close(computed[:, :, 0], computed[:, :, 1], rtol=0, atol=0)


def test_mutual_vector_is_linear_and_knows_the_order():
    layer = PairwiseInteraction(4, hidden=5).double().eval()
    pairs = torch.randn(3, 2, 4, dtype=torch.double)
    mutual = torch.stack([
        layer.expand.weight @ (layer.reduce.weight @ torch.cat([first, second]) + layer.reduce.bias) + layer.expand.bias
        for first, second in pairs])
    torch.testing.assert_close(layer(pairs), attentive_features(pairs, mutual))
    assert not torch.allclose(layer(pairs.flip(1)).flip(1), layer(pairs))


def test_without_options_the_layers_are_the_authors():
    layer = PairwiseInteraction(6)
    assert layer.reduce.weight.shape == (512, 12) and layer.expand.weight.shape == (6, 512)
    assert layer.drop.p == 0.5 and not layer.normalize


def test_dropout_acts_in_training_only():
    layer = PairwiseInteraction(4, hidden=64, drop_rate=0.5)
    pairs = torch.randn(3, 2, 4)
    assert not torch.equal(layer(pairs), layer(pairs))
    layer.eval()
    assert torch.equal(layer(pairs), layer(pairs))


def test_gradient():
    layer = PairwiseInteraction(3, hidden=4, drop_rate=0.0).double()
    pairs = torch.randn(3, 2, 3, dtype=torch.double, requires_grad=True)
    parameters = tuple(layer.parameters())
    assert torch.autograd.gradcheck(lambda *inputs: layer(inputs[0]), (pairs, *parameters))


@pytest.mark.parametrize('scale', [0.0, 1.0, 6e4])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_autocast_changes_nothing_and_stays_finite(scale, dtype):
    """In float16 the mutual vector of such features is infinite, and a channel that is 0 times that is not a number."""
    layer = PairwiseInteraction(8, hidden=16).eval()
    with torch.no_grad():
        layer.expand.weight.abs_()
        layer.reduce.weight.abs_()
    pairs = scale * torch.ones(2, 2, 8)
    pairs[..., :4] = 0
    pairs.requires_grad_()
    expected = layer(pairs)
    with torch.autocast('cpu', dtype=dtype):
        computed = layer(pairs)
    computed.sum().backward()
    assert torch.equal(computed, expected) and computed.isfinite().all()
    assert pairs.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())
    assert layer(pairs.detach().to(dtype)).dtype == torch.float32


def test_normalised_gates_do_not_depend_on_the_size_of_features():
    """The gates of features and of the same features a hundred times smaller, each read off x_self / x - 1."""
    torch.manual_seed(0)
    layer = PairwiseInteraction(6, hidden=5, drop_rate=0.0, normalize=True)
    pairs = torch.rand(4, 2, 6) + 0.1
    for scale in (1.0, 0.01):
        small = scale * pairs
        gates = layer(small) / small[:, :, None] - 1
        for row in range(4):
            unit = [x / x.square().mean().sqrt() for x in pairs[row]]
            mutual = layer.expand(layer.reduce(torch.cat(unit)))
            for image in range(2):
                torch.testing.assert_close(gates[row, image, 0], torch.sigmoid(mutual * unit[image]), rtol=1e-4, atol=1e-5)
                torch.testing.assert_close(gates[row, image, 1], torch.sigmoid(mutual * unit[1 - image]), rtol=1e-4, atol=1e-5)
    assert layer(torch.zeros(1, 2, 6)).eq(0).all()
