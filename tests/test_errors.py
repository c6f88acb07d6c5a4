"""The checks that name what is wrong and what is allowed."""

import pytest

from fgvc_zoo import UserError
from fgvc_zoo._errors import check_choice, check_range, first_line, nearest, plain


@pytest.mark.parametrize(('value', 'args', 'allowed'), [
    (0, dict(low=1), 'at least 1'),
    (0, dict(low=0, exclude=(0,)), 'above 0'),
    (1.0, dict(low=0, high=1, exclude=(1,)), r'in \[0, 1\)'),
    (0, dict(low=0, high=1, exclude=(0,)), r'in \(0, 1\]'),
    (2, dict(low=0, high=1), r'in \[0, 1\]'),
    (float('nan'), dict(low=0, high=1), r'in \[0, 1\]'),
    ('0.5', dict(low=0, high=1), r'in \[0, 1\]'),
])
def test_range_is_written_as_it_is_checked(value, args, allowed):
    with pytest.raises(UserError, match=f'rate must be {allowed}, not '):
        check_range('rate', value, **args)


def test_bounds_are_allowed_unless_excluded():
    check_range('rate', 0, 0, 1)
    check_range('rate', 1, 0, 1, exclude=(0,))


def test_choices_offer_the_nearest():
    check_choice('mode', 'center', ('center', 'squash'))
    with pytest.raises(UserError, match=r"mode 'centre' is not known, did you mean 'center'\? \(choose from center, squash\)"):
        check_choice('mode', 'centre', ('center', 'squash'))
    assert nearest('xyz', ['center']) == ''


def test_first_line():
    assert first_line(ValueError('\nwhat happened\nand more')) == 'what happened'
    assert first_line(ValueError()) == ''


@pytest.mark.parametrize(('text', 'expected'), [
    ('Gala é 苹果 تفاح', 'Gala é 苹果 تفاح'),
    ('a\x1b[31m\x07\x9b', r'a\x1b[31m\x07\x9b'),
    ('a\nb\r\u2028', r'a\nb\r\u2028'),
    ('x\udcff', r'x\udcff'),
    ('a\u202eb\u2066', r'a\u202eb\u2066'),
    ("it's \\ \"so\"", "it's \\ \"so\""),
])
def test_plain(text, expected):
    assert plain(text) == expected
