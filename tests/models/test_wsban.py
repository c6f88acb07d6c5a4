"""WS-BAN's network: what differs from WS-DAN's, with which it shares its two passes."""

import pytest
import timm
import torch
from torch import nn

import fgvc_zoo  # noqa: F401
from fgvc_zoo import UserError
from fgvc_zoo.layers import attention_embedding


def make(backbone='test_resnet', **args):
    torch.manual_seed(0)
    return timm.create_model('wsban', backbone=backbone, **{**dict(num_classes=5, num_maps=6), **args}).eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def test_the_paper_has_128_maps():
    assert timm.create_model('wsban_resnet50', num_classes=2, device='meta').num_maps == 128


def test_second_pass_sees_the_largest_region_only(images):
    """Two bright spots: the larger one is the object although the smaller is brighter, and the box does not span both."""
    model = make(refine_threshold=0.4, refine_padding=0.0)
    attention = torch.zeros(1, 6, 8, 8)
    attention[:, :, 1:4, 1:4] = 1.0
    attention[:, :, 6:8, 6:8] = 1.3
    torch.testing.assert_close(model.object_box(attention, 64, 64), torch.tensor([[1, 1, 4, 4]]) / 8, rtol=0, atol=1 / 64)


def test_weak_cells_elsewhere_do_not_widen_the_box(images):
    """A narrow peak is lower once it is enlarged; a plateau just below the threshold must not pass for that."""
    model = make(refine_threshold=0.5, refine_padding=0.0)
    attention = torch.zeros(1, 6, 7, 7)
    attention[:, :, 1, 1] = 1.0
    attention[:, :, 4:6, 4:6] = 0.497
    box = model.object_box(attention, 70, 70)[0]
    assert (box[:2] >= 0.5 / 7).all() and (box[2:] <= 2.5 / 7).all(), box


def test_one_connected_region_is_the_box_of_the_threshold(images):
    from fgvc_zoo.layers import object_box
    model = make(refine_threshold=0.3)
    position = torch.linspace(-2, 2, 9)
    attention = (-(position[:, None] ** 2) - (position[None] - 0.5) ** 2).exp().expand(2, 6, 9, 9)
    torch.testing.assert_close(model.object_box(attention, 50, 70), object_box(attention, 50, 70, 0.3, 0.05))


def test_maps_without_a_region_give_the_whole_image():
    model = make()
    for maps in (torch.zeros(1, 6, 4, 4), torch.full((1, 6, 4, 4), float('nan')), -torch.ones(1, 6, 4, 4)):
        torch.testing.assert_close(model.object_box(maps, 32, 32), torch.tensor([[0.0, 0.0, 1.0, 1.0]]))


def test_whole_maps_are_dropped_in_training_only(images):
    model = make(attention_drop_rate=0.5, num_maps=32)
    seen = []
    model.attention_drop.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    model(images)
    assert all(torch.equal(before, after) for before, after in seen)
    seen.clear()
    model.train()(images)
    (before, after), = seen
    dropped = (after == 0).flatten(2).all(2)
    assert 0.2 < dropped.float().mean() < 0.8
    torch.testing.assert_close(after[~dropped], 2 * before[~dropped])


def test_dropping_all_but_one_map_is_pooling_through_that_map():
    features, attention = torch.randn(1, 4, 3, 3), torch.rand(1, 5, 3, 3)
    only = attention.clone()
    only[:, [0, 1, 3, 4]] = 0
    embedding = attention_embedding(features, 5 * only).view(5, 4)  # inverted dropout scales by a common factor
    assert not embedding[[0, 1, 3, 4]].any()
    torch.testing.assert_close(embedding[2], attention_embedding(features, attention[:, 2:3])[0])


def test_both_looks_are_classified_jointly(images):
    model = make()
    with torch.no_grad():
        passes = model.forward_passes(images)
        torch.testing.assert_close(model(images).softmax(1), (passes.parts['raw'].softmax(1) + passes.parts['refined'].softmax(1)) / 2)
    assert list(passes.parts) == ['raw', 'refined']


def test_exported_graph_contains_both_passes(images):
    model = make()
    exported = torch.export.export(model, (images,), dynamic_shapes={'x': {0: torch.export.Dim('batch', min=2, max=8)}})
    more = torch.cat([images, images.flip(0)])[:3]
    with torch.no_grad():
        torch.testing.assert_close(exported.module()(more), model(more), rtol=1e-4, atol=1e-4)
        assert not torch.equal(model(more), make(refine=False)(more))


@pytest.mark.parametrize('args', [dict(global_pool='average'), dict(backbone='resnet51')])
def test_impossible_choices_are_named(args):
    with pytest.raises(UserError, match='did you mean|resnet50'):
        make(**args)


@pytest.mark.parametrize(('args', 'words'), [
    (dict(num_maps=0), 'num_maps must be at least 1, not 0'),
    (dict(refine_threshold=1.5), r'refine_threshold must be in \(0, 1\), not 1.5'),
    (dict(refine_padding=-0.1), 'refine_padding must be at least 0'),
    (dict(feature_scale=0.0), 'feature_scale must be above 0'),
    (dict(attention_drop_rate=1.0), r'attention_drop_rate must be in \[0, 1\)'),
    (dict(backbone_args=dict(output_strid=16)), "'test_resnet' cannot be built with output_strid=16"),
])
def test_numbers_out_of_range_are_named(args, words):
    with pytest.raises(UserError, match=words):
        make(**args)


def test_only_the_inference_weights_are_in_the_state(images):
    assert {name.split('.')[0] for name in make().state_dict()} == {'backbone', 'attention', 'classifier'}
    assert isinstance(make().attention_drop, nn.Dropout2d)
