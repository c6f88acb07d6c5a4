"""What several test files need: a tiny trained-looking model in a run folder, and small photographs."""

import os
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import fgvc_zoo  # noqa: F401
from fgvc_zoo.saving import save_model

if 'PYTEST_XDIST_WORKER' in os.environ:  # workers share the cores, and so do the processes that tests start
    os.environ['OMP_NUM_THREADS'] = '1'
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed() -> None:
    """Each test's random numbers are its own, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope='session')
def run_folder(tmp_path_factory) -> Path:
    """config.json and model.safetensors of an untrained WS-DAN with three classes at 64 px."""
    torch.manual_seed(0)
    model = timm.create_model('wsdan', backbone='test_resnet', num_classes=3, num_maps=4)
    model.pretrained_cfg.update(input_size=(3, 64, 64), num_classes=3)
    return save_model(model, tmp_path_factory.mktemp('run'), label_names=['gala', 'kiwi', 'leek'])


@pytest.fixture(scope='session')
def photos(tmp_path_factory) -> Path:
    """A folder per class (gala, kiwi, leek), two photographs each below test/ and three below train/."""
    root = tmp_path_factory.mktemp('photos')
    generator = np.random.default_rng(0)
    for split, count in (('train', 3), ('test', 2)):
        for name in ('gala', 'kiwi', 'leek'):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                Image.fromarray(generator.integers(0, 255, (72, 90, 3), dtype=np.uint8)).save(root / split / name / f'{index}.jpg')
    return root
