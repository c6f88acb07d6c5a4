"""Two processes that share the images of a step end with the weights of one process with all of them."""

import csv
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

SCRIPT = '''
import os, signal, sys
from pathlib import Path
import torch
from fgvc_zoo.recipes import load_recipe
from fgvc_zoo.training import TrainConfig, train, trainer
if os.environ['RANK'] in (os.environ.get('STOPPED'), os.environ.get('KILLED')):
    step = trainer.Run._step
    def step_and_stop(run, images, targets, number):
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL if 'KILLED' in os.environ else signal.SIGTERM)
        return step(run, images, targets, number)
    trainer.Run._step = step_and_stop
torch.set_num_threads(1)
method, data, output, batch_size = sys.argv[1:]
name, model, args = dict(
    baseline=('baseline', 'test_resnet', {}),
    accumulated=('baseline', 'test_resnet', {'accumulate': 2}),
    waiting_backbone=('baseline', 'test_resnet', {'frozen_epochs': 1}),
    racnn=('racnn', 'racnn', {'model_args.backbone': 'test_resnet', 'model_args.num_scales': 2, 'task_args.proposal_steps': 1,
                     'task_args.classification_steps': 2, 'task_args.ranking_steps': 1, 'task_args.follow_peaks': False}),
)[method]
recipe = load_recipe(name).replace(epochs=2, batch_size=int(batch_size), input_size=48, freeze_bn=True, lr=0.001, **args)
train(TrainConfig(model, data, output, recipe, seed=3, pretrained_backbone=False, workers=0, device='cpu',
                  progress=False, eval_split='test',
                  resume=(Path(output) / 'checkpoint.safetensors').exists(), command='fgvc-zoo train'))
'''


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Four classes of six noisy pictures."""
    root = tmp_path_factory.mktemp('photos')
    generator = np.random.default_rng(0)
    for label in range(4):
        # five images to measure, which two processes cannot share evenly
        for split, count in (('train', 6), ('test', 2 if label == 0 else 1)):
            folder = root / split / f'class{label}'
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 120, (56, 64, 3))
                pixels[..., label % 3] += 60 + 20 * label
                Image.fromarray(pixels.astype('uint8')).save(folder / f'{index}.jpg')
    return root


def spawn(method, photos, output, batch_size, **env):
    env = {**os.environ, 'PYTHONPATH': str(Path(__file__).parents[2]), 'OMP_NUM_THREADS': '1', 'RANK': '0', **env}
    words = [sys.executable, '-c', SCRIPT, method, f'folder:{photos}', str(output), str(batch_size)]
    return subprocess.Popen(words, env=env, stderr=subprocess.PIPE, text=True)


def spawn_two(method, photos, output, batch_size, **env):
    rendezvous = dict(
        MASTER_ADDR='127.0.0.1', MASTER_PORT=str(free_port()), WORLD_SIZE='2', LOCAL_WORLD_SIZE='2', ACCELERATE_USE_CPU='true')
    return [spawn(method, photos, output, batch_size, RANK=str(rank), LOCAL_RANK=str(rank), **rendezvous, **env) for rank in range(2)]


def wait_for(processes):
    """The exit status and what was written to the standard error of each."""
    try:
        written = [process.communicate(timeout=300)[1] for process in processes]
        return [process.returncode for process in processes], written
    finally:
        for process in processes:
            process.kill()


def free_port():
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]


@pytest.mark.timeout(600)
@pytest.mark.parametrize('method', ['baseline', 'accumulated', 'waiting_backbone', 'racnn'])
def test_two_processes_train_what_one_does(photos, tmp_path, method):
    codes, written = wait_for([*spawn_two(method, photos, tmp_path / 'two', 4), spawn(method, photos, tmp_path / 'one', 8)])
    assert codes == [0, 0, 0], written
    one, two = (load_file(tmp_path / name / 'model.safetensors') for name in ('one', 'two'))
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-5, msg=name)
    rows = {name: list(csv.DictReader((tmp_path / name / 'history.csv').open())) for name in ('one', 'two')}
    assert len(rows['two']) == 2
    for one, two in zip(rows['one'], rows['two'], strict=True):  # the loss of all images, and every measured image once
        assert {key: float(two[key]) for key in two if 'second' not in key} == pytest.approx(
            {key: float(one[key]) for key in one if 'second' not in key}, rel=1e-3, abs=1e-5)
        assert float(one['test_top1']) * 5 == pytest.approx(100 * round(float(one['test_top1']) / 20))


@pytest.mark.timeout(600)
def test_a_signal_to_one_of_two_processes_stops_and_saves_both(photos, tmp_path):
    """They agree after every tenth step; resumed, the run ends with the weights of one that was not stopped."""
    codes, written = wait_for([
        *spawn_two('baseline', photos, tmp_path / 'stopped', 1, STOPPED='1'), *spawn_two('baseline', photos, tmp_path / 'whole', 1)])
    assert codes == [143, 143, 0, 0], written
    assert 'stopped after step 10 of epoch 1, saved in' in written[0]
    assert 'go on with (in 2 processes, as before): fgvc-zoo train --resume' in written[0]
    assert 'stopped after' not in written[1]
    codes, written = wait_for(spawn_two('baseline', photos, tmp_path / 'stopped', 1))
    assert codes == [0, 0], written
    whole, stopped = (load_file(tmp_path / name / 'model.safetensors') for name in ('whole', 'stopped'))
    assert all(torch.equal(stopped[name], tensor) for name, tensor in whole.items())


@pytest.mark.timeout(600)
def test_the_death_of_a_process_ends_the_other_in_a_sentence(photos, tmp_path):
    codes, written = wait_for(spawn_two('baseline', photos, tmp_path / 'run', 1, KILLED='1'))
    assert codes == [1, -signal.SIGKILL], written
    last = written[0].strip().splitlines()[-1]
    assert last.endswith('UserError: another process of this run has ended: see its message, then go on with --resume')
