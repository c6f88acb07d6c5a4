"""A training that is only looked at: what it would be, and no trace of it."""

import numpy as np
import pytest
from PIL import Image

from fgvc_zoo.recipes import load_recipe
from fgvc_zoo.training import TrainConfig, preview, train
from fgvc_zoo.training.trainer import Run


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp('photos')
    generator = np.random.default_rng(0)
    for label in ('red', 'green'):
        (root / label).mkdir()
        for index in range(4):
            Image.fromarray(generator.integers(0, 255, (56, 64, 3)).astype('uint8')).save(root / label / f'{index}.png')
    return root


@pytest.mark.parametrize('method', ['baseline', 'wsdan'])
def test_a_preview(method, photos, tmp_path):
    args = {} if method == 'baseline' else {'model_args.backbone': 'test_resnet', 'model_args.num_maps': 4}
    recipe = load_recipe(method).replace(
        epochs=3, batch_size=4, input_size=64, layer_decay=0.5, frozen_below=0.2, lr=0.02, head_lr_scale=10, **args)
    model = 'test_resnet' if method == 'baseline' else 'wsdan'
    config = TrainConfig(model, f'folder:{photos}', str(tmp_path / 'run'), recipe, pretrained_backbone=False, workers=0, device='cpu')
    found = preview(config, operators=True)
    assert not (tmp_path / 'run').exists()
    assert (found.steps_per_epoch, found.images_per_step, found.recipe['input_size']) == (2, 4, 64)
    assert found.seconds == pytest.approx(3 * 2 * found.seconds_per_step) and found.seconds > 0
    assert found.parts.keys() == {'loading', 'forward', 'backward', 'update'} and min(found.parts.values()) > 0
    assert 'conv' in found.operators and found.memory > 1e8
    rates = {rate for _, rate, _ in found.groups}
    assert max(rates) == pytest.approx(0.2) and min(rates) >= 0.2 * 0.02 and found.frozen > 0


def test_the_groups_hold_every_parameter(photos, tmp_path):
    recipe = load_recipe('baseline').replace(batch_size=4, input_size=64, frozen_below=0.2, layer_decay=0.5)
    config = TrainConfig('test_resnet', f'folder:{photos}', str(tmp_path), recipe, pretrained_backbone=False, workers=0, device='cpu')
    found = preview(config)
    import timm

    assert sum(count for count, *_ in found.groups) + found.frozen == sum(
        parameter.numel() for parameter in timm.create_model('test_resnet', num_classes=2).parameters())
    assert found.operators == ''


def test_it_looks_at_the_phase_that_most_steps_are_of(photos, tmp_path, monkeypatch):
    """RA-CNN's first phase trains the proposals only, and early epochs see small images."""
    seen, original = [], Run._step

    def step(run, images, *rest):
        seen.append((run.task.phase, images.shape[-1]))
        return original(run, images, *rest)

    monkeypatch.setattr(Run, '_step', step)
    recipe = load_recipe('racnn').replace(
        epochs=2, early_epochs=1, early_scale=0.5, batch_size=4, input_size=64,
        **{'model_args.backbone': 'test_resnet', 'task_args.proposal_steps': 30})
    preview(TrainConfig('racnn', f'folder:{photos}', str(tmp_path), recipe, pretrained_backbone=False, workers=0, device='cpu'))
    assert set(seen) == {('classification', 64)}


def test_a_training_says_how_long_it_takes_where_an_epoch_has_few_steps(photos, tmp_path, capsys):
    recipe = load_recipe('baseline').replace(epochs=4, batch_size=4, input_size=64, early_epochs=1)  # epochs of two steps
    train(TrainConfig('test_resnet', f'folder:{photos}', str(tmp_path / 'run'), recipe, pretrained_backbone=False, workers=0, device='cpu'))
    assert capsys.readouterr().err.count('to go without measuring') == 1
