"""WS-DAN's training step against the formula, part by part."""

import pytest
import timm
import torch
from torch.nn import functional as F

import fgvc_zoo  # noqa: F401
from fgvc_zoo import UserError
from fgvc_zoo.layers import attention_crop, attention_drop
from fgvc_zoo.tasks import create_task


def make(num_classes=3, **args):
    torch.manual_seed(0)
    model = timm.create_model('wsdan', backbone='test_resnet', num_classes=num_classes, num_maps=4)
    return model, create_task('wsdan', model, **args)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 3, 64, 64, generator=generator), torch.tensor([0, 1, 2, 1])


def test_loss_is_the_mean_of_three_cross_entropies_plus_the_centre_loss(batch):
    images, targets = batch
    model, task = make(smoothing=0.1, center_weight=0.7)
    task.eval()  # batch norm then treats the three passes alike, so that they can be recomputed
    torch.manual_seed(5)
    result = task(images, targets)

    torch.manual_seed(5)
    raw = model.forward_parts(images)
    crops = attention_crop(images, raw.attention, None, (0.4, 0.6), 0.1)
    drops = attention_drop(images, raw.attention, None, (0.2, 0.5))
    expected = 0.0
    for logits in (raw.logits, model.forward_parts(crops).logits, model.forward_parts(drops).logits):
        expected = expected + F.cross_entropy(logits, targets, label_smoothing=0.1) / 3
    expected = expected + 0.7 * 1.0  # unseen classes: every unit embedding is at distance 1 from its zero centre
    torch.testing.assert_close(result['loss'], expected)
    torch.testing.assert_close(result['output'], raw.logits)
    torch.testing.assert_close(result['center'], torch.tensor(1.0))


def test_the_weight_multiplies_the_centre_loss(batch):
    images, targets = batch
    _, task = make(center_weight=0.7)
    task(images, targets)  # moves the centres
    task.eval()
    torch.manual_seed(5)
    result = task(images, targets)
    assert abs(result['center'] - 1) > 0.1  # else a product and a quotient are alike
    parts = (result['raw'] + result['crop'] + result['drop']) / 3
    torch.testing.assert_close(result['loss'], parts + 0.7 * result['center'])


def test_a_sharp_pass_is_cut_from_the_large_images_and_dropped_from_the_small_ones():
    images, targets = torch.randn(4, 3, 128, 128, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 2, 1])
    torch.manual_seed(0)
    model = timm.create_model('wsdan', backbone='test_resnet', num_classes=3, num_maps=4, pass_size=64)
    task = create_task('wsdan', model).eval()
    torch.manual_seed(5)
    result = task(images, targets)

    torch.manual_seed(5)
    small = F.avg_pool2d(images, 2)
    raw = model.forward_parts(small)
    crops = F.avg_pool2d(attention_crop(images, raw.attention, None, (0.4, 0.6), 0.1), 2)
    drops = attention_drop(small, raw.attention, None, (0.2, 0.5))
    for name, logits in dict(raw=raw.logits, crop=model.forward_parts(crops).logits, drop=model.forward_parts(drops).logits).items():
        torch.testing.assert_close(result[name], F.cross_entropy(logits, targets), rtol=1e-4, atol=1e-5)


def test_centres_move_by_beta_in_training_only(batch):
    images, targets = batch
    model, task = make(center_beta=0.25)
    task.eval()
    task(images, targets)
    assert not task.centers.any()
    task.train()
    embedding = model.forward_parts(images).embedding.detach()
    task(images, targets)
    torch.testing.assert_close(task.centers[0], 0.25 * embedding[0])
    torch.testing.assert_close(task.centers[1], 0.25 * (embedding[1] + embedding[3]) / 2)


def test_every_parameter_learns_and_centres_do_not(batch):
    images, targets = batch
    model, task = make()
    task(images, targets)['loss'].backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
    assert not task.centers.requires_grad


def test_refuses_unknown_names():
    with pytest.raises(UserError, match="did you mean 'wsdan'"):
        create_task('wsdam', timm.create_model('test_resnet'))
    with pytest.raises(UserError, match="did you mean 'center_beta'"):
        make(centre_beta=1)


TWO_PROCESSES = '''
images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))
targets = torch.tensor([0, 1, 2, 1])
task = create_task('wsdan', timm.create_model('wsdan', backbone='test_resnet', num_classes=3, num_maps=4))
task.trainable_module.eval()  # the same embeddings on any split of the batch
task.training = True
mine = slice(2 * rank, 2 * rank + 2)
task(images[mine], targets[mine])
result = task.centers
'''


def test_centres_are_equal_on_two_processes_and_equal_to_one(batch, two_processes):
    images, targets = batch
    _, single = make()
    single.trainable_module.eval()
    single.training = True
    single(images, targets)
    first, second = two_processes(TWO_PROCESSES)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, single.centers)
