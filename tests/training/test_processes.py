"""Two processes that share the images of a step end with the weights of one process with all of them."""

import os
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
import sys
import torch
from fgvc_zoo.recipes import load_recipe
from fgvc_zoo.training import TrainConfig, train
torch.set_num_threads(1)
method, data, output, batch_size = sys.argv[1:]
name, model, args = dict(
    baseline=('baseline', 'test_resnet', {}),
    waiting_backbone=('baseline', 'test_resnet', {'frozen_epochs': 1}),
    racnn=('racnn', 'racnn', {'model_args.backbone': 'test_resnet', 'model_args.num_scales': 2, 'task_args.proposal_steps': 1,
                     'task_args.classification_steps': 2, 'task_args.ranking_steps': 1, 'task_args.follow_peaks': False}),
)[method]
recipe = load_recipe(name).replace(epochs=2, batch_size=int(batch_size), input_size=48, freeze_bn=True, lr=0.001, **args)
train(TrainConfig(model, data, output, recipe, seed=3, pretrained_backbone=False, workers=0, device='cpu', progress=False))
'''


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Four classes of six noisy pictures."""
    root = tmp_path_factory.mktemp('photos')
    generator = np.random.default_rng(0)
    for label in range(4):
        folder = root / 'train' / f'class{label}'
        folder.mkdir(parents=True)
        for index in range(6):
            pixels = generator.integers(0, 120, (56, 64, 3))
            pixels[..., label % 3] += 60 + 20 * label
            Image.fromarray(pixels.astype('uint8')).save(folder / f'{index}.jpg')
    return root


def spawn(method, photos, output, batch_size, **env):
    env = dict(os.environ, PYTHONPATH=str(Path(__file__).parents[2]), OMP_NUM_THREADS='1', **env)
    return subprocess.Popen([sys.executable, '-c', SCRIPT, method, f'folder:{photos}', str(output), str(batch_size)], env=env)


def free_port():
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]


@pytest.mark.timeout(600)
@pytest.mark.parametrize('method', ['baseline', 'waiting_backbone', 'racnn'])
def test_two_processes_train_what_one_does(photos, tmp_path, method):
    port = str(free_port())
    rendezvous = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=port, WORLD_SIZE='2', LOCAL_WORLD_SIZE='2', ACCELERATE_USE_CPU='true')
    processes = [spawn(method, photos, tmp_path / 'two', 4, RANK=str(rank), LOCAL_RANK=str(rank), **rendezvous) for rank in range(2)]
    processes.append(spawn(method, photos, tmp_path / 'one', 8))
    try:
        assert [process.wait(300) for process in processes] == [0, 0, 0]
    finally:
        for process in processes:
            process.kill()
    one, two = (load_file(tmp_path / name / 'model.safetensors') for name in ('one', 'two'))
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-5, msg=name)
    assert (tmp_path / 'two' / 'history.csv').read_text().count('\n') == 3
