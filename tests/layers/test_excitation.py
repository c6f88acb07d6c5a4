"""One squeeze, several excitations, against loops."""

import math

import pytest
import torch
from timm.models import is_notrace_function

from fgvc_zoo import UserError
from fgvc_zoo.layers import FlattenedMaps, MultiExcitation, ParallelLinear, PositionPool
from fgvc_zoo.layers.excitation import require_size


def test_parallel_linear_is_one_linear_layer_a_row():
    torch.manual_seed(0)
    module = ParallelLinear(3, 4, 5)
    x = torch.randn(2, 3, 4)
    computed = module(x)
    assert computed.shape == (2, 3, 5)
    for b in range(2):
        for p in range(3):
            weight, bias = module.layers[p].weight, module.layers[p].bias
            torch.testing.assert_close(computed[b, p], weight @ x[b, p] + bias)


def test_excitations_follow_the_formula():
    torch.manual_seed(0)
    channels, count, hidden = 8, 2, 2
    module = MultiExcitation(channels, count, reduction=4).double()
    z = torch.randn(3, channels, dtype=torch.double)
    computed = module(z)
    for b in range(3):
        for p in range(count):
            first, first_bias = (t[p * hidden:(p + 1) * hidden].tolist() for t in (module.reduce.weight, module.reduce.bias))
            inner = [max(0.0, sum(w * v for w, v in zip(row, z[b].tolist(), strict=True)) + bias)
                     for row, bias in zip(first, first_bias, strict=True)]
            second = module.expand.layers[p]
            for c in range(channels):
                value = sum(w * v for w, v in zip(second.weight[c].tolist(), inner, strict=True)) + second.bias[c].item()
                assert computed[b, p, c].item() == pytest.approx(1 / (1 + math.exp(-value)))


def test_branches_do_not_share_weights():
    torch.manual_seed(0)
    module = MultiExcitation(32, 2)
    z = torch.randn(4, 32, requires_grad=True)
    module(z)[:, 0].sum().backward()
    hidden = 2
    assert module.reduce.weight.grad[:hidden].any() and not module.reduce.weight.grad[hidden:].any()
    assert module.expand.layers[0].weight.grad.any() and not module.expand.layers[1].weight.grad.any()


def test_gradient():
    torch.manual_seed(0)
    module = MultiExcitation(6, 3, reduction=2).double()
    assert torch.autograd.gradcheck(module, (torch.randn(2, 6, dtype=torch.double, requires_grad=True),))


def test_the_bottleneck_has_a_sixteenth_of_the_channels_unless_said():
    assert MultiExcitation(64, 2).reduce.weight.shape == (2 * 4, 64)


def test_bottleneck_never_vanishes():
    assert MultiExcitation(8, 2, reduction=16)(torch.randn(1, 8)).shape == (1, 2, 8)


def test_flattened_maps_are_weighed_channel_by_channel_and_of_one_size():
    torch.manual_seed(0)
    maps, excitations = torch.randn(2, 3, 2, 4), torch.rand(2, 5, 3)
    computed = FlattenedMaps(2, 4)(maps, excitations)
    for b in range(2):
        for p in range(5):
            torch.testing.assert_close(computed[b, p], torch.cat([excitations[b, p, c] * maps[b, c].flatten() for c in range(3)]))
    with pytest.raises(UserError, match='2x4 cells and the input gives one of 4x2'):
        FlattenedMaps(2, 4)(maps.transpose(2, 3), excitations)


def test_positions_are_weighed_channel_by_channel():
    torch.manual_seed(0)
    module = PositionPool(3, 2, 2, 4).double()
    torch.nn.init.normal_(module.weight)
    maps = torch.randn(2, 3, 2, 4, dtype=torch.double)
    computed = module(maps)
    for b in range(2):
        for p in range(2):
            for c in range(3):
                total = sum(module.weight[p, c, i, j] * maps[b, c, i, j] for i in range(2) for j in range(4))
                torch.testing.assert_close(computed[b, p, c], total)
    assert torch.autograd.gradcheck(lambda maps, weight: torch.func.functional_call(module, dict(weight=weight), maps),
                                    (maps.requires_grad_(), module.weight))


@pytest.mark.parametrize('size', [(7, 7), (14, 14), (5, 9)])
def test_positions_begin_as_the_mean_over_a_map_of_any_size(size):
    maps = torch.randn(2, 3, *size)
    computed = PositionPool(3, 2, 7, 7)(maps)
    torch.testing.assert_close(computed, maps.mean((2, 3)).unsqueeze(1).expand(-1, 2, -1))


def test_the_grid_of_positions_is_laid_over_a_larger_map():
    module = PositionPool(1, 1, 2, 2)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    weights = module.weights(4, 4)[0, 0]
    torch.testing.assert_close(weights.sum(), torch.tensor(10.0))
    torch.testing.assert_close(torch.stack([weights[0, 0], weights[0, 3], weights[3, 0], weights[3, 3]]), torch.tensor([1.0, 2, 3, 4]) / 4)


def test_a_grid_of_two_is_enlarged_between_the_centres_of_its_cells():
    pool = PositionPool(1, 1, 1, 2)
    with torch.no_grad():
        pool.weight.copy_(torch.tensor([[[[0.0, 4.0]]]]))
    torch.testing.assert_close(pool.weights(1, 4), torch.tensor([[[[0.0, 0.5, 1.5, 2.0]]]]))  # (0, 1, 3, 4) halved: twice as many cells


def test_symbolic_tracing_takes_the_check_of_a_size_as_one_operation():
    assert is_notrace_function(require_size)
