"""Attention maps in colours over a photograph. The photograph is grey, so that its own colours are not taken for attention."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F

Color = tuple[int, int, int]

# of single parts: Okabe and Ito's palette, which people with colour vision deficiency can tell apart
PART_COLORS: tuple[Color, ...] = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (204, 121, 167), (213, 94, 0))
# from no attention to the strongest: dark violet, magenta, orange, pale yellow; lightness increases evenly
_HEAT = np.array([(13, 8, 60), (84, 2, 124), (158, 40, 118), (212, 75, 88), (244, 122, 52), (252, 178, 44), (250, 250, 160)])
_HEAT_SHARE = 0.65
_PART_SHARE = 0.85
_GREY = (0.1, 0.75)  # darkest and lightest grey under colours: both stay visible under white and on black objects


def heat_colors(strength: np.ndarray) -> np.ndarray:
    """Values in [0, 1] of any shape -> RGB, float in [0, 255], with a last axis of 3."""
    positions = strength * (len(_HEAT) - 1)
    low = np.minimum(positions.astype(int), len(_HEAT) - 2)
    part = (positions - low)[..., None]
    return _HEAT[low] * (1 - part) + _HEAT[low + 1] * part


def with_heat(picture: Image.Image, attention: Tensor) -> Image.Image:
    """One map over a picture, from dark (none) to bright (the map's maximum).

    Args:
        picture: RGB.
        attention: (h, w), >= 0.
    """
    strength = _enlarged(attention[None], picture.size)[0]
    colors = heat_colors(strength / max(float(strength.max()), 1e-12))
    return _image(_HEAT_SHARE * colors + (1 - _HEAT_SHARE) * _grey(picture))


def with_parts(picture: Image.Image, maps: Tensor) -> Image.Image:
    """Several maps over a picture, each in its colour of `PART_COLORS`: the stronger, the more opaque. They share one scale.

    Args:
        picture: RGB.
        maps: (K, h, w), >= 0, at most as many as there are colours.
    """
    strengths = _enlarged(maps, picture.size)
    strengths = strengths / max(float(strengths.max()), 1e-12)
    weights = strengths ** 4  # where maps overlap, the strongest one gives the colour
    colors = np.tensordot(weights, np.array(PART_COLORS[:len(maps)], float), (0, 0)) / np.maximum(weights.sum(0), 1e-12)[..., None]
    opacity = _PART_SHARE * strengths.max(0)[..., None] ** 0.7  # weak parts stay visible
    return _image(opacity * colors + (1 - opacity) * _grey(picture))


def with_boxes(picture: Image.Image, boxes: Tensor) -> Image.Image:
    """Outlines of boxes (K, 4), xyxy in unit coordinates, each in its colour of `PART_COLORS` with a dark edge."""
    picture = picture.copy()
    draw = ImageDraw.Draw(picture)
    width, height = picture.size
    thickness = max(2, round(width / 110))
    for index, box in enumerate(boxes.tolist()):
        corners = [value * side for value, side in zip(box, (width, height, width, height), strict=True)]
        inside = [min(max(value, 1), side - 2) for value, side in zip(corners, (width, height, width, height), strict=True)]
        draw.rectangle(inside, outline=(20, 20, 20), width=thickness + 2)
        draw.rectangle([inside[0] + 1, inside[1] + 1, inside[2] - 1, inside[3] - 1], outline=part_color(index), width=thickness)
    return picture


def part_color(index: int) -> Color:
    """The colour of a part or box; they repeat."""
    return PART_COLORS[index % len(PART_COLORS)]


def _enlarged(maps: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Maps (K, h, w) at a picture's (width, height)."""
    return F.interpolate(maps[None].float(), size[::-1], mode='bilinear', align_corners=False)[0].clamp(min=0).cpu().numpy()


def _grey(picture: Image.Image) -> np.ndarray:
    low, high = _GREY
    return 255 * (low + (high - low) * np.asarray(picture.convert('L'), float)[..., None] / 255)


def _image(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))
