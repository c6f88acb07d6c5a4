"""A picture of a model's attention and prediction, the same for every method that has `explain`."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F

from fgvc_zoo.data import inverse_normalize
from fgvc_zoo.fonts import draw_text, wrapped
from fgvc_zoo.layers import crop_boxes
from fgvc_zoo.prediction import Prediction

_PANEL = 320
_MARGIN = 12
_BOX_COLOR = (255, 221, 51)
_BAR_COLOR = (94, 129, 172)
_INK = (32, 32, 32)
_TEXT = 17  # font size in pixels
_ROW = 26
# dark violet, magenta, orange, pale yellow; lightness increases evenly
_COLORS = np.array([(13, 8, 60), (84, 2, 124), (158, 40, 118), (212, 75, 88), (244, 122, 52), (252, 178, 44), (250, 250, 160)])


def draw_prediction(prediction: Prediction, cfg: dict[str, Any], top: int = 3) -> Image.Image:
    """Draw the input, the attention map, the enlarged boxes and the most probable classes.

    Args:
        prediction: From `predict` with `explain=True`.
        cfg: The model's pretrained_cfg, for the mean and the standard deviation of its input.
        top: Number of classes to show.

    Returns:
        An RGB image: the model's input with the attended boxes, the input under the first attention map, and each box enlarged. Without an
        explanation it shows the input alone. The classes are below.

    Raises:
        ValueError: The prediction has no view.
    """
    if prediction.view is None:
        raise ValueError('the prediction has no view; call predict with explain=True')
    view, explanation = prediction.view, prediction.explanation
    panels: list[tuple[str, Image.Image]] = []
    picture = _picture(view[0], cfg)
    if explanation is None:
        panels.append(('input', picture))
    else:
        boxes = explanation.boxes[0]
        panels.append(('input', _with_boxes(picture, boxes)))
        panels.append(('attention', _heat(picture, explanation.maps[0, 0])))
        height, width = view.shape[2:]
        for box, name in zip(boxes, explanation.box_names, strict=True):
            panels.append((f'{name}, enlarged', _picture(crop_boxes(view, box[None], height, width)[0], cfg)))
    return _compose(panels, list(zip(prediction.names, prediction.probabilities, strict=True))[:top])


def _picture(tensor: Tensor, cfg: dict[str, Any]) -> Image.Image:
    return Image.fromarray(inverse_normalize(tensor, cfg['mean'], cfg['std'])).resize((_PANEL, _PANEL), Image.Resampling.BICUBIC)


def _with_boxes(picture: Image.Image, boxes: Tensor) -> Image.Image:
    picture = picture.copy()
    draw = ImageDraw.Draw(picture)
    for box in boxes.tolist():
        draw.rectangle([min(max(value * _PANEL, 1), _PANEL - 2) for value in box], outline=_BOX_COLOR, width=3)
    return picture


def _heat(picture: Image.Image, attention: Tensor) -> Image.Image:
    """Blend the map (h, w), in colours, with the picture."""
    enlarged = F.interpolate(attention[None, None].float(), (_PANEL, _PANEL), mode='bilinear', align_corners=False)[0, 0]
    strength = (enlarged / enlarged.max().clamp(min=1e-12)).clamp(0, 1).cpu().numpy()
    positions = strength * (len(_COLORS) - 1)
    low = np.minimum(positions.astype(int), len(_COLORS) - 2)
    part = (positions - low)[..., None]
    colors = _COLORS[low] * (1 - part) + _COLORS[low + 1] * part
    return Image.fromarray((0.55 * colors + 0.45 * np.asarray(picture)).astype(np.uint8))


def _compose(panels: list[tuple[str, Image.Image]], answers: list[tuple[str, float]]) -> Image.Image:
    names_at = 2 * _MARGIN + _PANEL  # below the second panel; a picture of one panel is as wide as one of two
    width = max(len(panels), 2) * (_PANEL + _MARGIN) + _MARGIN
    lines = [wrapped(name, _TEXT, width - names_at - _MARGIN) for name, _ in answers]
    top = _MARGIN + 22
    below = top + _PANEL + _MARGIN
    canvas = Image.new('RGB', (width, below + _ROW * sum(map(len, lines)) + _MARGIN), 'white')
    draw = ImageDraw.Draw(canvas)
    for index, (title, picture) in enumerate(panels):
        left = _MARGIN + index * (_PANEL + _MARGIN)
        draw_text(draw, left, _MARGIN + 14, title, 14, _INK)
        canvas.paste(picture, (left, top))
    room = _PANEL - 72
    for (_, probability), name in zip(answers, lines, strict=True):
        draw.rectangle([_MARGIN, below + 3, _MARGIN + max(2, round(room * probability)), below + 19], fill=_BAR_COLOR)
        draw_text(draw, _MARGIN + room + 8, below + 18, f'{100 * probability:.1f} %', _TEXT, _INK)
        for line in name:
            draw_text(draw, names_at, below + 18, line, _TEXT, _INK)
            below += _ROW
    return canvas
