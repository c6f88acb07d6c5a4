"""RA-CNN's network: its scales, what each sees, and what timm asks of several networks in one."""

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

import fgvc_zoo  # noqa: F401
from fgvc_zoo import UserError
from fgvc_zoo.recipes import load_recipe
from fgvc_zoo.training.setup import _origin, parameter_groups


def make(backbone='test_resnet', spread=True, **args):
    """A small model; `spread` gives proposals that differ between images, scales and axes."""
    torch.manual_seed(0)
    model = timm.create_model('racnn', backbone=backbone, **{**dict(num_classes=5, proposal_width=8), **args}).eval()
    if spread:
        with torch.no_grad():
            for proposal in model.proposals:
                proposal.hidden.weight.normal_(std=0.3)
                proposal.out.weight.normal_(std=0.6)
    return model


@pytest.fixture
def images():
    return torch.randn(3, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def naive_look(image, box, height, width):
    """One image's box (l, t, r, b) enlarged bilinearly, with positions from linspace."""
    left, top, right, bottom = box
    x = left + (right - left) * (torch.arange(width) + 0.5) / width
    y = top + (bottom - top) * (torch.arange(height) + 0.5) / height
    grid = torch.stack(torch.meshgrid(2 * x - 1, 2 * y - 1, indexing='xy'), -1)
    return F.grid_sample(image[None], grid[None], padding_mode='border', align_corners=False)[0]


def naive_mask(center, half, count):
    x = center - half + 2 * half * (torch.arange(count) + 0.5) / count
    return torch.sigmoid(10 * (x - (center - half))) - torch.sigmoid(10 * (x - (center + half)))


def naive_scales(model, image, size):
    """Every scale's map of one image, and the boxes in the image: proposal, composition of squares, mask, crop, one by one."""
    height, width = size
    maps, boxes = [model.backbone(image[None])], []
    origin, side = torch.zeros(2), 1.0
    for proposal, backbone in zip(model.proposals, model.backbones, strict=True):
        x, y, half = proposal(maps[-1])[0]
        mask_x, mask_y = naive_mask(x, half, width), naive_mask(y, half, height)
        origin, side = origin + side * torch.stack([x - half, y - half]), side * 2 * half
        in_image = torch.cat([origin, origin + side])
        crop = naive_look(image, in_image, height, width)
        if model.masked:
            crop = crop * mask_y[:, None] * mask_x
        maps.append(backbone(crop[None]))
        boxes.append(in_image)
    return maps, torch.stack(boxes)


@pytest.mark.parametrize(('num_scales', 'crop_size', 'masked'), [(3, 0, True), (4, 64, False), (2, 64, True), (3, 0, False)])
def test_every_scale_sees_the_composed_square(images, num_scales, crop_size, masked):
    model = make(num_scales=num_scales, crop_size=crop_size, masked=masked)
    with torch.no_grad():
        found = model.forward_parts(images)
        assert found.boxes.shape == (3, num_scales - 1, 4)
        assert found.boxes.std(0).mean() > 0.001  # images propose differently
        for index in range(3):
            maps, boxes = naive_scales(model, images[index], (64, 64) if crop_size else (64, 96))
            torch.testing.assert_close(found.boxes[index], boxes)
            for have, want in zip(found.maps, maps, strict=True):
                torch.testing.assert_close(have[index], want[0], rtol=1e-3, atol=1e-4)


def test_scales_are_classified_apart_and_together(images):
    model = make()
    with torch.no_grad():
        found = model.forward_parts(images)
        descriptors = [features.mean((2, 3)) for features in found.maps]
        joint = torch.cat([10 * d / d.square().sum(1, keepdim=True).sqrt() for d in descriptors], 1)
        fusion = joint @ model.fusion.weight.T + model.fusion.bias
        alone = [d @ c.weight.T + c.bias for d, c in zip(descriptors, [model.classifier, *model.classifiers], strict=True)]
        torch.testing.assert_close(found.fusion, fusion)
        torch.testing.assert_close(model(images), fusion)
        for have, want in zip(found.logits, alone, strict=True):
            torch.testing.assert_close(have, want)
        torch.testing.assert_close(model.forward_head(model.forward_features(images)), alone[0])
        model.training = True  # batch norms stay as they are
        torch.testing.assert_close(model(images), torch.stack([fusion, *alone]).mean(0))


@pytest.mark.parametrize('joint', ['fusion', 'mean'])
@pytest.mark.parametrize(('num_scales', 'names'), [
    (2, ['scale1', 'scale2', 'scale1+2', 'fusion']),
    (3, ['scale1', 'scale2', 'scale3', 'scale1+2', 'scale1+2+3', 'fusion']),
    (4, ['scale1', 'scale2', 'scale3', 'scale4', 'scale1+2', 'scale1+2+3', 'scale1+2+3+4', 'fusion'])])
def test_passes(images, num_scales, names, joint):
    model = make(num_scales=num_scales, joint=joint)
    with torch.no_grad():
        passes, found, answer = model.forward_passes(images), model.forward_parts(images), model(images)
    assert list(passes.parts) == names
    torch.testing.assert_close(passes.parts['fusion'], found.fusion)
    torch.testing.assert_close(passes.boxes, found.boxes[:, 0])
    for count in range(2, num_scales + 1):
        mean = sum(logits.softmax(1) for logits in found.logits[:count]) / count
        torch.testing.assert_close(passes.parts[names[num_scales + count - 2]].softmax(1), mean)
    torch.testing.assert_close(answer, passes.combined)
    torch.testing.assert_close(answer.softmax(1), mean if joint == 'mean' else found.fusion.softmax(1))


def test_networks_begin_equal_and_are_not_shared():
    model = make()
    for other in model.backbones:
        for (name, first), (_, second) in zip(model.backbone.named_parameters(), other.named_parameters(), strict=True):
            assert torch.equal(first, second) and first.data_ptr() != second.data_ptr(), name


def test_pretrained_weights_reach_every_network(tmp_path):
    source = timm.create_model('test_resnet')
    save_file(source.state_dict(), tmp_path / 'backbone.safetensors')
    model = make(pretrained_backbone=str(tmp_path / 'backbone.safetensors'), num_scales=4)
    for network in (model.backbone, *model.backbones):
        torch.testing.assert_close(network.model.conv1[0].weight, source.conv1[0].weight)


@pytest.mark.parametrize('num_scales', [2, 4])
def test_all_classifiers_and_first_convolutions_are_fitted_when_loading(tmp_path, images, num_scales):
    model = make(num_scales=num_scales)
    timm.models.save_for_hf(model, tmp_path, safe_serialization=True)
    kept = load_file(tmp_path / 'model.safetensors')
    for name in model.pretrained_cfg['classifier']:
        assert kept[f'{name}.weight'].shape[0] == 5
    assert len(model.pretrained_cfg['classifier']) == num_scales + 1
    assert len(model.pretrained_cfg['first_conv']) == num_scales
    again = timm.create_model(f'local-dir:{tmp_path}', pretrained=True).eval()
    with torch.no_grad():
        assert torch.equal(again(images), model(images))
    other = timm.create_model(f'local-dir:{tmp_path}', pretrained=True, num_classes=7, in_chans=1).eval()
    assert other(images[:, :1]).shape == (3, 7)
    for network in model.pretrained_cfg['first_conv']:
        torch.testing.assert_close(other.state_dict()[f'{network}.weight'], kept[f'{network}.weight'].sum(1, keepdim=True))
    same = [name for name, value in other.state_dict().items() if torch.equal(value, kept.get(name, torch.zeros(0)))]
    assert len(same) == len(kept) - 2 * (num_scales + 1) - num_scales


def test_all_classifiers_are_replaced(images):
    model = make()
    old = [model.classifier, *model.classifiers, model.fusion]
    model.reset_classifier(3)
    with torch.no_grad():
        assert all(logits.shape == (3, 3) for logits in [*model.forward_parts(images).logits, model(images)])
    assert not {*old} & {*model.modules()}
    assert not any(module.training for module in model.modules())
    model.reset_classifier(0)
    assert model(images).shape == (3, model.num_features)


def test_layers_have_one_depth_in_every_network_and_learn_alike():
    model = make('tf_efficientnet_lite0')
    depth = model.group_matcher()
    names = [name for name, _ in model.named_parameters()]
    for name in names:
        if name.startswith('backbone.'):
            assert depth(name.replace('backbone.', 'backbones.1.', 1)) == depth(name)
    head = {depth(name) for name in names if not name.startswith('backbone')}
    assert head == {max(depth(name) for name in names if name.startswith('backbone')) + 1}
    recipe = load_recipe('racnn').replace(frozen_below=0.5, layer_decay=0.8)
    scale = {id(p): group['lr_scale'] for group in parameter_groups(model, recipe) for p in group['params']}
    parameters = dict(model.named_parameters())
    frozen = 0
    for name, parameter in parameters.items():
        origin = _origin(model, name)
        assert origin == ('backbone' if name.startswith('backbone') else 'new' if name.startswith('proposals') else 'head')
        if name.startswith('backbone.'):
            for twin in (parameters[name.replace('backbone.', f'backbones.{index}.', 1)] for index in range(2)):
                assert twin.requires_grad == parameter.requires_grad
                assert scale.get(id(twin)) == scale.get(id(parameter))
            frozen += not parameter.requires_grad
    assert 0 < frozen < len(parameters)
    assert scale[id(model.proposals[1].out.weight)] == recipe.new_lr_scale
    assert scale[id(model.classifiers[1].weight)] == scale[id(model.fusion.weight)] == recipe.head_lr_scale


def test_no_weight_decay_names_every_network():
    model = make('test_vit', img_size=160)
    names = model.no_weight_decay()
    assert {'backbone.model.pos_embed', 'backbones.0.model.pos_embed', 'backbones.1.model.pos_embed'} <= names


def test_finer_scales_teach_the_proposals_before_them_unless_told_not_to(images):
    model = make()

    def learned(logits):
        gradients = torch.autograd.grad(logits.sum(), list(model.proposals.parameters()), allow_unused=True)
        count = len(gradients) // 2
        return [any(g is not None and g.any().item() for g in part) for part in (gradients[:count], gradients[count:])]

    found = model.forward_parts(images)
    assert learned(found.logits[1] + 0 * found.logits[2]) == [True, False]
    assert learned(model.forward_parts(images).logits[2]) == [True, True]
    found = model.forward_parts(images, learn_boxes=False)
    assert learned(found.logits[2] + found.fusion + 0 * sum(p.sum() for p in model.proposals.parameters())) == [False, False]


@pytest.mark.parametrize(('args', 'words'), [
    (dict(num_scales=1), r'num_scales must be in \[2, 4\]'),
    (dict(num_scales=5), r'num_scales must be in \[2, 4\]'),
    (dict(joint='means'), "did you mean 'mean'"),
    (dict(crop_size=-5), 'crop_size must be at least 0'),
    (dict(proposal_grid=0), 'proposal_grid must be at least 1'),
    (dict(proposal_channels=-1), 'proposal_channels must be at least 0'),
    (dict(proposal_width=0), 'proposal_width must be at least 1'),
    (dict(global_pool='max'), "global_pool 'max' is not known"),
])
def test_impossible_choices_are_named(args, words):
    with pytest.raises(UserError, match=words):
        make(spread=False, **args)


def test_explanation_lies_in_the_image(images):
    model = make()
    found, explanation = model.forward_parts(images), model.explain(images)
    assert explanation.map_names == ['all scales', 'scale 1', 'scale 2', 'scale 3'] and explanation.box_names == ['scale 2', 'scale 3']
    assert list(explanation.looks) == explanation.map_names[1:]
    torch.testing.assert_close([*explanation.looks.values()], [logits.detach() for logits in found.logits])
    scales = explanation.maps[:, 1:]
    torch.testing.assert_close(explanation.maps[:, 0], (scales / scales.amax((2, 3), keepdim=True)).mean(1))
    torch.testing.assert_close(explanation.boxes, found.boxes.detach())
    height, width = explanation.maps.shape[2:]
    x, y = (torch.arange(width) + 0.5) / width, (torch.arange(height) + 0.5) / height
    for index in range(3):
        for scale in range(2):
            left, top, right, bottom = found.boxes[index, scale].tolist()
            margin = 0.5 * max(right - left, bottom - top)  # bilinear interpolation fades out over half a cell of a small map
            outside_x = (x < left - margin) | (x > right + margin)
            outside_y = (y < top - margin) | (y > bottom + margin)
            values = explanation.maps[index, scale + 2]
            assert not values[:, outside_x].any() and not values[outside_y].any()
            inside = values[(y > top) & (y < bottom)][:, (x > left) & (x < right)]
            assert (inside > 0).all()


def test_small_model_stays_small():
    model = timm.create_model('racnn_tf_efficientnet_lite0', num_classes=200, device='meta')
    assert 2 * sum(tensor.numel() for tensor in model.state_dict().values()) < 40e6


def test_paper_sizes():
    """VGG-19 at 448 px and 224 px: maps of 28x28 and 14x14 cells, and 103 million weights a proposal network that sees all channels."""
    model = timm.create_model('racnn_vgg19', device='meta', proposal_channels=0)
    maps, _, _ = model.forward_scales(torch.zeros(1, 3, 448, 448, device='meta'))
    assert [tuple(features.shape[1:]) for features in maps] == [(512, 28, 28), (512, 14, 14), (512, 14, 14)]
    assert model.proposals[0].hidden.weight.numel() == 512 * 14 * 14 * 1024


def test_pruning_leaves_scale_one_only(images):
    model = make()
    model.prune_intermediate_layers([2], prune_head=True)
    assert {name.split('.')[0] for name, _ in model.named_parameters()} == {'backbone'}
    assert model(images).ndim == 4


def test_autocast_with_zero_and_huge_inputs(images):
    model = make()
    for scale in (0.0, 1.0, 1e4):
        with torch.no_grad(), torch.autocast('cpu', dtype=torch.bfloat16):
            found = model.forward_parts(images * scale)
        assert found.boxes.dtype == torch.float32 and found.boxes.isfinite().all()
        assert (found.boxes[..., 2:] - found.boxes[..., :2] >= 1 / 9 - 1e-5).all()
        assert found.fusion.isfinite().all()
