"""A small architecture of every timm module becomes a feature map, and carries every method. Takes an hour: `pytest -m slow`."""

import copy

import pytest
import timm
import torch

import fgvc_zoo  # noqa: F401
from fgvc_zoo import UserError
from fgvc_zoo.models import METHODS
from fgvc_zoo.models.backbone import Backbone
from fgvc_zoo.recipes import load_recipe, recipe_for
from fgvc_zoo.tasks import create_task

# the smallest architecture of each module of timm 1.0.31; a module that a later timm adds is tried with its first
SMALL = {
    'beit': 'beit_base_patch16_224', 'byoanet': 'halonet_h1', 'byobnet': 'test_byobnet', 'cait': 'cait_xxs24_224',
    'coat': 'coat_tiny', 'convit': 'convit_tiny', 'convmixer': 'convmixer_768_32', 'convnext': 'test_convnext',
    'cpubone': 'cpubone_nano', 'crossvit': 'crossvit_tiny_240', 'csatv2': 'csatv2', 'cspnet': 'cs3darknet_focus_s',
    'cspnext': 'cspnext_tiny', 'davit': 'davit_tiny', 'deepseek_vit': 'deepseek_vit_412m',
    'deit': 'deit_tiny_patch16_224', 'densenet': 'densenet121', 'dla': 'dla46x_c', 'dpn': 'dpn48b',
    'edgenext': 'edgenext_xx_small', 'efficientformer': 'efficientformer_l1',
    'efficientformer_v2': 'efficientformerv2_s0', 'efficientnet': 'test_efficientnet',
    'efficientvim': 'efficientvim_m1', 'efficientvit_mit': 'efficientvit_b0',
    'efficientvit_msra': 'efficientvit_m0', 'eva': 'vit_tiny_patch16_dinov3_qkvb', 'fasternet': 'fasternet_t0',
    'fastvit': 'fastvit_t8', 'focalnet': 'focalnet_tiny_srf', 'gcvit': 'gcvit_xxtiny',
    'gemma4_vit': 'gemma4_vit_167m', 'ghostnet': 'ghostnet_050', 'hardcorenas': 'hardcorenas_b',
    'hgnet': 'hgnetv2_b0', 'hiera': 'hiera_tiny_224', 'hieradet_sam2': 'sam2_hiera_tiny',
    'hrnet': 'hrnet_w18_small', 'iformer': 'iformer_t', 'inception_next': 'inception_next_atto',
    'inception_resnet_v2': 'inception_resnet_v2', 'inception_v3': 'inception_v3', 'inception_v4': 'inception_v4',
    'lcnetv2': 'lcnetv2_small', 'levit': 'levit_128s', 'lowformer': 'lowformer_b0', 'mambaout': 'test_mambaout',
    'maxxvit': 'test_coatnet', 'metaformer': 'poolformerv2_s12', 'mlp_mixer': 'gmlp_ti16_224',
    'mobilenetv3': 'mobilenetv3_small_050', 'mobilenetv5': 'mobilenetv5_300m', 'mobilevit': 'mobilevit_xxs',
    'mvitv2': 'mvitv2_tiny', 'naflexvit': 'naflexvit_base_patch16_parfac_gap', 'nasnet': 'nasnetalarge',
    'nest': 'nest_tiny', 'nextvit': 'nextvit_small', 'nfnet': 'test_nfnet', 'pit': 'pit_ti_224',
    'pnasnet': 'pnasnet5large', 'pvt_v2': 'pvt_v2_b0', 'qwen3_vit': 'qwen3_vit_88m', 'rdnet': 'rdnet_tiny',
    'regnet': 'regnetx_002', 'repghost': 'repghostnet_050', 'repvit': 'repvit_m1', 'res2net': 'res2next50',
    'resnest': 'resnest14d', 'resnet': 'test_resnet', 'resnetv2': 'resnetv2_18', 'rexnet': 'rexnet_100',
    'selecsls': 'selecsls42', 'senet': 'legacy_seresnet18', 'sequencer': 'sequencer2d_s', 'shvit': 'shvit_s1',
    'sknet': 'skresnet18', 'starnet': 'starnet_s050', 'swiftformer': 'swiftformer_xs',
    'swin_transformer': 'swin_tiny_patch4_window7_224', 'swin_transformer_v2': 'swinv2_tiny_window8_256',
    'swin_transformer_v2_cr': 'swinv2_cr_tiny_224', 'tiny_vit': 'tiny_vit_5m_224',
    'tnt': 'tnt_s_legacy_patch16_224', 'tresnet': 'tresnet_m', 'twins': 'twins_svt_small', 'vgg': 'vgg11',
    'visformer': 'visformer_tiny', 'vision_transformer': 'test_vit',
    'vision_transformer_hybrid': 'vit_tiny_r_s16_p8_224', 'vision_transformer_relpos': 'test_vit_relpos',
    'vision_transformer_sam': 'samvit_base_patch16_224', 'vitamin': 'vitamin_small_224', 'volo': 'volo_d1_224',
    'vovnet': 'ese_vovnet19b_slim_dw', 'xception': 'legacy_xception', 'xception_aligned': 'xception41p',
    'xcit': 'xcit_nano_12_p8_224',
}
MODULES = [
    module for module in timm.list_modules()
    if any(timm.model_entrypoint(name).__module__.startswith('timm.') for name in timm.list_models(module=module))]
REFUSED = {
    'gemma4_vit_167m': 'yields no feature map',  # it reads its grid off the positions' values, which meta tensors lack
}
NAMES = [SMALL.get(module) or timm.list_models(module=module)[0] for module in MODULES]


def image_size(cfg):
    """A small size that the model takes."""
    height, width = cfg['input_size'][1:]
    if cfg.get('fixed_input_size'):
        return height, width
    if cfg.get('min_input_size'):
        return tuple(cfg['min_input_size'][1:])
    return min(height, 96), min(width, 96)


def timms_own(model, stage, x):
    """What the complete timm model has at this point, as an NCHW map.

    Without a stage: what its own classifier pools, where that is a map. Else the stage's map, with the final norm if
    the model takes one.
    """
    if stage is None:
        features = model.forward_features(x)
        if isinstance(features, torch.Tensor) and features.ndim == 4:
            return features.permute(0, 3, 1, 2) if getattr(model, 'output_fmt', 'NCHW') == 'NHWC' else features
    index = len(model.feature_info) + (-1 if stage is None else stage)
    options = dict(indices=[index], output_fmt='NCHW', intermediates_only=True)
    try:
        return model.forward_intermediates(x, norm=True, **options)[0]
    except AssertionError:  # Hiera has no final norm
        return model.forward_intermediates(x, **options)[0]


def test_list_is_of_this_timm():
    assert set(SMALL) <= set(MODULES)
    assert all(timm.is_model(name) and name in timm.list_models(module=module) for module, name in SMALL.items())
    assert len(SMALL) - len(REFUSED) >= 93


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize('stage', [None, -2])
@pytest.mark.parametrize('name', NAMES)
def test_map(name, stage):
    torch.manual_seed(0)
    if name in REFUSED:
        with pytest.raises(UserError, match=REFUSED[name]):
            Backbone(name, stage=stage)
        return
    complete = []
    backbone = Backbone(name, stage=stage, before_pruning=lambda model: complete.append(copy.deepcopy(model).eval()))
    backbone.eval()
    x = torch.randn(2, 3, *image_size(backbone.pretrained_cfg))

    with torch.no_grad():
        found = backbone(x)
        torch.testing.assert_close(found, timms_own(complete[0], stage, x))
    assert found.ndim == 4
    assert found.shape[:2] == (2, backbone.num_features)

    backbone.train()(x).square().mean().backward()
    for key, parameter in backbone.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, key
    assert any(parameter.requires_grad for parameter in backbone.parameters())


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('name', [name for name in NAMES if name not in REFUSED])
def test_method_over_it(name, method):
    """Logits in eval mode, and one step of the method's task that moves its classifier and its backbone."""
    torch.manual_seed(0)
    model = timm.create_model(method, backbone=name, num_classes=3)
    images, targets = torch.randn(4, 3, *image_size(model.pretrained_cfg)), torch.tensor([0, 0, 2, 2])
    begin = dict(proposal_steps=0) if method == 'racnn' else {}  # its first phase trains neither
    task = create_task(load_recipe(recipe_for(method)).task, model, **begin)
    loss = task.train()(images, targets)['loss']
    loss.backward()
    assert loss.isfinite()
    for part in (model.classifier, model.backbone):
        assert any(parameter.grad is not None and parameter.grad.any() for parameter in part.parameters())
    model.eval()
    with torch.no_grad():
        logits = model(images[:2])
    assert logits.shape == (2, 3) and logits.isfinite().all()
