"""WS-BAN's training step against the formula, part by part."""

import pytest
import timm
import torch
from torch.nn import functional as F

import fgvc_zoo  # noqa: F401
from fgvc_zoo import UserError
from fgvc_zoo.layers import crop_boxes
from fgvc_zoo.tasks import create_task


def make(**args):
    torch.manual_seed(0)
    model = timm.create_model('wsban', backbone='test_resnet', num_classes=3, num_maps=4, stage=-2, refine_threshold=0.8)
    return model, create_task('wsban', model, **args)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 3, 64, 64, generator=generator), torch.tensor([0, 1, 2, 1])


def test_loss_follows_the_formula(batch):
    images, targets = batch
    model, task = make(smoothing=0.1, center_weight=0.7, distillation_weight=0.3, temperature=2.0)
    task.eval()  # no dropped maps, and batch norm treats both passes alike, so that they can be recomputed
    result = task(images, targets)
    with torch.no_grad():
        passes = model.forward_passes(images)
    raw, part = passes.parts['raw'], passes.parts['refined']
    assert ((passes.boxes[:, 2:] - passes.boxes[:, :2]) < 1).any()
    soft = (part / 2).softmax(1)
    divergence = (soft * (soft.log() - (raw / 2).log_softmax(1))).sum(1).mean()
    expected = ((F.cross_entropy(raw, targets, label_smoothing=0.1) + F.cross_entropy(part, targets, label_smoothing=0.1)) / 2
                + 0.3 * 4 * divergence + 0.7 * 1.0)  # unseen classes: every unit embedding is at distance 1 from its zero centre
    torch.testing.assert_close(result['loss'], expected)
    torch.testing.assert_close(result['output'], raw)
    torch.testing.assert_close(result['distillation'], 4 * divergence)


def test_the_part_teaches_and_does_not_learn_from_the_master(batch):
    """The crop's pass learns from its own cross-entropy only."""
    images, targets = batch
    model, task = make(center_weight=0.0, distillation_weight=1.0)
    task.eval()
    maps = []  # of the passes with gradients: the part's, the whole image's

    def keep(module, inputs, output):
        if output.requires_grad:
            output.retain_grad()
            maps.append(output)

    model.backbone.register_forward_hook(keep)
    result = task(images, targets)
    result['loss'].backward()
    of_part, of_whole = (output.grad.clone() for output in maps)
    boxes = model.object_box(model.attention(maps[1]), 64, 64)
    part = model.forward_parts(crop_boxes(images, boxes, 64, 64)).logits
    model.zero_grad()
    (F.cross_entropy(part, targets) / 2).backward()
    assert of_whole.any()
    # the gradient of the part is that of its own cross-entropy and nothing of the distillation
    torch.testing.assert_close(of_part, maps[2].grad, rtol=1e-3, atol=1e-7)


def test_distillation_can_be_left_out(batch):
    images, targets = batch
    _, task = make(distillation_weight=0.0, center_weight=0.0)
    task.eval()
    result = task(images, targets)
    assert 'distillation' not in result
    torch.testing.assert_close(result['loss'], (result['raw'] + result['part']) / 2)


def test_every_parameter_learns_and_centres_do_not(batch):
    images, targets = batch
    model, task = make()
    task(images, targets)['loss'].backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
    assert not task.centers.requires_grad and task.centers.any()


def test_refuses_options_out_of_range():
    with pytest.raises(UserError, match="did you mean 'distillation_weight'"):
        make(distilation_weight=1)
    for args in (dict(temperature=0), dict(center_rule='emma'), dict(center_beta=0)):
        with pytest.raises(UserError, match=next(iter(args))):
            make(**args)
