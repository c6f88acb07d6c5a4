"""A run that is killed and resumed ends with the weights of one that was not, bit for bit."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from fgvc_zoo import UserError
from fgvc_zoo.recipes import load_recipe
from fgvc_zoo.training import TrainConfig, train, trainer

SCRIPT = '''
import sys
from pathlib import Path
from fgvc_zoo.recipes import load_recipe
from fgvc_zoo.training import TrainConfig, train, trainer
import torch
torch.set_num_threads(1)
trainer.CHECKPOINT_SECONDS = 0.02  # a checkpoint every few steps, so that a run also resumes in the middle of an epoch
recipe = load_recipe('wsdan').replace(
    epochs=3, batch_size=4, input_size=48, **{'model_args.backbone': 'test_resnet', 'model_args.num_maps': 4})
train(TrainConfig('wsdan', sys.argv[1], sys.argv[2], recipe, seed=3, pretrained_backbone=False, workers=0,
                  resume=(Path(sys.argv[2]) / 'checkpoint.safetensors').exists(), device='cpu', progress=False))
'''


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Three classes of ten noisy pictures."""
    root = tmp_path_factory.mktemp('photos')
    generator = np.random.default_rng(0)
    for label, color in enumerate(['red', 'green', 'blue']):
        folder = root / 'train' / color
        folder.mkdir(parents=True)
        for index in range(10):
            pixels = generator.integers(0, 120, (56, 64, 3))
            pixels[..., label] += 100
            Image.fromarray(pixels.astype('uint8')).save(folder / f'{index}.jpg')
    return root


def recipe(name='wsdan', **changes):
    args = {'model_args.backbone': 'test_resnet', 'model_args.num_maps': 4} if name == 'wsdan' else {}
    return load_recipe(name).replace(**{**dict(epochs=2, batch_size=4, input_size=48), **args, **changes})


def config(photos, output, **changes):
    values = dict(
        model='wsdan', data=f'folder:{photos}', output=str(output), recipe=recipe(), pretrained_backbone=False, workers=0,
        device='cpu', progress=False)
    return TrainConfig(**{**values, **changes})


def spawn(photos, output):
    env = dict(os.environ, PYTHONPATH=str(Path(__file__).parents[2]), OMP_NUM_THREADS='1')
    return subprocess.Popen([sys.executable, '-c', SCRIPT, f'folder:{photos}', str(output)], env=env)


@pytest.mark.timeout(600)
def test_killed_at_random_steps_and_resumed_ends_equal(photos, tmp_path):
    whole = tmp_path / 'whole'
    assert spawn(photos, whole).wait(300) == 0
    expected = load_file(whole / 'model.safetensors')
    rows = (whole / 'history.csv').read_text().splitlines()

    killed, kills = tmp_path / 'killed', 0
    generator = random.Random(0)
    for _ in range(4):
        process = spawn(photos, killed)
        before = _age(killed)
        deadline = time.monotonic() + 120
        # kill only once this process has made progress of its own, at a moment that nobody chose
        while process.poll() is None and _age(killed) == before and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(generator.uniform(0, 0.3))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait(60)
    assert kills >= 2, 'the runs were over before they could be killed'
    assert spawn(photos, killed).wait(300) == 0

    found = load_file(killed / 'model.safetensors')
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert (found[name] == tensor).all(), name
    timeless = [[cell for column, cell in zip(rows[0].split(','), row.split(','), strict=True)
                 if column not in ('seconds', 'images_per_second')] for row in rows]
    again = (killed / 'history.csv').read_text().splitlines()
    assert timeless == [[cell for column, cell in zip(again[0].split(','), row.split(','), strict=True)
                         if column not in ('seconds', 'images_per_second')] for row in again]


def test_papers_settings_resume_equal(photos, tmp_path, monkeypatch):
    """A backbone that waits and a rate that falls in steps: a run that is cut after every epoch ends with the same weights."""
    settings = recipe(
        'baseline', epochs=3, frozen_epochs=2, freeze_bn=False, frozen_below=None, warmup_epochs=0, schedule='step', decay_epochs=1.5,
        decay_rate=0.5, ema_decay=None, **{'augmentation.color_jitter': [0.1, 0, 0.5]})
    train(config(photos, tmp_path / 'whole', recipe=settings, model='test_resnet'))

    class Cut(Exception):
        pass

    finish = trainer.Run._finish_epoch

    def finish_and_cut(run):
        finish(run)
        raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Run, '_finish_epoch', finish_and_cut)
        for epoch in range(settings.epochs):
            with pytest.raises(Cut):
                train(config(photos, tmp_path / 'cut', recipe=settings, model='test_resnet', resume=epoch > 0))
    train(config(photos, tmp_path / 'cut', recipe=settings, model='test_resnet', resume=True))
    expected, found = load_file(tmp_path / 'whole/model.safetensors'), load_file(tmp_path / 'cut/model.safetensors')
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_similar_classes_resume_equal_in_the_middle_of_an_epoch(photos, tmp_path, monkeypatch):
    """The order of an epoch depends on the classifier that it began with, which an interrupted epoch no longer has."""
    settings = recipe(
        'apinet', epochs=3, batch_size=4, images_per_class=2, similar_classes=2, early_epochs=1,
        **{'model_args.backbone': 'test_resnet', 'lr': 0.05})
    cuts: list[int] = []

    class Cut(Exception):
        pass

    step = trainer.Run._step

    def step_and_cut(run, images, targets, number):
        if number in (10, 17) and number not in cuts:  # in the middle of the second and third epoch of seven steps
            cuts.append(number)
            run._save()
            raise Cut
        return step(run, images, targets, number)

    train(config(photos, tmp_path / 'whole', recipe=settings, model='apinet'))
    monkeypatch.setattr(trainer.Run, '_step', step_and_cut)
    for resume in (False, True):
        with pytest.raises(Cut):
            train(config(photos, tmp_path / 'cut', recipe=settings, model='apinet', resume=resume))
    train(config(photos, tmp_path / 'cut', recipe=settings, model='apinet', resume=True))
    expected, found = load_file(tmp_path / 'whole/model.safetensors'), load_file(tmp_path / 'cut/model.safetensors')
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def _age(folder):
    path = folder / 'checkpoint.safetensors'
    return path.stat().st_mtime_ns if path.exists() else None


def test_workers_do_not_change_the_weights(photos, tmp_path):
    train(config(photos, tmp_path / 'none', workers=0, cache=True))
    train(config(photos, tmp_path / 'two', workers=2, cache=False))
    first, second = load_file(tmp_path / 'none/model.safetensors'), load_file(tmp_path / 'two/model.safetensors')
    assert all((first[name] == second[name]).all() for name in first)


def test_the_seed_matters(photos, tmp_path):
    train(config(photos, tmp_path / 'a', recipe=recipe(epochs=1)))
    train(config(photos, tmp_path / 'b', recipe=recipe(epochs=1), seed=1))
    first, second = load_file(tmp_path / 'a/model.safetensors'), load_file(tmp_path / 'b/model.safetensors')
    assert not all((first[name] == second[name]).all() for name in first)


def test_an_existing_run_is_not_overwritten(photos, tmp_path):
    train(config(photos, tmp_path, recipe=recipe('baseline', epochs=1), model='test_resnet'))
    with pytest.raises(UserError, match='already holds a run'):
        train(config(photos, tmp_path, recipe=recipe('baseline', epochs=1), model='test_resnet'))
    with pytest.raises(UserError, match='recipe batch_size: 4, now 5'):
        train(config(photos, tmp_path, recipe=recipe('baseline', epochs=1, batch_size=5), model='test_resnet', resume=True))
