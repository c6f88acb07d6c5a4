"""The loop: learning rates by depth, what a run folder holds, and how it stops when something is wrong."""

import csv
import json
import shutil
from contextlib import nullcontext

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import fgvc_zoo  # noqa: F401
from fgvc_zoo import WSDAN, UserError
from fgvc_zoo.evaluation import collect_answers
from fgvc_zoo.models.registry import backbone_cfg
from fgvc_zoo.recipes import load_recipe
from fgvc_zoo.tasks import task_settings
from fgvc_zoo.training import TrainConfig, measure as measure_module, state as state_module, train, trainer as trainer_module
from fgvc_zoo.training.checkpoint import load_checkpoint
from fgvc_zoo.training.models import build_model
from fgvc_zoo.training.setup import parameter_groups


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp('photos')
    generator = np.random.default_rng(0)
    for split, count in (('train', 8), ('test', 2)):
        for label, color in enumerate(['red', 'green']):
            folder = root / split / color
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 120, (56, 64, 3))
                pixels[..., label] += 100
                Image.fromarray(pixels.astype('uint8')).save(folder / f'{index}.jpg')
    return root


def config(photos, output, **changes):
    recipe = load_recipe('wsdan').replace(
        epochs=2, batch_size=4, input_size=48, **{'model_args.backbone': 'test_resnet', 'model_args.num_maps': 4})
    values = dict(
        model='wsdan', data=f'folder:{photos}', output=str(output), recipe=recipe, pretrained_backbone=False, workers=0,
        device='cpu', progress=False)
    return TrainConfig(**{**values, **changes})


@pytest.mark.parametrize('name', ['test_efficientnet', 'wsdan'])
def test_learning_rates_follow_depth(name):
    args = dict(backbone='test_efficientnet') if name == 'wsdan' else {}
    model = timm.create_model(name, num_classes=3, **args)
    recipe = load_recipe('baseline').replace(layer_decay=0.5, head_lr_scale=7.0, weight_decay=0.3, frozen_below=0.01)
    groups = parameter_groups(model, recipe)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    scale = {names[id(parameter)]: group['lr_scale'] for group in groups for parameter in group['params']}
    decay = {names[id(parameter)]: group['weight_decay'] for group in groups for parameter in group['params']}

    backbone = 'backbone.model.' if name == 'wsdan' else ''
    assert scale['classifier.weight'] == 7.0
    assert scale[f'{backbone}conv_head.weight'] == 1.0
    assert decay['classifier.weight'] == 0.3
    assert decay['classifier.bias'] == 0.0
    # one step down in depth halves the rate, and what falls below the limit is frozen
    deepest = [value for key, value in scale.items() if key.startswith(f'{backbone}blocks')]
    assert {1.0, 0.5, 0.25} <= set(deepest) <= {0.5 ** power for power in range(8)}
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name, _ in model.named_parameters()} - scale.keys()
    assert min(scale.values()) >= 0.01


def test_frozen_batch_norms_keep_their_statistics(photos, tmp_path):
    from safetensors.torch import load_file
    base = config(photos, tmp_path).recipe.replace(epochs=1, ema_decay=None)
    statistics = {}
    for freeze in (False, True):
        folder = train(config(photos, tmp_path / str(freeze), recipe=base.replace(freeze_bn=freeze)))
        statistics[freeze] = load_file(folder / 'model.safetensors')
    key = 'backbone.model.conv1.1.running_mean'
    assert not statistics[True][key].any()  # a fresh batch norm's mean is 0
    assert statistics[False][key].any()
    assert statistics[True]['attention.bn.running_mean'].any()


def test_a_backbone_that_waits_keeps_its_weights(photos, tmp_path, monkeypatch):
    """Weights of the backbone after every epoch: as at the start until they are trained; the rest is trained from the first step."""
    snapshots = []
    original = trainer_module.Run._finish_epoch

    def remember(run):
        snapshots.append({key: value.clone() for key, value in run.model.state_dict().items()})
        original(run)

    monkeypatch.setattr(trainer_module.Run, '_finish_epoch', remember)
    base = config(photos, tmp_path).recipe.replace(epochs=3, frozen_epochs=2, frozen_below=None, freeze_bn=False, warmup_epochs=0)
    train(config(photos, tmp_path / 'run', recipe=base))
    first, second, third = snapshots
    torch.manual_seed(0)
    start = build_model('wsdan', base, 2, False).state_dict()
    weights = [key for key in first if key.startswith('backbone.') and 'running' not in key and 'num_batches' not in key]
    for key in weights:
        assert torch.equal(first[key], start[key]) and torch.equal(second[key], start[key]), key
    assert any(not torch.equal(third[key], start[key]) for key in weights)
    assert not torch.equal(first['classifier.weight'], second['classifier.weight'])
    statistics = 'backbone.model.conv1.1.running_mean'  # they move all the time
    assert not torch.equal(first[statistics], start[statistics]) and not torch.equal(first[statistics], second[statistics])


def test_the_record_of_a_run_holds_the_models_own_input(photos, tmp_path):
    recipe = config(photos, tmp_path).recipe.replace(epochs=1, input_size=None)
    folder = train(config(photos, tmp_path / 'run', recipe=recipe))
    record = json.loads((folder / 'run.json').read_text())['config']['recipe']
    assert (record['input_size'], record['crop_pct'], record['crop_mode']) == (160, 0.95, 'center')
    assert timm.create_model(f'local-dir:{folder}').pretrained_cfg['input_size'] == (3, 160, 160)


def test_run_folder(photos, tmp_path):
    folder = train(config(photos, tmp_path / 'run', eval_split='test', command='fgvc-zoo train'))
    assert {'config.json', 'model.safetensors', 'run.json', 'history.csv', 'curves.png', 'tensorboard'} <= {
        path.name for path in folder.iterdir()}
    rows = list(csv.DictReader((folder / 'history.csv').read_text().splitlines()))
    assert [row['epoch'] for row in rows] == ['1', '2']
    assert {'loss', 'loss_raw', 'loss_crop', 'loss_drop', 'loss_center', 'train_top1', 'test_top1', 'test_raw_top1',
            'images_per_second', 'lr'} <= rows[0].keys()
    record = json.loads((folder / 'run.json').read_text())
    assert record['command'] == 'fgvc-zoo train'
    assert record['config']['recipe']['epochs'] == 2
    assert record['config']['recipe']['task_args'] == json.loads(json.dumps(task_settings('wsdan')))  # defaults too
    model = timm.create_model(f'local-dir:{folder}', pretrained=True).eval()
    assert model.pretrained_cfg['label_names'] == ['green', 'red']
    assert model.pretrained_cfg['input_size'] == (3, 48, 48)
    assert model(torch.randn(1, 3, 48, 48)).shape == (1, 2)
    assert Image.open(folder / 'curves.png').size[0] > 300


def test_nan_stops_before_it_reaches_the_weights(photos, tmp_path, monkeypatch):
    calls = []
    original = state_module.create_task

    def poisoned(name, model, **args):
        task = original(name, model, **args)
        step = task.step

        def wrapped(images, targets, backward):
            calls.append(1)
            result = step(images, targets, backward)
            return {**result, 'loss': result['loss'] * float('nan')} if len(calls) == 6 else result

        task.step = wrapped
        return task

    monkeypatch.setattr(state_module, 'create_task', poisoned)
    with pytest.raises(UserError, match=r'the loss is nan at epoch 2, step 5 .*lower the learning rate; the last good checkpoint'):
        train(config(photos, tmp_path / 'run'))
    state = load_checkpoint(tmp_path / 'run')
    assert state['epoch'] == 1
    assert all(value.isfinite().all() for value in state['model'].values())


def test_too_few_images_for_a_batch(photos, tmp_path):
    with pytest.raises(UserError, match='fewer than'):
        train(config(photos, tmp_path, recipe=config(photos, tmp_path).recipe.replace(batch_size=64)))


def test_unknown_model_offers_the_nearest(photos, tmp_path):
    with pytest.raises(UserError, match='wsdan_resnet50'):
        train(config(photos, tmp_path, model='wsdan_resnet5'))


def test_backbone_weights_are_loaded(photos, tmp_path):
    torch.manual_seed(9)
    source = timm.create_model('test_resnet')
    save_file(source.state_dict(), tmp_path / 'weights.safetensors')
    recipe = config(photos, tmp_path).recipe.replace(epochs=1, lr=1e-12, ema_decay=None)
    for name, prefix in (('wsdan', 'backbone.model.'), ('test_resnet', '')):
        chosen = recipe if name == 'wsdan' else load_recipe('baseline').replace(
            epochs=1, lr=1e-12, ema_decay=None, batch_size=4, input_size=48)
        folder = train(config(
            photos, tmp_path / name, model=name, recipe=chosen, pretrained_backbone=str(tmp_path / 'weights.safetensors')))
        found = load_file(folder / 'model.safetensors')
        torch.testing.assert_close(found[f'{prefix}conv1.0.weight'], source.state_dict()['conv1.0.weight'])
        assert 'pretrained_backbone' not in (folder / 'config.json').read_text()


class OutsideWSDAN(WSDAN):
    """A subclass that another package registered with timm, not with `register_method`."""


default_cfgs = timm.models.generate_default_cfgs({'outside_wsdan': backbone_cfg('test_resnet')})


@timm.models.register_model
def outside_wsdan(pretrained=False, **kwargs):
    return timm.models.build_model_with_cfg(OutsideWSDAN, 'outside_wsdan', pretrained, **kwargs)


@pytest.mark.parametrize('suffix', ['safetensors', 'missing'])
def test_backbone_weights_reach_a_subclass_that_only_timm_knows(tmp_path, suffix):
    torch.manual_seed(9)
    source = timm.create_model('test_resnet')
    path = tmp_path / f'weights.{suffix}'
    save_file(source.state_dict(), path)
    recipe = load_recipe('wsdan').replace(**{'model_args.backbone': 'test_resnet', 'model_args.num_maps': 4})
    if suffix == 'missing':
        with pytest.raises(UserError, match='must be a .safetensors file'):
            build_model('outside_wsdan', recipe, 3, str(path))
        return
    model = build_model('outside_wsdan', recipe, 3, str(path))
    torch.testing.assert_close(model.backbone.model.conv1[0].weight, source.conv1[0].weight)


def test_a_timm_models_random_layers_do_not_depend_on_the_question_what_it_is(tmp_path):
    save_file(timm.create_model('test_resnet', num_classes=0).state_dict(), tmp_path / 'weights.safetensors')
    torch.manual_seed(5)
    built = build_model('test_resnet', load_recipe('baseline'), 3, str(tmp_path / 'weights.safetensors'))
    drawn = torch.rand(3)
    torch.manual_seed(5)
    timm.create_model('test_resnet', num_classes=3)
    assert torch.equal(drawn, torch.rand(3))  # as many random numbers were used before
    assert not built.get_classifier().weight.any()  # the only new layer starts from zeros


def test_a_run_trains_at_the_architectures_own_input_size():
    """The default checkpoint of this architecture has 448 px."""
    name = 'wsdan_tf_efficientnet_lite0'
    assert timm.get_pretrained_cfg(name).input_size == (3, 448, 448)
    assert build_model(name, load_recipe('wsdan'), 3, False).pretrained_cfg['input_size'] == (3, 224, 224)


@pytest.mark.parametrize(('name', 'args'), [
    ('test_efficientnet', {}), ('wsdan', dict(backbone='test_resnet')), ('racnn', dict(backbone='test_resnet'))])
def test_every_classifier_starts_from_zeros(name, args):
    model = build_model(name, load_recipe('baseline').replace(model_args=args), 4, False)
    heads = model.pretrained_cfg['classifier']
    for head in (heads,) if isinstance(heads, str) else heads:
        assert not any(parameter.any() for parameter in model.get_submodule(head).parameters()), head
    assert any(parameter.any() for parameter in model.parameters())


@pytest.mark.parametrize(('cache', 'workers'), [(False, 0), (True, 0), (False, 1)])
def test_an_unreadable_image_of_the_measured_split_does_not_end_the_run(photos, tmp_path, cache, workers):
    root = tmp_path / 'photos'
    shutil.copytree(photos, root)
    (root / 'test' / 'red' / '0.jpg').write_bytes(b'')
    with pytest.warns(UserWarning, match=r"'test' is not measured after epoch 2: the image '.*0\.jpg' is empty"):
        folder = train(config(root, tmp_path / 'run', eval_split='test', cache=cache, workers=workers))
    rows = list(csv.DictReader((folder / 'history.csv').open()))
    assert len(rows) == 2 and 'test_top1' not in rows[0]


@pytest.mark.parametrize(('method', 'copies'), [('fork', 1), ('spawn', 3)])
def test_workers_that_get_copies_of_the_decoded_images_are_counted(method, copies, photos, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(trainer_module.multiprocessing, 'get_start_method', lambda: method)
    monkeypatch.setattr(trainer_module, 'fits_in_memory', lambda nbytes: asked.append(nbytes))
    run = trainer_module.Run(trainer_module.with_task_settings(config(photos, tmp_path / 'run', workers=2)), tmp_path)
    run._cache(trainer_module.progress_bar(False))
    size = int(1.5 * 48)
    assert asked == [copies * run.dataset.cache_bytes(size)]


def test_other_processes_of_the_machine_hold_the_images_too(photos, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '4')
    monkeypatch.setattr(trainer_module, 'fits_in_memory', lambda nbytes: asked.append(nbytes))
    run = trainer_module.Run(trainer_module.with_task_settings(config(photos, tmp_path / 'run')), tmp_path)
    run._cache(trainer_module.progress_bar(False))
    assert asked == [4 * run.dataset.cache_bytes(int(1.5 * 48))]


def test_a_full_memory_is_one_sentence(photos, tmp_path, monkeypatch):
    def step(*_):
        raise torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB')

    monkeypatch.setattr(trainer_module.Run, '_step', step)
    with pytest.raises(UserError, match='the memory is full: use a smaller batch_size, or accumulate=2'):
        train(config(photos, tmp_path / 'run'))


@pytest.mark.parametrize('cache', [False, True])
def test_measuring_takes_the_workers_of_the_training(cache, photos, tmp_path, monkeypatch):
    """With images in memory there is nothing to load."""
    asked = []

    def collect(model, dataset, batch_size, workers, device):
        asked.append(workers)
        return collect_answers(model, dataset, batch_size, workers, device)

    monkeypatch.setattr(measure_module, 'collect_answers', collect)
    found = []
    for workers in (0, 1):
        folder = train(config(photos, tmp_path / str(workers), eval_split='test', cache=cache, workers=workers))
        found.append([row['test_top1'] for row in csv.DictReader((folder / 'history.csv').open())])
    assert asked == [0, 0, *([0, 0] if cache else [1, 1])] and found[0] == found[1]


def test_a_small_learning_rate_is_not_rounded_to_zero(photos, tmp_path):
    folder = train(config(photos, tmp_path / 'run', recipe=config(photos, '').recipe.replace(lr=2e-7, min_lr=0.01)))
    rates = [float(row['lr']) for row in csv.DictReader((folder / 'history.csv').open())]
    assert len(rates) == 2 and 0 < rates[1] < rates[0] <= 2e-7


def test_measuring_the_training_split_does_not_replace_the_accuracy_while_training(photos, tmp_path):
    rows = {}
    for split in (None, 'train'):
        with nullcontext() if split is None else pytest.warns(UserWarning, match='which is trained on'):
            folder = train(config(photos, tmp_path / str(split), eval_split=split))
        rows[split] = list(csv.DictReader((folder / 'history.csv').open()))
    assert [row['train_top1'] for row in rows['train']] == [row['train_top1'] for row in rows[None]]
    assert all(0 <= float(row[name]) <= 100 for row in rows['train'] for name in ('train_split_top1', 'train_split_raw_top1'))
