"""API-Net's network: inference is the plain classifier on the pooled feature; and its map."""

import pytest
import timm
import torch

import fgvc_zoo  # noqa: F401
from fgvc_zoo import UserError
from fgvc_zoo.layers import attention_box


def make(backbone='test_resnet', **args):
    torch.manual_seed(0)
    return timm.create_model('apinet', backbone=backbone, **{**dict(num_classes=5), **args}).eval()


@pytest.fixture
def images():
    return torch.randn(3, 3, 64, 96, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize('global_pool', ['avg', 'max'])
@torch.no_grad()
def test_inference_is_the_classifier_on_the_pooled_feature(images, global_pool):
    model = make(global_pool=global_pool)
    rows = []
    for image in model.forward_features(images):
        cells = [channel.flatten().tolist() for channel in image]
        rows.append([max(cell) if global_pool == 'max' else sum(cell) / len(cell) for cell in cells])
    features = torch.tensor(rows)
    expected = features @ model.classifier.weight.T + model.classifier.bias
    parts = model.forward_parts(images)
    torch.testing.assert_close(parts.features, features)
    torch.testing.assert_close(parts.logits, expected)
    torch.testing.assert_close(model(images), expected)
    torch.testing.assert_close(model(images[:1]), expected[:1])  # the batch axis survives a single image


@pytest.mark.parametrize('backbone', ['test_resnet', 'test_efficientnet', 'test_convnext'])
def test_a_checkpoint_holds_the_backbone_and_a_classifier_and_nothing_else(backbone):
    model = make(backbone)
    others = [name for name in model.state_dict() if not name.startswith('backbone.')]
    assert others == ['classifier.weight', 'classifier.bias']
    plain = timm.create_model(backbone, num_classes=0).state_dict()
    assert sum(tensor.numel() for tensor in model.backbone.state_dict().values()) <= sum(tensor.numel() for tensor in plain.values())


def test_equals_the_timm_model_with_the_same_weights(images):
    model, source = make('test_efficientnet'), timm.create_model('test_efficientnet', num_classes=5).eval()
    state = source.state_dict()
    model.classifier.load_state_dict({name: state.pop(f'classifier.{name}') for name in ('weight', 'bias')})
    model.backbone.model.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(model(images), source(images))


@pytest.mark.parametrize(('name', 'width', 'cells'), [
    ('apinet_resnet50', 2048, 14), ('apinet_resnet101', 2048, 14), ('apinet_densenet161', 2208, 14),
    ('apinet_tf_efficientnet_lite0', 1280, 14), ('apinet_convnext_tiny', 768, 7), ('apinet_vit_small_patch16_224', 384, 14)])
def test_registered_shapes(name, width, cells):
    model = timm.create_model(name, num_classes=2, device='meta').eval()
    size = model.pretrained_cfg['input_size']
    assert size[1] == (224 if 'convnext' in name or 'vit' in name else 448)  # EfficientNet-Lite0's is that of its default checkpoint
    assert model.forward_features(torch.empty(1, *size, device='meta')).shape == (1, width, cells, cells)
    assert model.pretrained_cfg['pool_size'] == (cells, cells)
    assert model.pretrained_cfg['paper_ids'] == 'arXiv:2002.10191'


def test_map_is_what_each_position_says_for_the_predicted_class(images):
    """With average pooling the favour of the predicted class is the mean of the map before its negative part is cut."""
    model = make()
    with torch.no_grad():
        model.classifier.bias.zero_()
        features = model.forward_features(images)
    leaf = features.detach().requires_grad_()
    logits = model.classifier(model.embed(leaf))
    favour = logits.amax(1) - logits.mean(1)
    gradient, = torch.autograd.grad(favour.sum(), leaf)
    contribution = (gradient * leaf).sum(1).detach() * leaf[0, 0].numel()
    torch.testing.assert_close(contribution.mean((1, 2)), favour.detach())
    explanation = model.explain(images)
    assert explanation.maps.shape == (3, 3, *features.shape[2:])
    assert (explanation.maps[:, 0] > 0).flatten(1).any(1).all()
    torch.testing.assert_close(explanation.maps[:, 0], contribution.relu(), rtol=1e-4, atol=1e-5)
    box = attention_box(contribution.relu(), torch.tensor(0.5), 0.0, 64, 96)
    torch.testing.assert_close(explanation.boxes[:, 0], box, rtol=0, atol=1e-4)
    assert explanation.map_names == ['class activation', 'for the first class', 'for the second class']
    assert explanation.box_names == ['class activation']


def test_the_map_finds_the_spot_that_decides():
    """One cell speaks for a class and another against it: the map is where the first is, and the box around it."""
    model = make()
    spot = torch.zeros(1, model.num_features, 4, 4)
    spot[0, :, 1, 2] = (model.classifier.weight[3] - model.classifier.weight.mean(0)).detach()
    spot[0, :, 3, 0] = -0.5 * spot[0, :, 1, 2]
    with torch.no_grad():
        model.classifier.bias.zero_()
    model.forward_features = lambda x: spot
    explanation = model.explain(torch.zeros(1, 3, 64, 64))
    assert explanation.maps[0, 0, 1, 2] > 0 and (explanation.maps[0, 0] > 0).sum() == 1 and (explanation.maps >= 0).all()
    left, top, right, bottom = explanation.boxes[0, 0].tolist()
    assert left < 0.625 < right and top < 0.375 < bottom and (right - left) * (bottom - top) < 0.2


def test_the_contrast_adds_up_to_the_difference_of_the_logits(images):
    model = make()
    with torch.no_grad():
        model.classifier.bias.zero_()
        logits = model(images)
    best = logits.topk(2).indices
    contrast = model.contrast(images, best[:, 0], best[:, 1])
    difference = contrast[:, 0] - contrast[:, 1]
    torch.testing.assert_close(difference.mean((1, 2)), logits.gather(1, best[:, :1])[:, 0] - logits.gather(1, best[:, 1:])[:, 0])
    assert (contrast >= 0).all() and not (contrast[:, 0] * contrast[:, 1]).any()
    torch.testing.assert_close(model.explain(images).maps[:, 1:], contrast)
    torch.testing.assert_close(model.contrast(images, best[:, 1], best[:, 0]), contrast.flip(1))


def test_explain_without_a_classifier_says_so(images):
    with pytest.raises(UserError, match='needs its classifier'):
        make(num_classes=0).explain(images)


def test_a_single_class_gets_the_whole_image(images):
    explanation = make(num_classes=1).explain(images)
    assert not explanation.maps.any()
    torch.testing.assert_close(explanation.boxes, torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(3, 1, 4))


@pytest.mark.parametrize('global_pool', ['avg', 'max'])
def test_scripts_and_traces(images, global_pool):
    model = make(global_pool=global_pool)
    with torch.no_grad():
        expected = model(images)
        torch.testing.assert_close(torch.jit.script(model)(images), expected)
        traced = timm.models.create_feature_extractor(model, {'classifier': 'logits'})
        torch.testing.assert_close(traced(images)['logits'], expected)


def test_impossible_pooling_is_named():
    with pytest.raises(UserError, match="choose from 'avg', 'max'"):
        make(global_pool='catavgmax')


def test_round_trip_through_a_folder(tmp_path, images):
    model = make('test_convnext', stage=2, global_pool='max')
    timm.models.save_for_hf(model, tmp_path, safe_serialization=True)
    again = timm.create_model(f'local-dir:{tmp_path}', pretrained=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(images), model(images), rtol=0, atol=0)
