"""Text in pictures: every script is drawn, nothing is an empty box, nothing is cut off."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from fgvc_zoo import fonts
from fgvc_zoo.fonts import draw_text, text_width, wrapped


@pytest.mark.parametrize('text', ['é ř ü', 'Яблоко', 'Ελιά', 'تفاح', 'תפוח', '苹果', 'りんご', '사과'])
def test_scripts_have_glyphs(text):
    for character in text.replace(' ', ''):
        index = fonts._font_index(character)
        assert index is not None
        # the oracle: the font's table of characters
        assert ord(character) in tables()[index]


def tables():
    ttlib = pytest.importorskip('fontTools.ttLib')
    return [ttlib.TTFont(path, fontNumber=0).getBestCmap() for path in fonts._FILES]


def test_a_character_that_no_font_has_is_written_as_its_code_point():
    assert fonts._runs('a\U00010330b') == [(0, 'aU+10330b')]
    assert fonts._runs('a\x1b[31m\n') == [(0, r'a\x1b[31m\n')]
    assert [index for index, _ in fonts._runs('李 apple')] == [1, 0]


def test_width_is_that_of_what_is_drawn():
    text = 'Gala 苹果'
    canvas = Image.new('L', (400, 40))
    draw_text(ImageDraw.Draw(canvas), 10, 30, text, 20, 255)
    columns = np.flatnonzero(np.asarray(canvas).any(0))
    assert 10 <= columns[0] <= 14
    assert abs(columns[-1] - (10 + text_width(text, 20))) <= 4
    latin = ImageFont.truetype(str(fonts._FILES[0]), 20).getlength('Gala')
    assert text_width('Gala', 20) == pytest.approx(latin)


@pytest.mark.parametrize('text', ['a name of several words ' * 5, 'x' * 90, '苹果' * 40, 'one ' + 'y' * 60 + ' two', ''])
def test_lines_fit_and_nothing_is_lost(text):
    lines = wrapped(text, 17, 200)
    assert all(text_width(line, 17) <= 200 for line in lines)
    assert ''.join(lines).replace(' ', '') == text.replace(' ', '')
    assert len(lines) <= 1 + 2 * text_width(text, 17) / 200 + 1
