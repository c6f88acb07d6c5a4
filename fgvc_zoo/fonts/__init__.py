"""Text in pictures, in any script that people name things in.

DejaVu Sans has Latin, Greek, Cyrillic, Arabic, Hebrew and more; WenQuanYi Micro Hei has Chinese, Japanese and Korean. `LICENSES.txt` has
their terms. A character that neither has is written as its code point, such as U+10330, and never as an empty box.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from PIL import ImageFont
from PIL.ImageDraw import ImageDraw
from PIL.ImageFont import FreeTypeFont

from fgvc_zoo._errors import plain

_FILES = tuple(Path(__file__).with_name(name) for name in ('DejaVuSans.ttf', 'WenQuanYiMicroHei.ttc'))
_NO_CHARACTER = '\U0010ffff'  # no font has it, so it is drawn as the font's sign for what it lacks


@cache
def _fonts(size: int) -> tuple[FreeTypeFont, ...]:
    return tuple(ImageFont.truetype(str(path), size) for path in _FILES)


@cache
def _font_index(character: str) -> int | None:
    """The first font that has a character; None if no font has it."""
    for index, font in enumerate(_fonts(16)):
        mask, missing = font.getmask(character), font.getmask(_NO_CHARACTER)
        if (mask.size, bytes(mask)) != (missing.size, bytes(missing)):
            return index
    return None


def _runs(text: str) -> list[tuple[int, str]]:
    """A line in parts that one font can draw: (font index, part). Control characters become escapes."""
    runs: list[tuple[int, str]] = []
    for character in plain(text):
        index = _font_index(character)
        if index is None:
            index, character = 0, f'U+{ord(character):04X}'
        if runs and runs[-1][0] == index:
            runs[-1] = (index, runs[-1][1] + character)
        else:
            runs.append((index, character))
    return runs


def text_width(text: str, size: int) -> float:
    """Width in pixels of one line of text.

    Args:
        text: Any text.
        size: Font size in pixels.
    """
    return sum(_fonts(size)[index].getlength(part) for index, part in _runs(text))


def draw_text(draw: ImageDraw, left: float, baseline: float, text: str, size: int, fill: tuple[int, int, int]) -> None:
    """Draw one line of text.

    Args:
        draw: Where to draw.
        left: Left end of the line in pixels.
        baseline: Its baseline, in pixels from the top.
        text: Any text.
        size: Font size in pixels.
        fill: RGB colour.
    """
    for index, part in _runs(text):
        font = _fonts(size)[index]
        draw.text((left, baseline), part, fill=fill, font=font, anchor='ls')
        left += font.getlength(part)


def wrapped(text: str, size: int, width: float) -> list[str]:
    """Break a text into lines of at most `width` pixels, at spaces where possible. Nothing is left out.

    Args:
        text: Any text.
        size: Font size in pixels.
        width: Room for a line in pixels, at least that of one character.
    """
    lines = ['']
    for word in text.split(' '):
        line = f'{lines[-1]} {word}' if lines[-1] else word
        if text_width(line, size) <= width:
            lines[-1] = line
            continue
        if lines[-1]:
            lines.append('')
        for character in word:  # a word that does not fit is broken anywhere
            if lines[-1] and text_width(lines[-1] + character, size) > width:
                lines.append('')
            lines[-1] += character
    return lines
