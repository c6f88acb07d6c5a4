"""Bilinear attention pooling against loops over every entry of the formula."""

import math

import pytest
import torch
from timm.models import is_notrace_function

from fgvc_zoo.layers import AttentionMaps, attention_embedding, bilinear_attention_pooling, signed_sqrt


def naive_pooling(features, attention, pool):
    batch, channels, height, width = features.shape
    result = torch.zeros(batch, attention.shape[1], channels, dtype=features.dtype)
    for b in range(batch):
        for m in range(attention.shape[1]):
            for c in range(channels):
                products = [attention[b, m, i, j] * features[b, c, i, j] for i in range(height) for j in range(width)]
                result[b, m, c] = max(products) if pool == 'max' else sum(products) / (height * width)
    return result


@pytest.fixture
def maps():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.double)
    attention = torch.rand(2, 6, 4, 5, generator=generator, dtype=torch.double)
    return features, attention


@pytest.mark.parametrize('pool', ['avg', 'max'])
def test_pooling_equals_the_loops(maps, pool):
    torch.testing.assert_close(bilinear_attention_pooling(*maps, pool), naive_pooling(*maps, pool))


def test_embedding_equals_the_formula(maps):
    features, attention = maps
    pooled = naive_pooling(features, attention, 'avg')
    expected = torch.zeros(2, 18, dtype=torch.double)
    for b in range(2):
        roots = [math.copysign(math.sqrt(abs(value)), value) for value in pooled[b].flatten().tolist()]
        length = math.sqrt(sum(value * value for value in roots))
        expected[b] = torch.tensor([value / length for value in roots])
    torch.testing.assert_close(attention_embedding(features, attention), expected)


@pytest.mark.parametrize('function', [attention_embedding])
def test_symbolic_tracing_takes_it_as_one_operation(function):
    assert is_notrace_function(function)


def test_pooling_without_values():
    """The meta device, which has no autocast."""
    features, attention = torch.empty(2, 6, 3, 5, device='meta'), torch.empty(2, 4, 3, 5, device='meta')
    assert bilinear_attention_pooling(features, attention).shape == (2, 4, 6)
    assert attention_embedding(features, attention).shape == (2, 24)


def test_constant_maps_give_equal_entries():
    embedding = attention_embedding(torch.full((1, 4, 3, 3), 2.0), torch.ones(1, 5, 3, 3))
    torch.testing.assert_close(embedding, torch.full((1, 20), 1 / math.sqrt(20)))


@pytest.mark.parametrize('pool', ['avg', 'max'])
def test_gradients(maps, pool):
    features, attention = (tensor.requires_grad_() for tensor in maps)
    assert torch.autograd.gradcheck(lambda f, a: attention_embedding(f, a, pool), (features, attention))
    assert torch.autograd.gradcheck(signed_sqrt, (torch.tensor([-2.0, -0.1, 0.3, 5.0], dtype=torch.double, requires_grad=True),))


def test_zero_input_is_finite_both_ways():
    features = torch.zeros(2, 3, 4, 4, requires_grad=True)
    attention = torch.zeros(2, 2, 4, 4, requires_grad=True)
    embedding = attention_embedding(features, attention)
    embedding.sum().backward()
    assert not embedding.any()
    assert features.grad.isfinite().all()
    assert attention.grad.isfinite().all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_autocast_and_half_inputs_do_not_overflow(dtype):
    features = torch.full((1, 3, 64, 64), 200.0, dtype=dtype)
    attention = torch.full((1, 2, 64, 64), 300.0, dtype=dtype)
    with torch.autocast('cpu', dtype=dtype):
        pooled = bilinear_attention_pooling(features, attention)
        embedding = attention_embedding(features, attention)
    assert pooled.dtype == embedding.dtype == torch.float32
    torch.testing.assert_close(pooled, torch.full((1, 2, 3), 60000.0), rtol=1e-2, atol=0)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(1))


def test_attention_maps_are_a_convolution_a_norm_and_a_relu():
    layer = AttentionMaps(3, 2).eval()
    torch.nn.init.normal_(layer.bn.running_mean)
    torch.nn.init.uniform_(layer.bn.running_var, 0.5, 2)
    x = torch.randn(1, 3, 2, 2)
    result = layer(x)
    for m in range(2):
        for i in range(2):
            for j in range(2):
                value = sum(layer.conv.weight[m, c, 0, 0] * x[0, c, i, j] for c in range(3))
                value = (value - layer.bn.running_mean[m]) / torch.sqrt(layer.bn.running_var[m] + 1e-3)
                torch.testing.assert_close(result[0, m, i, j], value.clamp(min=0))


def test_script_equals_eager(maps):
    scripted = torch.jit.script(attention_embedding)
    torch.testing.assert_close(scripted(*maps), attention_embedding(*maps))
