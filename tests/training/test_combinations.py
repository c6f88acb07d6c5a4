"""Every task with every setting that changes how a step computes: it trains, with finite losses, and writes a model that loads."""

import csv

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

from fgvc_zoo import UserError
from fgvc_zoo.recipes import load_recipe
from fgvc_zoo.tasks import create_task
from fgvc_zoo.training import TrainConfig, train, trainer

SMALL = {'model_args.backbone': 'test_efficientnet'}
TASKS = dict(
    baseline={},
    wsdan=SMALL | {'model_args.num_maps': 4}, wsban=SMALL | {'model_args.num_maps': 4},
    apinet=SMALL | {'images_per_class': 2}, osme=SMALL | {'images_per_class': 2},
    racnn=SMALL | {'model_args.num_scales': 2, 'task_args.proposal_steps': 1, 'task_args.classification_steps': 1,
                   'task_args.ranking_steps': 1})


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Three classes of 2, 4 and 6 noisy pictures."""
    root = tmp_path_factory.mktemp('photos')
    generator = np.random.default_rng(0)
    for label in range(3):
        folder = root / 'train' / f'class{label}'
        folder.mkdir(parents=True)
        for index in range(2 + 2 * label):
            Image.fromarray(generator.integers(0, 255, (56, 64, 3)).astype('uint8')).save(folder / f'{index}.png')
    return root


def settings(task, photos, output, amp=None, device='cpu', **changes):
    recipe = load_recipe(task).replace(**{**dict(epochs=1, batch_size=4, input_size=64), **TASKS[task], **changes})
    return TrainConfig('test_efficientnet' if task == 'baseline' else task, f'folder:{photos}', str(output), recipe,
                       pretrained_backbone=False, workers=0, device=device, progress=False, amp=amp)


@pytest.mark.parametrize('changes', [
    dict(amp='bf16'), dict(amp='bf16', clip_grad=0.5, ema_decay=0.5, class_weights='balanced'), dict(ema_decay=None, clip_grad=1.0),
    dict(class_weights='balanced', smoothing=0.0)], ids=['bf16', 'everything', 'no average', 'weights'])
@pytest.mark.parametrize('task', TASKS)
def test_it_trains(task, changes, photos, tmp_path):
    train(settings(task, photos, tmp_path / 'run', **changes))
    with (tmp_path / 'run' / 'history.csv').open() as file:
        row = next(csv.DictReader(file))
    assert all(np.isfinite(float(value)) for value in row.values())
    model = timm.create_model(f"local-dir:{tmp_path / 'run'}", pretrained=True).eval()
    assert model(torch.randn(1, 3, 64, 64)).isfinite().all()


@pytest.mark.parametrize('task', TASKS)
def test_class_weights_change_the_loss_as_they_should(task):
    """A weight of 2 for every class doubles each cross-entropy, and nothing else."""
    args = {key.partition('.')[2]: value for key, value in TASKS[task].items() if key.startswith('model_args.')}
    results = []
    for weight in (None, 2.0):
        torch.manual_seed(0)
        model = timm.create_model('test_efficientnet' if task == 'baseline' else task, num_classes=3, **args)
        trained = create_task(task, model).eval()  # no dropout, and running statistics
        if weight:
            trained.weigh_classes(torch.full((3,), weight))
        torch.manual_seed(1)
        images = torch.randn(4, 3, 64, 64)
        results.append(trained(images, torch.tensor([0, 0, 1, 1])))
    doubled = [key for key, value in results[0].items() if value.ndim == 0 and value > 1e-6
               and results[1][key].item() == pytest.approx(2 * value.item(), rel=1e-4)]
    expected = dict(baseline={'loss'}, wsdan={'raw', 'crop', 'drop'}, wsban={'raw', 'part'}, apinet={'ce', 'plain'}, osme={'ce'},
                    racnn={'ce1', 'ce2', 'fusion'})[task]
    assert set(doubled) == expected


@pytest.mark.parametrize('task', ['baseline', 'wsdan', 'wsban'])
def test_a_batch_in_parts(task, photos, tmp_path, monkeypatch):
    """The weights of the whole batch, where nothing is drawn at random for each part."""
    weights, sizes = {}, []
    accumulate = trainer.Run._accumulate
    monkeypatch.setattr(
        trainer.Run, '_accumulate', lambda run, images, *rest: sizes.append(len(images)) or accumulate(run, images, *rest))
    for count in (1, 4):
        folder = tmp_path / str(count)
        train(settings(task, photos, folder, accumulate=count, freeze_bn=True, ema_decay=None, lr=0.001))
        weights[count] = load_file(folder / 'model.safetensors')
        with (folder / 'history.csv').open() as file:
            assert all(np.isfinite(float(value)) for value in next(csv.DictReader(file)).values())
    assert sizes == [4] * 3 + [1] * 12  # twelve photographs
    if task == 'baseline':
        for name, tensor in weights[1].items():
            torch.testing.assert_close(weights[4][name], tensor, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize(('task', 'changes', 'says'), [
    ('baseline', dict(accumulate=3), 'batch_size 4 must be a multiple of accumulate 3'),
    ('apinet', dict(accumulate=2), 'a loss over pairs needs the whole batch'),
    ('osme', dict(accumulate=2), 'a loss over pairs needs the whole batch'),
    ('racnn', dict(accumulate=2), "the task 'racnn' counts its steps")])
def test_what_cannot_be_accumulated(task, changes, says, photos, tmp_path):
    with pytest.raises(UserError, match=says):
        train(settings(task, photos, tmp_path / 'run', **changes))


def test_fp16_needs_a_gpu(photos, tmp_path):
    with pytest.raises(UserError, match="fp16 needs a GPU"):
        train(settings('baseline', photos, tmp_path / 'run', amp='fp16'))


def test_unknown_precision(photos, tmp_path):
    with pytest.raises(UserError, match="'fp8' is not known"):
        train(settings('baseline', photos, tmp_path / 'run', amp='fp8'))
