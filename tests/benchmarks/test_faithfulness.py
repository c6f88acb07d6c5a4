"""Deletion, insertion and the pointing game against closed forms."""

import importlib.util
import json
import random
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.transforms.functional import gaussian_blur

spec = importlib.util.spec_from_file_location(
    'faithfulness', Path(__file__).parents[2] / 'benchmarks' / 'accuracy' / 'faithfulness.py')
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)
SIZE = 8 * script.CELLS
COUNT = script.CELLS**2


class Sum(nn.Module):
    """The first class's probability is the mean of the first channel, which is in [0, 1]."""

    def forward(self, x):
        share = x[:, 0].mean((1, 2)).clamp(1e-6, 1 - 1e-6)
        return torch.stack([share.log(), (1 - share).log()], 1)


def generator():
    return torch.Generator().manual_seed(0)


def test_ranks_are_those_of_the_cells():
    maps = torch.arange(COUNT).flip(0).view(1, script.CELLS, script.CELLS)
    assert script.cell_ranks(maps, generator())[0].tolist() == list(range(COUNT))


def test_ties_are_broken_at_random():
    ranks = script.cell_ranks(torch.zeros(3, 4, 4), generator())
    assert all(sorted(row) == list(range(COUNT)) for row in ranks.tolist())
    assert not torch.equal(ranks[0], ranks[1]) and ranks[0, 0] != 0


def half_white():
    """An image whose left half alone matters, and the black image in place of its blurred one."""
    image = torch.zeros(3, SIZE, SIZE)
    image[:, :, :SIZE // 2] = 1
    return image, torch.zeros_like(image)


def areas_of(maps, target=0):
    image, black = half_white()
    deleted, inserted = script.curves(Sum(), image, black, script.cell_ranks(maps, generator()), target)
    return list(zip(deleted, inserted, strict=True))


def test_the_areas_of_an_image_whose_left_half_matters():
    """While the left half is deleted first, the probability falls from 1/2 to 0 at half of the cells: a triangle of area 1/8. If the right
    half is deleted first, it stays and then falls: 1/4 + 1/8. Insertion is the mirror image. A step is at 1/2, so the area is exact."""
    column = torch.arange(script.CELLS).expand(script.CELLS, -1).float()
    assert COUNT // 2 in script.STEPS
    left, right = areas_of(torch.stack([-column, column]))
    assert left == pytest.approx((12.5, 37.5), abs=0.01) and right == pytest.approx((37.5, 12.5), abs=0.01)


def test_what_matters_first_is_better_than_its_inverse_noise_is_between():
    truth = torch.zeros(script.CELLS, script.CELLS)
    truth[:, :script.CELLS // 2] = 1
    own, inverse, noise = areas_of(torch.stack([truth, 1 - truth, torch.rand(truth.shape, generator=generator())]))
    assert own[0] < noise[0] < inverse[0] and own[1] > noise[1] > inverse[1]
    assert noise == pytest.approx((25, 25), abs=3)  # on average the probability falls evenly


def test_the_other_class_has_the_remaining_area():
    maps = torch.rand(2, 5, 5, generator=generator())
    for (deleted, inserted), (other_deleted, other_inserted) in zip(areas_of(maps), areas_of(maps, 1), strict=True):
        assert (deleted + other_deleted, inserted + other_inserted) == pytest.approx((100, 100), abs=1e-3)


def test_the_blur_is_that_of_both_axes_at_once():
    image = torch.rand(3, 64, 64, generator=generator())
    torch.testing.assert_close(script.blur(image), gaussian_blur(image, 2 * round(2 * script.BLUR * 64) + 1, script.BLUR * 64))


def test_the_highest_place_is_in_the_box_or_not():
    maps = torch.zeros(3, 4, 8)
    maps[0, 1, 6] = maps[1, 3, 0] = maps[2, 0, 7] = 1
    boxes = torch.tensor([[0.8, 0.3, 0.9, 0.5], [0.1, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.2]])
    assert script.points_inside(maps, boxes).tolist() == [True, False, True]


def test_an_interval_holds_the_mean():
    values = [0.0] * 50 + [100.0] * 50
    found = script.interval(values)
    assert found['mean'] == 50 and found['low'] == pytest.approx(40, abs=2) and found['high'] == pytest.approx(60, abs=2)


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['faithfulness.py', '--data', 'cub200:somewhere', *map(str, arguments)])
    script.main()


def test_measured_methods_are_kept_while_the_settings_are_the_same(monkeypatch, tmp_path):
    measured = []

    def measure(model, dataset, chosen, with_curves, seed):
        measured.append(model)
        assert chosen == random.Random(seed).sample(range(9), 2)
        return dict(number=len(measured))

    monkeypatch.setattr(script, 'load_model', lambda name: name)
    monkeypatch.setattr(script, 'eval_transform_for', lambda _: None)
    monkeypatch.setattr(script, 'open_dataset', lambda *_, **__: range(9))
    monkeypatch.setattr(script, 'measure', measure)
    path = tmp_path / 'found.json'
    run(monkeypatch, '--photographs', 2, '--methods', 'osme', '--json', path)
    run(monkeypatch, '--photographs', 2, '--methods', 'osme', 'apinet', '--json', path)
    assert measured == ['osme_tf_efficientnet_lite0.cub200', 'apinet_tf_efficientnet_lite0.cub200']
    found = json.loads(path.read_text())
    assert numbers(path) == dict(osme=1, apinet=2) and 'somewhere' not in path.read_text()
    found['results']['osme']['weights_sha256'] = 'of earlier weights'
    path.write_text(json.dumps(found))
    run(monkeypatch, '--photographs', 2, '--methods', 'osme', 'apinet', '--json', path)
    assert numbers(path) == dict(osme=3, apinet=2)
    run(monkeypatch, '--photographs', 2, '--seed', 1, '--methods', 'osme', '--json', path)
    assert numbers(path) == dict(osme=4)


def numbers(path):
    return {method: row['number'] for method, row in json.loads(path.read_text())['results'].items()}
