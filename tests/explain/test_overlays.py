"""Attention in colours: where it is, how strong, on any photograph."""

import numpy as np
import pytest
import torch
from PIL import Image

from fgvc_zoo.explain.overlays import PART_COLORS, heat_colors, with_boxes, with_heat, with_parts

SIZE = 96


def flat(color):
    return Image.new('RGB', (SIZE, SIZE), color)


def spot(row, column, value=1.0):
    attention = torch.zeros(4, 4)
    attention[row, column] = value
    return attention


def lightness(picture):
    return np.asarray(picture.convert('L'), float)


def test_heat_rises_evenly_and_ends_at_its_colours():
    colors = heat_colors(np.linspace(0, 1, 101))
    assert colors.shape == (101, 3)
    assert (np.diff(colors @ [0.299, 0.587, 0.114]) > 0).all()
    np.testing.assert_array_equal(colors[[0, 100]], [(13, 8, 60), (250, 250, 160)])


@pytest.mark.parametrize('color', [(255, 0, 0), (255, 255, 255), (0, 0, 0), (200, 30, 40), (20, 160, 30)])
def test_attention_is_seen_on_any_colour(color):
    heat = lightness(with_heat(flat(color), spot(0, 3)))
    assert heat[11, 84] > 100 + heat[84, 11]
    parts = np.asarray(with_parts(flat(color), torch.stack([spot(0, 3), spot(3, 0)])), float)
    for place, index in (((11, 84), 0), ((84, 11), 1)):
        distances = np.abs(parts[place] - np.array(PART_COLORS)).sum(1)
        assert distances.argmin() == index  # each part has its own colour
    assert np.ptp(parts[48, 48]) == 0  # and where there is none, the photograph is grey


def test_the_photograph_stays_visible_below_the_strongest_attention():
    stripes = np.zeros((SIZE, SIZE, 3), np.uint8)
    stripes[::2] = 255
    picture = Image.fromarray(stripes)
    for overlay in (with_heat(picture, torch.ones(4, 4)), with_parts(picture, torch.ones(1, 4, 4))):
        rows = lightness(overlay)
        assert rows[40].mean() > rows[41].mean() + 15


def test_attention_of_nothing_has_no_bright_place():
    dead = np.asarray(with_heat(flat((90, 90, 90)), torch.zeros(4, 4)))
    assert (dead == dead[0, 0]).all()
    assert np.ptp(np.asarray(with_parts(flat((90, 90, 90)), torch.zeros(2, 4, 4)))) == 0


def test_parts_share_one_scale():
    """A part that is a tenth as strong is fainter; alone it is not."""
    strong, weak = spot(0, 0), spot(3, 3, 0.1)
    together = np.asarray(with_parts(flat((128, 128, 128)), torch.stack([strong, weak])), float)
    alone = np.asarray(with_parts(flat((128, 128, 128)), torch.stack([torch.zeros(4, 4), weak])), float)
    assert np.ptp(together[84, 84]) < 0.5 * np.ptp(alone[84, 84])


def test_where_parts_overlap_the_stronger_gives_the_colour():
    picture = np.asarray(with_parts(flat((128, 128, 128)), torch.stack([0.5 * torch.ones(4, 4), torch.ones(4, 4)])), float)
    assert np.abs(picture[48, 48] - np.array(PART_COLORS)).sum(1).argmin() == 1


def test_boxes_are_outlined_in_their_colours():
    boxes = torch.tensor([[0.25, 0.25, 0.75, 0.75], [0.0, 0.0, 1.0, 1.0]])
    picture = np.asarray(with_boxes(flat((255, 255, 255)), boxes))
    assert tuple(picture[48, 25]) == PART_COLORS[0] and tuple(picture[48, 2]) == PART_COLORS[1]
    assert (picture[40:56, 40:56] == 255).all()
