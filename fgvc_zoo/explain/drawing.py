"""The picture of a prediction: 1200 pixels wide, on light or dark paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from PIL import Image, ImageDraw

from fgvc_zoo._errors import check_choice
from fgvc_zoo.explain.examples import Example
from fgvc_zoo.explain.overlays import Color, heat_colors
from fgvc_zoo.explain.sheet import Look, Panel, Sheet, sheet_of
from fgvc_zoo.fonts import draw_text, text_width, wrapped
from fgvc_zoo.prediction import Prediction

WIDTH = 1200
_MARGIN = 20
_GAP = 16
_TITLE, _TEXT, _SMALL = 22, 16, 14  # font sizes in pixels
_SINGLE = 260  # side of the only panel of a model without an explanation; the classes are beside it
_PANELS_A_ROW, _EXAMPLES_A_ROW = 6, 8  # at most
_BAR = 7  # height of the bar of a probability
_HEIGHT = 4000  # that is enough for most pictures; Pillow needs the height before anything is drawn

Item = TypeVar('Item')


class Theme(NamedTuple):
    """RGB colours of the paper, text, less important text, lines, and the bars of probabilities."""

    paper: Color
    ink: Color
    muted: Color
    line: Color
    bar: Color


THEMES = dict(
    light=Theme((255, 255, 255), (27, 31, 36), (87, 96, 106), (208, 215, 222), (0, 114, 178)),
    dark=Theme((18, 22, 27), (230, 233, 236), (163, 173, 183), (52, 59, 67), (86, 180, 233)))


def draw_prediction(
        prediction: Prediction, cfg: dict[str, Any], examples: list[Example] | None = None, theme: str = 'light') -> Image.Image:
    """Draw the photograph, what the model attended to, and the most probable classes after each part of the inference.

    Args:
        prediction: From `predict` with `explain=True`.
        cfg: The model's pretrained_cfg, for the mean and the standard deviation of its input.
        examples: From `Examples.of`: photographs of the classes, shown below.
        theme: 'light' or 'dark'.

    Returns:
        An RGB image, `WIDTH` pixels wide: the file's name; the model's input with the attended boxes; the input under the attention, and
        under its parts, each in a colour of its own; each box enlarged. The classes are below, or beside the photograph if the model has
        no explanation.

    Raises:
        ValueError: The prediction has no view.
        UserError: The theme is not known.
    """
    check_choice('theme', theme, THEMES)
    sheet = sheet_of(prediction, cfg, examples)
    page = _Page(THEMES[theme], _HEIGHT)
    height = _draw(sheet, page)
    if height > _HEIGHT:
        page = _Page(THEMES[theme], height)
        _draw(sheet, page)
    return page.canvas.crop((0, 0, WIDTH, height))


def _draw(sheet: Sheet, page: _Page) -> int:
    """Draw everything and return the height that it needs. What is below the page's end is not drawn."""
    inside = WIDTH - 2 * _MARGIN
    aside = round(text_width(sheet.model, _SMALL))
    page.text(WIDTH - _MARGIN - aside, _MARGIN + _TITLE - _SMALL, aside + 1, sheet.model, _SMALL, page.theme.muted)
    top = page.text(_MARGIN, _MARGIN, inside - aside - _GAP, sheet.title, _TITLE)
    if sheet.unknown:
        top = page.text(_MARGIN, top, inside, 'perhaps none of these: it does not look like photographs of the classes', _TEXT)
    top += _GAP // 2
    if len(sheet.panels) == 1:
        side = _MARGIN + _SINGLE + _GAP
        top = max(page.panel(sheet.panels[0], _MARGIN, top, _SINGLE), page.columns(sheet.looks, page.look, side, top))
    else:
        for row, count in _rows(sheet.panels, _PANELS_A_ROW):
            top = page.columns([panel.title for panel in row], page.title, _MARGIN, top, count)
            top = page.columns(row, page.panel, _MARGIN, top, count) + _GAP
        top = page.columns(sheet.looks, page.look, _MARGIN, top)
    for examples, count in _rows(sheet.examples, _EXAMPLES_A_ROW):
        top = page.columns(examples, page.example, _MARGIN, top + _GAP, count)
    return top + _MARGIN


def _rows(items: list[Item], most: int) -> list[tuple[list[Item], int]]:
    """Items in rows, each with the number of its columns, which is the same in all rows."""
    count = min(len(items), most)
    return [(items[begin:begin + most], count) for begin in range(0, len(items), most)]


def write_new(picture: Image.Image, path: Path) -> None:
    """Write a PNG file where there is none. Another program may have made one since its name was chosen.

    Raises:
        FileExistsError: There is one.
    """
    with open(path, 'xb') as file:
        try:
            picture.save(file, 'PNG')
        except BaseException:
            path.unlink()  # half a picture is none
            raise


class _Page:
    """A canvas. What draws takes the left and upper end and the width, in pixels, and returns the lower end."""

    def __init__(self, theme: Theme, height: int) -> None:
        self.theme = theme
        self.canvas = Image.new('RGB', (WIDTH, height), theme.paper)
        self.draw = ImageDraw.Draw(self.canvas)

    def columns(
            self, items: Sequence[Item], draw: Callable[[Item, int, int, int], int], left: int, top: int, count: int | None = None) -> int:
        """Draw items side by side in columns of one width, `count` of which fill the row: as many as there are items if it is None."""
        count = count or len(items)
        width = (WIDTH - _MARGIN - left - _GAP * (count - 1)) // count
        return max(draw(item, left + index * (width + _GAP), top, width) for index, item in enumerate(items))

    def text(self, left: int, top: int, width: int, text: str, size: int, color: Color | None = None) -> int:
        """A text in as many lines as it needs."""
        for line in wrapped(text, size, width):
            draw_text(self.draw, left, top + size, line, size, color or self.theme.ink)
            top += round(1.4 * size)
        return top

    def title(self, title: str, left: int, top: int, width: int) -> int:
        return self.text(left, top, width, title, _SMALL) + 4

    def panel(self, panel: Panel, left: int, top: int, width: int) -> int:
        """A picture and what explains it; its title is in the row above."""
        self.canvas.paste(panel.picture.resize((width, width), Image.Resampling.LANCZOS), (left, top))
        if panel.frame is not None:
            self.draw.rectangle([left, top, left + width - 1, top + width - 1], outline=panel.frame, width=4)
        top += width + 8
        if panel.heat:
            top = self._scale(left, top, width)
        if panel.note:
            top = self.text(left, top, width, panel.note, _SMALL, self.theme.muted)
        return self._legend(panel.legend, left, top, width)

    def _scale(self, left: int, top: int, width: int) -> int:
        """The colours of the heat from none to the strongest."""
        ends = 'none', 'strongest'
        bar = round(width - sum(text_width(end, _SMALL) + 8 for end in ends))
        colors = heat_colors(np.linspace(0, 1, bar))[None].repeat(12, 0).round().astype(np.uint8)
        start = left + round(text_width(ends[0], _SMALL)) + 8
        self.text(left, top - 2, width, ends[0], _SMALL, self.theme.muted)
        self.canvas.paste(Image.fromarray(colors), (start, top + 1))
        return self.text(start + bar + 8, top - 2, width, ends[1], _SMALL, self.theme.muted)

    def _legend(self, legend: Sequence[tuple[Color, str]], left: int, top: int, width: int) -> int:
        """Entries side by side, in as many lines as they need."""
        x, below = left, top
        for color, name in legend:
            needed = 20 + text_width(name, _SMALL)
            if x > left and x + needed > left + width:
                x, top = left, below
            self.draw.rectangle([x, top + 2, x + 12, top + 14], fill=color, outline=self.theme.muted)
            below = max(below, self.text(x + 20, top - 1, width - 20, name, _SMALL, self.theme.muted))
            x += round(needed) + 14
        return below

    def look(self, look: Look, left: int, top: int, width: int) -> int:
        """Classes with bars as long as they are probable."""
        self.draw.line([left, top, left + width, top], fill=self.theme.line)
        top = self.text(left, top + 8, width, look.title, _SMALL, self.theme.muted) + 4
        if not look.classes:
            return self.text(left, top, width, 'no class is probable enough', _TEXT)
        for name, probability in look.classes:
            number = f'{100 * probability:.1f} %'
            start = left + width - round(text_width(number, _TEXT))
            self.text(start, top, width, number, _TEXT)
            top = self.text(left, top, start - left - 12, name, _TEXT) + 1
            self.draw.rectangle([left, top, left + width, top + _BAR], fill=self.theme.line)
            self.draw.rectangle([left, top, left + max(2, round(width * probability)), top + _BAR], fill=self.theme.bar)
            top += _BAR + 8
        return top

    def example(self, example: Example, left: int, top: int, width: int) -> int:
        """A photograph of a class."""
        if example.picture is None:
            return self.text(left, top, width, f'There is no photograph of {example.name}.', _SMALL, self.theme.muted)
        self.canvas.paste(example.picture.resize((width, width), Image.Resampling.LANCZOS), (left, top))
        return self.text(left, top + width + 6, width, f'example: {example.name}', _SMALL, self.theme.muted)
