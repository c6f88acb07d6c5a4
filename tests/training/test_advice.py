"""The advice on photographs that the central crop would cut."""

import pytest
from PIL import Image

from fgvc_zoo.data import open_dataset
from fgvc_zoo.training.advice import shape_advice


@pytest.fixture
def folder(tmp_path):
    def make(*sizes):
        for index, size in enumerate(sizes):
            path = tmp_path / 'train' / 'ab'[index % 2] / f'{index}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new('RGB', size).save(path)
        return open_dataset(f'folder:{tmp_path}', 'train')
    return make


def test_long_photographs_are_advised_about(folder):
    dataset = folder((457, 235), (235, 457), (100, 100))
    for cfg in (dict(crop_mode='center'), dict(crop_mode=None), {}):
        assert '51 % of them' in shape_advice(dataset, cfg) and '--set crop_mode=border' in shape_advice(dataset, cfg)
    for mode in ('squash', 'border'):
        assert shape_advice(dataset, dict(crop_mode=mode)) == ''


def test_ordinary_ones_are_not_and_unreadable_ones_are_left_out(folder, tmp_path):
    dataset = folder((300, 200), (200, 300), (400, 100))
    assert shape_advice(dataset, {}) == ''
    for path in (tmp_path / 'train').rglob('*.png'):
        path.write_bytes(b'')
    assert shape_advice(dataset, {}) == ''
