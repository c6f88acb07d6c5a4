"""What a run is made of: the input of the model, the learning rate of every step, and the papers' recipes over their backbones."""

import math

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.optim import create_optimizer_v2
from torch import nn

import fgvc_zoo  # noqa: F401
from fgvc_zoo import UserError
from fgvc_zoo.data import BalancedSampler, open_dataset
from fgvc_zoo.recipes import load_recipe
from fgvc_zoo.tasks import create_task
from fgvc_zoo.training.models import build_model
from fgvc_zoo.training.setup import (
    augment,
    class_vectors,
    early_side,
    images_per_class,
    parameter_groups,
    schedule,
    train_mode,
    trained_backbone,
)

# every method over the backbones of the papers
PAPER_MODELS = [
    'wsdan_inception_v3', 'wsdan_resnet50', 'wsdan_resnet101', 'wsban_inception_v3', 'wsban_resnet50', 'apinet_resnet50',
    'apinet_resnet101', 'apinet_densenet161', 'osme_resnet50', 'osme_resnet101', 'racnn_vgg19', 'racnn_resnet50']


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Two classes of two noisy pictures."""
    root = tmp_path_factory.mktemp('photos')
    generator = np.random.default_rng(0)
    for label in ('red', 'green'):
        (root / 'train' / label).mkdir(parents=True)
        for index in range(2):
            Image.fromarray(generator.integers(0, 255, (64, 80, 3)).astype('uint8')).save(root / 'train' / label / f'{index}.png')
    return root


@pytest.mark.parametrize('name', PAPER_MODELS)
def test_the_papers_recipe_takes_a_step_over_the_papers_backbone(name):
    method = name.partition('_')[0]
    paper = load_recipe(f'{method}-paper')
    own = paper.for_model(timm.get_pretrained_cfg(name).to_dict())
    assert (own.input_size, own.crop_pct, own.crop_mode) == (448, 0.875, 'squash')

    side = 96 if name.endswith('inception_v3') else 64  # small, so that it takes a second
    recipe = paper.replace(input_size=side)
    images = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 0, 1, 1])
    torch.manual_seed(0)
    model = build_model(name, recipe, 2, pretrained_backbone=False)
    assert model.pretrained_cfg['input_size'] == (3, side, side)
    task = create_task(recipe.task, model, smoothing=recipe.smoothing, **recipe.task_args)
    groups = parameter_groups(model, recipe, task)
    optimizer = create_optimizer_v2(
        groups, opt=recipe.optimizer, lr=recipe.lr, weight_decay=recipe.weight_decay, momentum=recipe.momentum)
    assert all(parameter.requires_grad for parameter in task.parameters())
    schedule(optimizer, recipe, steps_per_epoch=10).step_update(0)
    train_mode(task, model, recipe)
    before = [parameter.detach().clone() for parameter in task.parameters()]
    loss = task(images, targets)['loss']
    loss.backward()
    optimizer.step()
    assert loss.isfinite()
    assert not all(torch.equal(old, new) for old, new in zip(before, task.parameters(), strict=True))
    assert all(parameter.isfinite().all() for parameter in task.parameters())


@pytest.mark.parametrize(('name', 'side', 'crop_pct'), [('wsdan_inception_v3', 448, 0.875), ('test_resnet', 160, 0.95)])
def test_the_input_is_the_models_own(name, side, crop_pct):
    with torch.device('meta'):
        cfg = build_model(name, load_recipe('baseline'), 2, False).pretrained_cfg
    assert (cfg['input_size'], cfg['crop_pct'], cfg['crop_mode']) == ((3, side, side), crop_pct, 'center')


def test_the_input_is_that_of_the_recipe():
    recipe = load_recipe('baseline').replace(input_size=64, crop_pct=0.5, crop_mode='squash')
    cfg = build_model('test_resnet', recipe, 2, False).pretrained_cfg
    assert (cfg['input_size'], cfg['crop_pct'], cfg['crop_mode']) == ((3, 64, 64), 0.5, 'squash')


def test_a_vit_is_built_for_its_input():
    assert build_model('test_vit', load_recipe('baseline').replace(input_size=96), 2, False)(torch.zeros(1, 3, 96, 96)).shape == (1, 2)
    assert build_model('test_vit', load_recipe('baseline'), 2, False)(torch.zeros(1, 3, 160, 160)).shape == (1, 2)


def rates(recipe, steps_per_epoch):
    """The learning rate of every step of two groups, the second with a factor of 3."""
    groups = [dict(params=[nn.Parameter(torch.zeros(1))]), dict(params=[nn.Parameter(torch.zeros(1))], lr_scale=3.0)]
    optimizer = torch.optim.SGD(groups, lr=recipe.lr)
    scheduler = schedule(optimizer, recipe, steps_per_epoch)
    found = []
    for step in range(recipe.epochs * steps_per_epoch):
        scheduler.step_update(step)
        found.append([group['lr'] for group in optimizer.param_groups])
    return found


def test_steps_of_the_learning_rate():
    recipe = load_recipe('baseline').replace(
        epochs=4, lr=0.5, warmup_epochs=0, schedule='step', decay_epochs=1.4, decay_rate=0.1)
    for step, (plain, scaled) in enumerate(rates(recipe, steps_per_epoch=5)):
        expected = 0.5 * 0.1 ** (step // 7)  # 1.4 epochs are 7 steps
        assert plain == pytest.approx(expected) and scaled == pytest.approx(3 * expected)


def test_warm_up_before_steps():
    recipe = load_recipe('baseline').replace(
        epochs=3, lr=0.5, warmup_epochs=1, min_lr=0.1, schedule='step', decay_epochs=2, decay_rate=0.5)
    expected = [0.05 + step * (0.5 - 0.05) / 4 for step in range(4)] + [0.5] * 4 + [0.25] * 4
    assert [plain for plain, _ in rates(recipe, steps_per_epoch=4)] == pytest.approx(expected)


def test_cosine_of_the_learning_rate():
    recipe = load_recipe('baseline').replace(epochs=3, lr=0.5, warmup_epochs=0, min_lr=0)
    for step, (plain, scaled) in enumerate(rates(recipe, steps_per_epoch=4)):
        expected = 0.25 * (1 + math.cos(math.pi * step / 12))
        assert plain == pytest.approx(expected) and scaled == pytest.approx(3 * expected)


def test_the_backbone_that_is_trained():
    model = timm.create_model('wsdan', backbone='test_resnet', num_classes=2)
    recipe = load_recipe('wsdan').replace(layer_decay=0.5, frozen_below=0.4)
    scales = {id(parameter) for group in parameter_groups(model, recipe) for parameter in group['params']}
    found = trained_backbone(model)
    assert 0 < len(found) < len(list(model.backbone.parameters()))
    assert {id(parameter) for parameter in found} == scales & {id(parameter) for parameter in model.backbone.parameters()}


def augmented(root, recipe, cfg):
    dataset = open_dataset(f'folder:{root}', 'train')
    augment(dataset, recipe, cfg)
    return dataset


def test_early_epochs_see_smaller_images_and_every_epoch_its_own_crop(photos):
    recipe = load_recipe('baseline').replace(early_epochs=2, early_scale=0.7)
    cfg = timm.get_pretrained_cfg('test_resnet').to_dict()
    dataset = augmented(photos, recipe, {**cfg, 'input_size': (3, 224, 224)})
    assert [dataset[epoch, 0, 0][0].shape[-1] for epoch in range(4)] == [160, 160, 224, 224]
    assert torch.equal(
        dataset[2, 0, 0][0], augmented(photos, recipe.replace(early_epochs=0), {**cfg, 'input_size': (3, 224, 224)})[2, 0, 0][0])


def test_training_images_become_square_as_those_of_prediction(tmp_path):
    for name in ('a', 'b'):
        (tmp_path / 'train' / name).mkdir(parents=True)
        for index in range(2):
            Image.new('RGB', (200, 50), 'white').save(tmp_path / 'train' / name / f'{index}.png')
    cfg = {**timm.get_pretrained_cfg('test_resnet').to_dict(), 'mean': (0.5, 0.5, 0.5)}
    still = load_recipe('baseline').replace(augmentation=dict(scale=[1.0, 1.0], ratio=[1.0, 1.0], hflip=0, color_jitter=0))
    for mode, padded in (('border', True), ('squash', False), ('center', False), (None, False)):
        image = augmented(tmp_path, still, {**cfg, 'crop_mode': mode})[0, 0, 0][0]
        assert (image[:, 0].abs().max().item() < 0.02) == padded, mode


@pytest.mark.parametrize(('side', 'scale', 'early'), [
    (224, 0.7, 160), (448, 0.7, 320), (448, 1.0, 448), (96, 0.1, 32), (32, 0.5, 32), (16, 0.5, 16), (100, 1.0, 96)])
def test_early_images_are_a_multiple_of_32_and_never_larger_than_the_others(side, scale, early):
    assert early_side(side, scale) == early


def test_early_epochs_need_a_model_that_takes_several_sizes(photos):
    cfg = timm.get_pretrained_cfg('vit_tiny_patch16_224').to_dict()
    with pytest.raises(UserError, match='takes one input size, so early_epochs must be 0, not 1'):
        augmented(photos, load_recipe('baseline').replace(early_epochs=1), cfg)


def test_the_rows_of_the_classifier_tell_similar_classes():
    model = timm.create_model('test_resnet', num_classes=4)
    vectors = class_vectors(model)
    assert torch.equal(vectors, model.fc.weight) and not vectors.requires_grad
    vectors.zero_()
    assert model.fc.weight.any()  # a copy
    with pytest.raises(UserError, match='is not one layer, so similar_classes must be 1'):
        class_vectors(timm.create_model('test_resnet', num_classes=0))


@pytest.mark.parametrize(('batch_size', 'wanted', 'classes', 'found'), [
    (32, 2, 200, 2), (32, 2, 16, 2), (32, 2, 12, 4), (32, 2, 4, 8), (32, 2, 3, 16), (32, 4, 2, 16), (30, 2, 4, 10), (32, None, 4, None),
    (6, 4, 1, 4)])
def test_a_batch_needs_no_more_classes_than_there_are(batch_size, wanted, classes, found):
    recipe = load_recipe('baseline').replace(batch_size=batch_size, images_per_class=wanted)
    assert images_per_class(recipe, [index % classes for index in range(3 * classes)]) == found


def test_the_sampler_takes_them():
    recipe = load_recipe('apinet')
    targets = [index % 4 for index in range(64)]
    sampler = BalancedSampler(targets, recipe.batch_size, images_per_class(recipe, targets))
    batch = [targets[index] for _, index, _ in list(sampler)[:recipe.batch_size]]
    assert sorted(batch) == sorted([0, 1, 2, 3] * 8)
