"""One NCHW map from any timm model; one clear sentence where there is none."""

import copy

import pytest
import timm
import torch
from safetensors.torch import save_file

from fgvc_zoo import UserError
from fgvc_zoo.models.backbone import Backbone


@pytest.mark.parametrize('name', ['test_resnet', 'test_convnext', 'test_vit', 'test_mambaout', 'levit_128s'])
def test_map_equals_timms_own(name):
    """The map by way of forward_features is the one by way of forward_intermediates."""
    torch.manual_seed(0)
    backbone = Backbone(name).eval()
    x = torch.randn(1, *timm.get_pretrained_cfg(name).input_size)
    with torch.no_grad():
        found = backbone(x)
        expected = backbone.model.forward_intermediates(x, indices=[backbone.stage], norm=True, output_fmt='NCHW', intermediates_only=True)
    torch.testing.assert_close(found, expected[0])
    assert found.shape[1:] == (backbone.num_features, *backbone.map_size)


def test_final_convolution_is_part_of_the_last_map_only_when_no_stage_is_chosen():
    assert Backbone('tf_efficientnet_lite0').num_features == 1280
    assert Backbone('tf_efficientnet_lite0', stage=-1).num_features == 320
    early = Backbone('tf_efficientnet_lite0', stage=-2)
    assert (early.num_features, early.reduction, early.map_size) == (112, 16, (14, 14))


@pytest.mark.parametrize(('name', 'stage'), [
    ('test_efficientnet', None), ('test_efficientnet', 2), ('mobilenetv3_small_050', None), ('test_vit', 0), ('inception_v3', -2)])
def test_no_parameter_is_unused(name, stage):
    backbone = Backbone(name, stage=stage).train()
    size = timm.get_pretrained_cfg(name).input_size
    backbone(torch.randn(2, *size)).square().mean().backward()
    assert [key for key, parameter in backbone.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize('name', ['test_resnet', 'test_efficientnet', 'test_nfnet', 'test_mambaout'])
def test_last_map_is_what_timms_classifier_pools(name):
    """Also where layers behind the last stage do not change the number of channels (test_nfnet)."""
    torch.manual_seed(0)
    complete = []
    backbone = Backbone(name, before_pruning=lambda model: complete.append(copy.deepcopy(model).eval())).eval()
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = complete[0].forward_features(x)
        torch.testing.assert_close(backbone(x), expected.permute(0, 3, 1, 2) if name == 'test_mambaout' else expected)


@pytest.mark.parametrize('name', ['test_resnet', 'test_efficientnet', 'test_vit', 'test_mambaout'])
@pytest.mark.parametrize('stage', [1, -2, -1])
def test_stage_is_timms_stage(name, stage):
    torch.manual_seed(0)
    complete = []
    backbone = Backbone(name, stage=stage, before_pruning=lambda model: complete.append(copy.deepcopy(model).eval()))
    backbone.eval()
    x = torch.randn(1, *timm.get_pretrained_cfg(name).input_size)
    with torch.no_grad():
        expected = complete[0].forward_intermediates(x, norm=True, output_fmt='NCHW', intermediates_only=True)[stage]
        torch.testing.assert_close(backbone(x), expected)
    assert backbone.num_features == expected.shape[1]


@pytest.mark.parametrize(('name', 'frozen'), [
    ('ghostnet_050', {'model.conv_head.weight', 'model.conv_head.bias'}),  # behind the pooling
    ('test_resnet', set())])
def test_what_the_map_does_not_need_is_frozen(name, frozen):
    backbone = Backbone(name).train()
    backbone(torch.randn(2, 3, 64, 64)).square().mean().backward()
    assert {key for key, parameter in backbone.named_parameters() if not parameter.requires_grad} == frozen
    assert {key for key, parameter in backbone.named_parameters() if parameter.grad is None} == frozen


def test_nothing_is_frozen_when_gradients_are_off_at_construction():
    with torch.no_grad():
        backbone = Backbone('test_resnet')
    assert all(parameter.requires_grad for parameter in backbone.parameters())


def test_tokens_of_images_that_are_not_square():
    backbone = Backbone('test_vit', img_size=(96, 160)).eval()
    x = torch.randn(2, 3, 96, 160)
    with torch.no_grad():
        found = backbone(x)
        expected = backbone.model.forward_intermediates(x, indices=1, norm=True, output_fmt='NCHW', intermediates_only=True)[-1]
    assert found.shape[2:] == (6, 10)
    torch.testing.assert_close(found, expected)


def test_weights_from_a_file_with_other_channels(tmp_path):
    source = timm.create_model('test_resnet')
    save_file(source.state_dict(), tmp_path / 'weights.safetensors')
    loaded = Backbone('test_resnet', pretrained=str(tmp_path / 'weights.safetensors'))
    torch.testing.assert_close(loaded.model.conv1[0].weight, source.conv1[0].weight)
    grey = Backbone('test_resnet', pretrained=str(tmp_path / 'weights.safetensors'), in_chans=1)
    torch.testing.assert_close(grey.model.conv1[0].weight, source.conv1[0].weight.sum(1, keepdim=True))


def test_the_complete_model_is_seen_before_it_is_cut():
    seen = []
    Backbone('inception_v3', stage=-2, before_pruning=lambda model: seen.append(hasattr(model.Mixed_7a, 'branch3x3_1')))
    assert seen == [True]


@pytest.mark.parametrize(('args', 'words'), [
    (dict(name='resnet5'), "did you mean '.*resnet5"),
    (dict(name='test_resnet', stage=5), 'has 5 stages, so stage 5'),
    (dict(name='test_resnet', stage=-6), 'has 5 stages, so stage -6'),
    (dict(name='test_resnet', pretrained='weights.pth'), r'must be a \.safetensors file'),
    (dict(name='test_resnet', pretrained='missing.safetensors'), 'there is no backbone weights file'),
])
def test_mistakes_are_named(args, words):
    with pytest.raises(UserError, match=words):
        Backbone(**args)


@pytest.mark.parametrize('device', ['cpu', 'meta'])
def test_made_in_inference_mode(device):
    """As in a script that is in inference mode from its first line; nothing about the map is lost."""
    with torch.inference_mode(), torch.device(device):
        body = Backbone('test_resnet')
    assert body.map_size == Backbone('test_resnet').map_size


@pytest.mark.parametrize(('name', 'stage', 'kept'), [('test_vit', 1, 0), ('test_resnet', None, 1)])
def test_a_pruned_model_still_runs(name, stage, kept):
    """Also one that reads its map from a stage in the middle."""
    args = dict(img_size=64) if name == 'test_vit' else {}
    model = timm.create_model('apinet', backbone=name, stage=stage, num_classes=3, **args).eval()
    model.prune_intermediate_layers([kept])
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert model(images).shape[1] == model.num_features == model.feature_info[-1]['num_chs']
