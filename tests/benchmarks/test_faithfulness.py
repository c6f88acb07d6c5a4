"""Deletion, insertion and the pointing game against closed forms."""

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

spec = importlib.util.spec_from_file_location(
    'faithfulness', Path(__file__).parents[2] / 'benchmarks' / 'accuracy' / 'faithfulness.py')
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)
SIZE = 8 * script.CELLS


class Sum(nn.Module):
    """The first class's probability is the mean of the first channel, which is in [0, 1]."""

    def forward(self, x):
        share = x[:, 0].mean((1, 2)).clamp(1e-6, 1 - 1e-6)
        return torch.stack([share.log(), (1 - share).log()], 1)


def test_ranks_are_those_of_the_cells():
    maps = torch.arange(script.CELLS**2).flip(0).view(1, script.CELLS, script.CELLS)
    ranks = script.cell_ranks(maps, torch.Generator().manual_seed(0))
    assert ranks[0].tolist() == list(range(script.CELLS**2))


def test_ties_are_broken_at_random():
    ranks = script.cell_ranks(torch.zeros(3, 4, 4), torch.Generator().manual_seed(0))
    assert all(sorted(row) == list(range(script.CELLS**2)) for row in ranks.tolist())
    assert not torch.equal(ranks[0], ranks[1]) and ranks[0, 0] != 0


def test_the_curves_of_an_image_whose_left_half_matters(monkeypatch):
    """The blurred image is black, the left half white: deleting it first leaves nothing after half of the cells."""
    monkeypatch.setattr(script, 'gaussian_blur', lambda image, *_: torch.zeros_like(image))
    image = torch.zeros(3, SIZE, SIZE)
    image[:, :, :SIZE // 2] = 1
    column = torch.arange(script.CELLS).expand(1, script.CELLS, -1).float()
    generator = torch.Generator().manual_seed(0)
    count = script.CELLS**2
    kept = [1 - sum(rank < share * count for rank in range(count)) / count for share in script.SHARES]
    for maps, deleted, inserted in (
            (-column, [max(0, share - 0.5) for share in kept], [min(0.5, 1 - share) for share in kept]),
            (column, [min(0.5, share) for share in kept], [max(0, 0.5 - share) for share in kept])):
        ranks = script.cell_ranks(maps, generator)[0]
        found = script.curves(Sum(), image, ranks, 0)
        expected = [100 * sum(values) / len(values) for values in (deleted, inserted)]
        assert found == pytest.approx(expected, abs=1e-3)
    assert script.curves(Sum(), image, ranks, 1) == pytest.approx([100 - value for value in expected], abs=1e-3)


def test_the_highest_place_is_in_the_box_or_not():
    maps = torch.zeros(3, 4, 8)
    maps[0, 1, 6] = maps[1, 3, 0] = maps[2, 0, 7] = 1
    boxes = torch.tensor([[0.8, 0.3, 0.9, 0.5], [0.1, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.2]])
    assert script.points_inside(maps, boxes).tolist() == [True, False, True]


def test_an_interval_holds_the_mean():
    values = [0.0] * 50 + [100.0] * 50
    found = script.interval(values)
    assert found['mean'] == 50 and found['low'] == pytest.approx(40, abs=2) and found['high'] == pytest.approx(60, abs=2)
