"""What is shown of one photograph, before it is drawn: panels with pictures, and lists of classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import Tensor

from fgvc_zoo.data import inverse_normalize
from fgvc_zoo.explain.examples import Example
from fgvc_zoo.explain.overlays import PART_COLORS, Color, part_color, with_boxes, with_heat, with_parts
from fgvc_zoo.layers import crop_boxes
from fgvc_zoo.prediction import Prediction

SIDE = 448  # of a panel's picture, in pixels


@dataclass(frozen=True)
class Panel:
    """A picture with what explains it.

    Attributes:
        title: What it is.
        picture: RGB, `SIDE` pixels square.
        legend: Colours in the picture and what they stand for.
        heat: Whether the colours are those of `heat_colors`.
        note: A short text, '' for none.
        frame: Colour of the box that the picture shows enlarged.
    """

    title: str
    picture: Image.Image
    legend: tuple[tuple[Color, str], ...] = ()
    heat: bool = False
    note: str = ''
    frame: Color | None = None


@dataclass(frozen=True)
class Look:
    """The most probable classes after a part of the inference.

    Attributes:
        title: The part.
        classes: Names and probabilities in [0, 1], best first.
    """

    title: str
    classes: list[tuple[str, float]]


@dataclass(frozen=True)
class Sheet:
    """All that is shown of one photograph.

    Attributes:
        title: The file's name.
        model: The model's architecture.
        unknown: Whether the photograph probably shows none of the classes.
        panels: Pictures, the photograph first.
        looks: Classes after each part of the inference, the whole last.
        examples: A photograph of each of the most probable classes; empty if there are none.
        maps: Every part of the attention with its name, for models with more parts than a panel can show.
    """

    title: str
    model: str
    unknown: bool
    panels: list[Panel]
    looks: list[Look]
    examples: list[Example]
    maps: list[tuple[str, Image.Image]]


def sheet_of(prediction: Prediction, cfg: dict[str, Any], examples: list[Example] | None = None) -> Sheet:
    """Collect what is shown of a prediction.

    Args:
        prediction: From `predict` with `explain=True`.
        cfg: The model's pretrained_cfg, for the mean and the standard deviation of its input.
        examples: From `Examples.of`.

    Raises:
        ValueError: The prediction has no view.
    """
    if prediction.view is None:
        raise ValueError('the prediction has no view; call predict with explain=True')
    examples = examples or []
    picture = _picture(prediction.view[0], cfg)
    model = cfg.get('architecture', '')
    answer = list(zip(prediction.names, prediction.probabilities, strict=True))
    looks = [Look(f'classes: {name}', classes) for name, classes in prediction.looks.items()]
    looks.append(Look('classes: together' if looks else 'classes', answer))
    if prediction.explanation is None:
        return Sheet(prediction.path.name, model, prediction.unknown, [Panel('photograph', picture)], looks, examples, [])
    explanation = prediction.explanation
    boxes, names = explanation.boxes[0], explanation.box_names
    marked = tuple((part_color(index), name) for index, name in enumerate(names))
    panels = [
        Panel('photograph', with_boxes(picture, boxes), marked),
        Panel(f'attention: {explanation.map_names[0]}', with_heat(picture, explanation.maps[0, 0]), heat=True)]
    parts, part_names = explanation.maps[0, 1:], explanation.map_names[1:]
    if len(parts):
        panels.append(parts_panel(picture, parts, part_names))
    panels += [_rival_panel(example, cfg, prediction.names[:2]) for example in examples if example.contrast is not None]
    panels += [_enlarged(prediction.view, box, name, index, cfg) for index, (box, name) in enumerate(zip(boxes, names, strict=True))]
    maps = [(name, with_heat(picture, part)) for name, part in zip(part_names, parts, strict=True)] if len(parts) > len(PART_COLORS) else []
    return Sheet(prediction.path.name, model, prediction.unknown, panels, looks, examples, maps)


def parts_panel(picture: Image.Image, parts: Tensor, names: list[str]) -> Panel:
    """The strongest parts of the attention (M, h, w), each in a colour of its own, in the order of their names."""
    strongest = parts.flatten(1).sum(1).topk(min(len(parts), len(PART_COLORS))).indices.sort().values
    legend = tuple((part_color(index), names[part]) for index, part in enumerate(strongest.tolist()))
    count = '' if len(strongest) == len(parts) else f'{len(strongest)} of {len(parts)} '
    return Panel(f'attention: {count}parts', with_parts(picture, parts[strongest]), legend)


def _rival_panel(example: Example, cfg: dict[str, Any], classes: list[str]) -> Panel:
    assert example.view is not None and example.contrast is not None
    picture = with_parts(_picture(example.view[0], cfg), example.contrast[0])
    legend = tuple((part_color(index), f'for {name}') for index, name in enumerate(classes))
    return Panel(f'the most similar {example.name}', picture, legend)


def _enlarged(view: Tensor, box: Tensor, name: str, index: int, cfg: dict[str, Any]) -> Panel:
    height, width = view.shape[2:]
    area = float((box[2] - box[0]) * (box[3] - box[1]))
    picture = _picture(crop_boxes(view, box[None], height, width)[0], cfg)
    return Panel(f'{name}, enlarged', picture, note=f'{100 * area:.0f} % of the input', frame=part_color(index))


def _picture(tensor: Tensor, cfg: dict[str, Any]) -> Image.Image:
    return Image.fromarray(inverse_normalize(tensor, cfg['mean'], cfg['std'])).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
