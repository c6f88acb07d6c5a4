"""OSME's network: its branches, what each is worth alone, and its maps."""

import pytest
import timm
import torch

import fgvc_zoo  # noqa: F401
from fgvc_zoo import UserError
from fgvc_zoo.layers import attention_box

POOLS = ['avg', 'max', 'depthwise', 'flatten']


def make(backbone='test_resnet', **args):
    torch.manual_seed(0)
    model = timm.create_model('osme', backbone=backbone, **{**dict(num_classes=5, width=6, reduction=4, map_size=(2, 3)), **args}).eval()
    if model.branch_pool == 'depthwise':
        torch.nn.init.normal_(model.positions.weight, std=0.3)  # it begins as the mean
    return model


@pytest.fixture
def images():
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def naive_branches(model, features):
    """f_p from W3_p and the weighted map, in the order of the formula: weigh first, pool then."""
    squeezed = torch.stack([torch.stack([channel.sum() / channel.numel() for channel in image]) for image in features])
    excitations = model.excitation(squeezed)
    result = []
    for image, weights in zip(features, excitations, strict=True):
        rows = []
        for p, (m, layer) in enumerate(zip(weights, model.branches.layers, strict=True)):
            weighted = torch.stack([m[c] * image[c] for c in range(len(image))])
            if model.branch_pool == 'max':
                positions = [layer.weight @ weighted[:, i, j] + layer.bias for i in range(image.shape[1]) for j in range(image.shape[2])]
                rows.append(torch.stack(positions).amax(0))
                continue
            if model.branch_pool == 'depthwise':
                weighted = weighted * model.positions.weight[p] * image[0].numel()
            vector = weighted.flatten() if model.branch_pool == 'flatten' else weighted.flatten(1).mean(1)
            rows.append(layer.weight @ vector + layer.bias)
        result.append(torch.stack(rows))
    return torch.stack(result), excitations


@pytest.mark.parametrize('branch_pool', POOLS)
@torch.no_grad()
def test_forward_follows_the_formula(images, branch_pool):
    model = make(branch_pool=branch_pool, num_attentions=3)
    branches, excitations = naive_branches(model, model.forward_features(images))
    joined = branches.sum(1)
    expected = joined @ model.classifier.weight.T + model.classifier.bias
    parts = model.forward_parts(images)
    torch.testing.assert_close(parts.features, branches)
    torch.testing.assert_close(parts.excitations, excitations)
    torch.testing.assert_close(parts.logits, expected)
    torch.testing.assert_close(model(images), expected)
    assert model.head_hidden_size == joined.shape[1]


@torch.no_grad()
def test_a_branch_alone_is_the_classifier_fed_with_it_only(images):
    model = make(num_attentions=3)
    branches = model.forward_parts(images).features
    passes = model.forward_passes(images)
    assert list(passes.parts) == ['branch1', 'branch2', 'branch3']
    assert passes.boxes is None
    torch.testing.assert_close(passes.combined, model(images))
    torch.testing.assert_close(torch.stack(list(passes.parts.values())).mean(0), passes.combined)
    for p in range(3):
        expected = 3 * branches[:, p] @ model.classifier.weight.T + model.classifier.bias
        torch.testing.assert_close(passes.parts[f'branch{p + 1}'], expected)


@pytest.mark.parametrize('branch_pool', POOLS)
def test_maps_are_contributions_to_the_predicted_class(images, branch_pool):
    """The weighted maps S_p are leaves here: gradient times value is the contribution, because what follows them is linear."""
    model = make(branch_pool=branch_pool)
    with torch.no_grad():
        for layer in (model.classifier, *model.branches.layers):
            layer.bias.zero_()  # so that the map alone decides, and something speaks for the predicted class
        features = model.forward_features(images)
        _, excitations = model.branch_features(features)
    weighted = (features.unsqueeze(1) * excitations[..., None, None]).requires_grad_()
    if branch_pool == 'max':
        branches = model.branches(weighted.flatten(3).transpose(2, 3)).amax(2)
    elif branch_pool == 'depthwise':
        branches = model.branches((weighted * model.positions.weight).sum((3, 4)))
    else:
        branches = model.branches(weighted.flatten(2) if branch_pool == 'flatten' else weighted.mean((3, 4)))
    logits = model.classifier(branches.sum(1))
    predicted = logits.argmax(1)
    favour = logits.gather(1, predicted[:, None])[:, 0] - logits.mean(1)
    gradient, = torch.autograd.grad(favour.sum(), weighted)
    contribution = (gradient * weighted).sum(2).detach()
    torch.testing.assert_close(contribution.sum((1, 2, 3)), favour.detach())  # nothing is left out
    cells = contribution[0, 0].numel() if branch_pool == 'avg' else 1
    explanation = model.explain(images)
    assert (explanation.maps > 0).any()
    together = contribution.sum(1, keepdim=True)
    torch.testing.assert_close(explanation.maps, cells * torch.cat([together, contribution], 1).relu(), rtol=1e-4, atol=1e-5)
    assert explanation.map_names == ['class activation', *explanation.box_names]
    assert explanation.box_names == list(explanation.looks) == ['excitation 1', 'excitation 2']
    torch.testing.assert_close([*explanation.looks.values()], [*model.forward_passes(images).parts.values()])
    for p in range(2):
        box = attention_box(contribution[:, p].relu(), torch.tensor(0.5), 0.0, 64, 96)
        torch.testing.assert_close(explanation.boxes[:, p], box, rtol=0, atol=1e-4)


def test_explain_without_a_classifier_says_so(images):
    with pytest.raises(UserError, match='needs its classifier'):
        make(num_classes=0).explain(images)


def test_branches_take_any_size_and_flattened_ones_say_which(images):
    taller = torch.randn(2, 3, 96, 96)
    for branch_pool in ('avg', 'max', 'depthwise'):
        assert make(branch_pool=branch_pool)(taller).shape == (2, 5)
    model = make(branch_pool='flatten')
    assert model.branches.layers[0].in_features == model.num_features * 2 * 3
    assert model(images).shape == (2, 5)
    with pytest.raises(UserError, match='tied to maps of 2x3 cells and the input gives one of 3x3'):
        model(taller)


def test_flattened_branches_default_to_the_backbones_own_size():
    model = make(branch_pool='flatten', map_size=None)
    assert model(torch.randn(1, *timm.get_pretrained_cfg('test_resnet').input_size)).shape == (1, 5)


def test_flattened_branches_are_as_large_as_the_paper_makes_them():
    model = timm.create_model('osme_resnet50', branch_pool='flatten', num_classes=2, device='meta')
    assert round(model.branches.layers[0].weight.numel() / 1e6) == 411


@pytest.mark.parametrize('branch_pool', POOLS)
def test_scripts_traces_and_exports(images, branch_pool):
    model = make(branch_pool=branch_pool)
    with torch.no_grad():
        expected = model(images)
        torch.testing.assert_close(torch.jit.script(model)(images), expected)
        traced = timm.models.create_feature_extractor(model, {'classifier': 'logits'})
        torch.testing.assert_close(traced(images)['logits'], expected)
        exported = torch.export.export(model, (images,), dynamic_shapes={'x': {0: torch.export.Dim('batch', min=2, max=8)}})
        more = torch.cat([images, images.flip(0)])[:3]
        torch.testing.assert_close(exported.module()(more), model(more), rtol=1e-4, atol=1e-4)


def test_half_precision_checkpoint_of_the_small_model_is_below_12_mb():
    model = timm.create_model('osme_tf_efficientnet_lite0', num_classes=50, device='meta')
    assert 2 * sum(tensor.numel() for tensor in model.state_dict().values()) < 12e6


def test_autocast_with_zero_and_huge_inputs(images):
    model = make()
    for scale in (0.0, 1.0, 1e4):
        with torch.no_grad(), torch.autocast('cpu', dtype=torch.bfloat16):
            passes = model.forward_passes(images * scale)
            explanation = model.explain(images * scale)
        assert passes.combined.isfinite().all()
        assert explanation.maps.isfinite().all() and explanation.maps.dtype == torch.float32
        assert explanation.boxes.isfinite().all()


@pytest.mark.parametrize(('args', 'words'), [
    (dict(branch_pool='flat'), "did you mean 'flatten'"),
    (dict(global_pool='max'), "choose from 'avg'"),
    (dict(num_attentions=0), 'num_attentions'),
    (dict(width=0), 'width must be at least 1'),
    (dict(reduction=0), 'reduction must be at least 1'),
])
def test_impossible_choices_are_named(args, words):
    with pytest.raises(UserError, match=words):
        make(**args)


def test_round_trip_through_a_folder(tmp_path, images):
    model = make('test_convnext', num_attentions=3)
    timm.models.save_for_hf(model, tmp_path, safe_serialization=True)
    again = timm.create_model(f'local-dir:{tmp_path}', pretrained=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(images), model(images), rtol=0, atol=0)
    assert again.head_hidden_size == 6
