"""The MAMC training step against the formula, its health checks, and two processes against one."""

import itertools

import pytest
import timm
import torch
from torch.nn import functional as F

import fgvc_zoo  # noqa: F401
from fgvc_zoo import UserError
from fgvc_zoo.losses import mamc_loss
from fgvc_zoo.recipes import load_recipe
from fgvc_zoo.tasks import create_task


def make(num_attentions=2, **args):
    torch.manual_seed(0)
    model = timm.create_model('osme', backbone='test_resnet', num_classes=3, width=8, num_attentions=num_attentions)
    return model, create_task('osme', model, **args)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(8, 3, 64, 64, generator=generator), torch.tensor([0, 1, 2, 1, 0, 2, 1, 1])


@pytest.mark.parametrize('normalization', ['per_positive', 'per_pair'])
def test_loss_is_cross_entropy_plus_the_weighted_terms(batch, normalization):
    images, targets = batch
    model, task = make(smoothing=0.1, mamc_weight=0.3, normalization=normalization)
    task.eval()
    result = task(images, targets)
    parts = model.forward_parts(images)
    ce = F.cross_entropy(parts.logits, targets, label_smoothing=0.1)
    terms = mamc_loss(parts.features, targets, normalization)
    torch.testing.assert_close(result['loss'], ce + 0.3 * (terms.sasc + terms.sadc + terms.dasc))
    torch.testing.assert_close(result['ce'], ce)
    for name, value in terms._asdict().items():
        torch.testing.assert_close(result[name], value)
    torch.testing.assert_close(result['output'], parts.logits)


def test_the_constraint_can_see_vectors_of_one_length(batch):
    images, targets = batch
    model, task = make(mamc_weight=0.3, feature_length=4)
    task.eval()
    parts = model.forward_parts(images)
    vectors = torch.stack([torch.stack([4 * vector / vector.square().sum().sqrt() for vector in image]) for image in parts.features])
    terms = mamc_loss(vectors, targets)
    result = task(images, targets)
    torch.testing.assert_close(result['sasc'], terms.sasc)
    torch.testing.assert_close(result['loss'], F.cross_entropy(parts.logits, targets) + 0.3 * sum(terms))


def test_every_parameter_learns(batch):
    model, task = make()
    task(*batch)['loss'].backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
    assert not {id(p) for p in task.parameters()} - {id(p) for p in model.parameters()}


def test_a_few_steps_lower_the_loss_and_part_the_classes(batch):
    images, targets = batch
    _, task = make()
    optimizer = torch.optim.SGD(task.parameters(), lr=0.02, momentum=0.9)
    first = task(images, targets)
    for _ in range(40):
        result = task(images, targets)
        optimizer.zero_grad()
        result['loss'].backward()
        optimizer.step()
    assert result['loss'] < 0.2 * first['loss']
    assert result['sasc'] < 0.5 * first['sasc']


def test_refuses_unknown_options():
    with pytest.raises(UserError, match="did you mean 'mamc_weight'"):
        make(mam_weight=1)
    with pytest.raises(UserError, match="did you mean 'per_pair'"):
        make(normalization='per_pairs')
    with pytest.raises(UserError, match="'mamc' is now called 'osme'"):
        create_task('mamc', timm.create_model('osme', backbone='test_resnet', num_classes=3))


@pytest.mark.parametrize('count', [2, 4])
def test_diagnosis_equals_the_loops(batch, count):
    images, targets = batch[0][:count], batch[1][:count]  # fewer images than branches, and more
    model, task = make(num_attentions=3)
    task.eval()
    found = task.diagnose(images, targets)
    excitations = model.forward_parts(images).excitations.detach()
    for name, vectors in (('excitation_cosine', excitations), ('excitation_cosine_centered', excitations - excitations.mean(0))):
        cosines = [
            float(v[p] @ v[q] / (v[p].norm() * v[q].norm())) for v in vectors for p, q in itertools.combinations(range(3), 2)]
        assert found[name].item() == pytest.approx(sum(cosines) / len(cosines), abs=1e-5)
    passes = model.forward_passes(images)
    for p in (1, 2, 3):
        expected = 100 * (passes.parts[f'branch{p}'].argmax(1) == targets).float().mean()
        torch.testing.assert_close(found[f'branch{p}_top1'], expected)
    assert not any(value.requires_grad for value in found.values())


def test_diagnosis_sees_branches_that_attend_alike(batch):
    model, task = make()
    task.eval()
    with torch.no_grad():
        for tensor in (model.excitation.reduce.weight, model.excitation.reduce.bias):
            tensor[len(tensor) // 2:] = tensor[:len(tensor) // 2]
        first, second = model.excitation.expand.layers
        second.load_state_dict(first.state_dict())
    found = task.diagnose(*batch)
    assert found['excitation_cosine'].item() == pytest.approx(1)
    assert found['excitation_cosine_centered'].item() == pytest.approx(1)


def test_a_single_branch_has_no_pairs_to_compare(batch):
    _, task = make(num_attentions=1)
    task.eval()
    assert set(task.diagnose(*batch)) == {'branch1_top1'}
    assert task(*batch)['dasc'] == 0


@pytest.mark.parametrize('variant', [('osme', None), ('osme', 1), ('osme-paper', None)])
def test_recipe_fits_the_task(variant):
    recipe = load_recipe(*variant)
    assert recipe.task == 'osme'
    assert recipe.images_per_class == 2
    assert recipe.batch_size % recipe.images_per_class == 0
    make(smoothing=recipe.smoothing, **recipe.task_args)


TWO_PROCESSES = '''
images = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(1))
targets = torch.tensor([0, 1, 2, 1, 0, 2, 1, 1])
model = timm.create_model('osme', backbone='test_resnet', num_classes=3, width=8)
task = DistributedDataParallel(create_task('osme', model))
model.eval()  # the same features on any split of the batch
mine = slice(4 * rank, 4 * rank + 4)
losses = task(images[mine], targets[mine])
losses['loss'].backward()
result = dict(
    sasc=losses['sasc'], sadc=losses['sadc'], dasc=losses['dasc'], gradients={name: p.grad for name, p in model.named_parameters()})
'''


def test_two_processes_have_the_gradient_of_one(batch, two_processes):
    model, single = make()
    model.eval()
    expected = single(*batch)
    expected['loss'].backward()
    for result in two_processes(TWO_PROCESSES):
        for name in ('sasc', 'sadc', 'dasc'):
            torch.testing.assert_close(result[name], expected[name])
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(result['gradients'][name], parameter.grad, rtol=1e-3, atol=1e-5, msg=name)
