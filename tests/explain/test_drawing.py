"""The picture: its width, its names, both themes, no empty quarter."""

import numpy as np
import pytest
from PIL import Image

from fgvc_zoo import UserError
from fgvc_zoo.explain import THEMES, Example, draw_prediction, write_new
from fgvc_zoo.explain.drawing import WIDTH


def ink(picture, theme='light'):
    """Where the picture differs from its paper."""
    return (np.abs(np.asarray(picture, int) - THEMES[theme].paper).sum(2) > 30)


@pytest.mark.parametrize('theme', sorted(THEMES))
@pytest.mark.parametrize('shape', [dict(parts=8, looks=2), dict(parts=2, boxes=2, looks=3), dict(parts=2), dict(explanation=None)])
def test_no_quarter_is_empty_and_nothing_reaches_the_edge(prediction, cfg, shape, theme):
    picture = draw_prediction(prediction(**shape), cfg, theme=theme)
    assert picture.mode == 'RGB' and picture.width == WIDTH
    drawn = ink(picture, theme)
    middle, across = picture.height // 2, WIDTH // 2
    for quarter in (drawn[:middle, :across], drawn[:middle, across:], drawn[middle:, :across], drawn[middle:, across:]):
        assert quarter.mean() > 0.05
    for edge in (drawn[:8], drawn[-8:], drawn[:, :8], drawn[:, -8:]):
        assert not edge.any()


def test_names_are_whole(prediction, cfg):
    """A long name takes more lines; letters of any script differ."""
    def height(**changes):
        return draw_prediction(prediction(parts=2, looks=2, **changes), cfg).height

    long = 'a very long name ' * 12
    assert height(names=[long, 'b']) > height(names=['a', 'b']) + 40
    assert height(path=f'{long * 2}.jpg') > height()
    for one, other in (('é', 'ř'), ('苹', '果')):
        pictures = [np.asarray(draw_prediction(prediction(names=[name]), cfg)) for name in (one, other)]
        assert not np.array_equal(*pictures)
    wide = ink(draw_prediction(prediction(parts=2, looks=3, names=['W' * 90, 'b']), cfg))
    assert not wide[:, -8:].any()


def test_probabilities_are_bars_of_their_length(prediction, cfg):
    picture = np.asarray(draw_prediction(prediction(names=['a', 'b']), cfg), int)
    rows = [row for row in picture if (row == THEMES['light'].bar).all(1).sum() > 100]
    lengths = sorted({int((row == THEMES['light'].bar).all(1).sum()) for row in rows})
    inside = WIDTH - 40
    assert lengths == [pytest.approx(0.25 * inside, abs=2), pytest.approx(0.5 * inside, abs=2)]


def test_strangers_and_examples_are_shown(prediction, cfg):
    plain = draw_prediction(prediction(parts=2), cfg)
    assert draw_prediction(prediction(parts=2, unknown=True), cfg).height > plain.height
    green = Example('kiwi', Image.new('RGB', (320, 320), (0, 200, 0)))
    with_examples = np.asarray(draw_prediction(prediction(parts=2), cfg, [green, Example('leek', None)]))
    assert (with_examples == (0, 200, 0)).all(2).mean() > 0.2


def test_an_unknown_theme_is_named(prediction, cfg):
    with pytest.raises(UserError, match="did you mean 'light'"):
        draw_prediction(prediction(), cfg, theme='ligth')


def test_a_file_that_exists_stays(tmp_path):
    path = tmp_path / 'a.png'
    write_new(Image.new('RGB', (4, 4)), path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        write_new(Image.new('RGB', (9, 9)), path)
    assert path.read_bytes() == before


def test_many_panels_are_drawn_in_rows(prediction, cfg):
    """Such as the boxes of six branches. All are as wide as those of a full row."""
    heights = {boxes: draw_prediction(prediction(parts=6, boxes=boxes), cfg).height for boxes in (3, 4, 5, 9)}
    assert heights[4] - heights[3] > 150  # a second row
    assert abs(heights[5] - heights[4]) < 60 and abs(heights[9] - heights[5]) < 120  # the names of the boxes need lines


def test_a_picture_is_as_tall_as_what_it_shows(prediction, cfg):
    names = [f'class {index}' for index in range(700)]
    picture = draw_prediction(prediction(names=names, probabilities=[1 / 700] * 700), cfg)
    assert picture.height > 20_000
    drawn = ink(picture)
    assert drawn[-60:-20].any() and not drawn[-15:].any()


def test_half_a_picture_is_removed(tmp_path, monkeypatch):
    def save(picture, file, kind):
        file.write(b'half')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(Image.Image, 'save', save)
    with pytest.raises(OSError, match='No space left'):
        write_new(Image.new('RGB', (4, 4)), tmp_path / 'a.png')
    assert not (tmp_path / 'a.png').exists()
