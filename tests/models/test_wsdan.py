"""WS-DAN's network: its two passes, its initialisations, and what timm asks of it."""

import math

import pytest
import timm
import torch
from torch import nn

import fgvc_zoo  # noqa: F401
from fgvc_zoo import UserError


def make(backbone='test_resnet', **args):
    torch.manual_seed(0)
    return timm.create_model('wsdan', backbone=backbone, **{**dict(num_classes=5, num_maps=4), **args}).eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def naive_logits(model, images):
    """Bilinear attention pooling, signed root, unit length, times 100, classifier: entry by entry from the formula."""
    features = model.forward_features(images)
    attention = model.attention(features)
    batch, channels, height, width = features.shape
    rows = []
    for b in range(batch):
        vector = []
        for m in range(attention.shape[1]):
            for c in range(channels):
                total = sum((attention[b, m, i, j] * features[b, c, i, j]).item() for i in range(height) for j in range(width))
                mean = total / (height * width)
                vector.append(math.copysign(math.sqrt(abs(mean)), mean))
        length = math.sqrt(sum(entry * entry for entry in vector))
        rows.append([100 * entry / length for entry in vector])
    return torch.tensor(rows) @ model.classifier.weight.T + model.classifier.bias


def test_single_pass_follows_the_formula(images):
    model = make(refine=False, num_maps=6)
    with torch.no_grad():
        torch.testing.assert_close(model(images), naive_logits(model, images), rtol=1e-3, atol=2e-3)


def test_two_passes_average_probabilities(images):
    model = make()
    with torch.no_grad():
        passes = model.forward_passes(images)
        output = model(images)
    torch.testing.assert_close(output, passes.combined)
    torch.testing.assert_close(output.softmax(1), (passes.parts['raw'].softmax(1) + passes.parts['refined'].softmax(1)) / 2)
    model.refine = False
    with torch.no_grad():
        torch.testing.assert_close(model(images), passes.parts['raw'])


def test_second_pass_sees_the_attended_box(images):
    """A box computed and cut by hand, one image at a time, gives the same second pass."""
    model = make(refine_threshold=0.5)
    with torch.no_grad():
        passes = model.forward_passes(images)
        attention = model.attention(model.forward_features(images))
        for index in range(len(images)):
            height, width = images.shape[2:]
            mean = nn.functional.interpolate(
                attention[index].mean(0)[None, None], (height, width), mode='bilinear', align_corners=False)[0, 0]
            ys, xs = (mean >= 0.5 * mean.max()).nonzero(as_tuple=True)
            box = torch.tensor([
                max(xs.min().item() / width - 0.05, 0.0), max(ys.min().item() / height - 0.05, 0.0),
                min((xs.max().item() + 1) / width + 0.05, 1.0), min((ys.max().item() + 1) / height + 0.05, 1.0)])
            torch.testing.assert_close(passes.boxes[index], box, rtol=0, atol=1e-5)


def test_train_mode_is_one_pass(images):
    model = make().train()
    calls = []
    model.backbone.register_forward_hook(lambda *_: calls.append(1))
    model(images)
    assert len(calls) == 1
    model.eval()(images)
    assert len(calls) == 3


def test_each_pass_runs_the_attention_convolution_once(images):
    model = make()
    calls = []
    model.attention.register_forward_hook(lambda *_: calls.append('attention'))
    model.backbone.register_forward_hook(lambda *_: calls.append('backbone'))
    with torch.no_grad():
        for call in (model, model.forward_passes):
            calls.clear()
            call(images)
            assert calls == ['backbone', 'attention'] * 2


def test_pretrained_slice_equals_mixed_7a_of_the_backbone(tmp_path):
    from safetensors.torch import save_file
    torch.manual_seed(3)
    source = timm.create_model('inception_v3', aux_logits=False).eval()
    with torch.no_grad():
        source.Mixed_7a.branch3x3_1.bn.running_mean.uniform_()
    path = tmp_path / 'inception.safetensors'
    save_file(source.state_dict(), path)
    model = timm.create_model('wsdan_inception_v3', num_classes=2, pretrained_backbone=str(path)).eval()
    x = torch.rand(1, 768, 5, 5)
    with torch.no_grad():
        torch.testing.assert_close(model.attention(x), source.Mixed_7a.branch3x3_1(x)[:, :32])
        images = torch.randn(1, 3, 299, 299)
        torch.testing.assert_close(model.forward_features(images), source.forward_intermediates(
            images, indices=[-2], intermediates_only=True)[0])


@pytest.mark.parametrize(('args', 'words'), [
    (dict(attention_init='old'), 'attention_init'),
    (dict(attention_init='pretrained_slice'), "needs backbone 'inception_v3'"),
    (dict(backbone='inception_v3', stage=-2, attention_init='pretrained_slice', num_maps=193), 'num_maps 193'),
    (dict(global_pool='average'), "did you mean 'avg'"),
    (dict(backbone='resnet51'), 'resnet50'),
    (dict(backbone='test_resnet', stage=9), 'stage 9'),
])
def test_impossible_choices_are_named(args, words):
    with pytest.raises(UserError, match=words):
        make(**args)


def test_asking_for_weights_that_do_not_exist_is_an_error():
    with pytest.raises(UserError, match='no trained weights'):
        timm.create_model('wsdan_resnet101', pretrained=True)


def test_generic_model_round_trips_through_a_folder(tmp_path, images):
    model = make('test_convnext', stage=2, num_maps=3)
    timm.models.save_for_hf(model, tmp_path, safe_serialization=True)
    again = timm.create_model(f'local-dir:{tmp_path}', pretrained=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(images), model(images), rtol=0, atol=0)
    other = timm.create_model(f'local-dir:{tmp_path}', pretrained=True, num_classes=7, in_chans=1)
    assert other(images[:, :1]).shape == (2, 7)


def test_generic_model_takes_the_configuration_of_its_backbone():
    model = make('test_efficientnet')
    expected = timm.get_pretrained_cfg('test_efficientnet')
    assert model.pretrained_cfg['mean'] == expected.mean
    assert model.pretrained_cfg['input_size'] == expected.input_size
    assert model.pretrained_cfg['first_conv'] == f'backbone.model.{expected.first_conv}'
    size = expected.input_size
    assert model.forward_features(torch.randn(1, *size)).shape[2:] == model.pretrained_cfg['pool_size']


@pytest.mark.parametrize('backbone', ['test_resnet', 'test_vit', 'test_convnext'])
def test_max_pool_and_signed_features_are_finite(backbone):
    model = make(backbone, global_pool='max').train()
    size = timm.get_pretrained_cfg(backbone).input_size
    output = model(torch.randn(2, *size))
    output.sum().backward()
    assert output.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_autocast_with_zero_and_huge_inputs(images):
    model = make()
    for scale in (0.0, 1.0, 1e4):
        for dtype in (torch.bfloat16, torch.float16):
            with torch.no_grad(), torch.autocast('cpu', dtype=dtype):
                parts = model.forward_passes(images * scale)
            assert parts.boxes.isfinite().all()
            if dtype is torch.bfloat16 or scale <= 1:
                assert parts.combined.isfinite().all(), (scale, dtype)


def test_explain_names_its_parts(images):
    explanation = make().explain(images)
    assert explanation.maps.shape[:2] == (2, 5)
    assert explanation.boxes.shape == (2, 1, 4)
    assert len(explanation.map_names) == 5
    assert explanation.box_names == ['object']
    assert (explanation.maps >= 0).all()
    assert (explanation.boxes[..., 2:] > explanation.boxes[..., :2]).all()


def test_compile_free_export_equals_eager(images):
    model = make()
    exported = torch.export.export(model, (images,), dynamic_shapes={'x': {0: torch.export.Dim('batch', min=2, max=8)}})
    with torch.no_grad():
        more = torch.cat([images, images.flip(0)])[:3]
        torch.testing.assert_close(exported.module()(more), model(more), rtol=1e-4, atol=1e-4)


def test_layer_decay_sees_depth():
    model = make()
    match = model.group_matcher()
    depth = [match(name) for name, _ in model.named_parameters()]
    assert depth[0] == 0
    assert match('classifier.weight') == match('attention.conv.weight') > max(
        match(name) for name, _ in model.named_parameters() if name.startswith('backbone.'))
