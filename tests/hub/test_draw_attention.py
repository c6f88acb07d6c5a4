"""The picture of a card that shows where a model attends without showing a photograph."""

import importlib.util
from pathlib import Path

import pytest
import torch

from fgvc_zoo.models import Explanation

spec = importlib.util.spec_from_file_location('draw_attention', Path(__file__).parents[2] / 'hub' / 'draw_attention.py')
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


class Attends:
    """To a rectangle, the same in every image: its map is 1 there."""

    def __init__(self, left, top, right, bottom):
        self.map = torch.zeros(1, 64, 64)
        self.map[:, top:bottom, left:right] = 1

    def explain(self, images):
        maps = self.map.expand(len(images), 1, 64, 64)
        return Explanation(torch.cat([maps, torch.rand_like(maps)], 1), torch.zeros(len(images), 1, 4), ['mean', 'noise'], ['object'])


def test_attention_to_the_object_fills_the_frame():
    """A quarter of the image at four times an even spread, and none around it, for boxes of any shape."""
    images = [(torch.zeros(3, 8, 8), 0)] * 40
    boxes = torch.tensor([0.25, 0.125, 0.75, 0.625]).expand(40, 4)
    drawn = script.attention_in_frame(Attends(16, 8, 48, 40), images, boxes, workers=0)
    cells = script.CELLS
    axis = (torch.arange(cells) + 0.5) / cells * 2 - 0.5
    within = ((axis > 0) & (axis < 1)).float()
    expected = 4 * within[:, None] * within
    edge = ((axis.abs() < 0.05) | ((axis - 1).abs() < 0.05))
    inner = ~(edge[:, None] | edge)
    inside_image = (axis > -0.25)[:, None].expand(cells, cells)  # the box is an eighth below the upper edge, a quarter of its own height
    torch.testing.assert_close(drawn[inner & inside_image], expected[inner & inside_image], rtol=1e-5, atol=1e-5)
    assert drawn[~inside_image].isnan().all()


@pytest.mark.parametrize('boxes', [1, 3])
def test_it_is_a_mean_over_the_images_that_reach(boxes):
    """Where only some boxes leave room in the image, only those count."""
    images = [(torch.zeros(3, 8, 8), 0)] * 4
    whole, middle = torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.tensor([0.25, 0.25, 0.75, 0.75])
    frames = torch.stack([middle] * boxes + [whole] * (4 - boxes))
    drawn = script.attention_in_frame(Attends(0, 0, 64, 64), images, frames, workers=0)
    torch.testing.assert_close(drawn, torch.ones_like(drawn))


def test_picture(tmp_path):
    from PIL import Image
    script.draw(torch.rand(script.CELLS, script.CELLS), 1389, tmp_path / 'new' / 'map.png')
    assert Image.open(tmp_path / 'new' / 'map.png').width > 400
