"""UserError, which the command shows without a traceback, the checks that raise it, and text that is safe to show."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from math import inf


class UserError(ValueError):
    """An error that the user can fix. The message is one sentence that says what is wrong and what to do."""


def nearest(name: str, choices: Iterable[str]) -> str:
    """The end of an error message, with the closest choices.

    Args:
        name: What the user wrote.
        choices: What could have been meant.

    Returns:
        ", did you mean 'a' or 'b'?" for up to three close matches, else an empty string.
    """
    matches = get_close_matches(name, list(choices), n=3, cutoff=0.5)
    return f", did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""


def sentence(error: BaseException) -> str:
    """The message of an error, without the traceback that PyTorch adds if it was raised in a process that loads images."""
    text = str(error).strip()
    return text.rpartition('\n')[2].partition(': ')[2] if '\nOriginal Traceback' in text else text


def plain(text: str) -> str:
    """A text from outside as one line that is safe to show, in a terminal or a picture.

    Line breaks, terminal escapes and other control characters, signs that change the direction of writing, and bytes of a file name that
    are not UTF-8 become escapes such as `\\x1b`, `\\n` and `\\udcff`.
    """
    return ''.join(repr(sign)[1:-1] if _is_unsafe(sign) else sign for sign in text)


def _is_unsafe(sign: str) -> bool:
    # Cc: control characters; Cs: half of a surrogate pair, which stands for a byte that is not UTF-8; Zl, Zp: line breaks
    return unicodedata.category(sign) in ('Cc', 'Cs', 'Zl', 'Zp') or unicodedata.bidirectional(sign) in (
        'LRE', 'RLE', 'LRO', 'RLO', 'PDF', 'LRI', 'RLI', 'FSI', 'PDI')


def first_line(error: BaseException) -> str:
    """The first line of an error's message, for an error message of our own."""
    return str(error).strip().split('\n')[0]


def check_choice(name: str, value: str, choices: Collection[str]) -> None:
    """Raise a UserError unless `value` is one of `choices`."""
    if value not in choices:
        raise UserError(f"{name} '{value}' is not known{nearest(str(value), choices)} (choose from {', '.join(choices)})")


def check_range(name: str, value: float, low: float, high: float = inf, exclude: Collection[float] = ()) -> None:
    """Raise a UserError unless `value` is a number in [low, high].

    Args:
        name: What the value is, for the message.
        value: The value.
        low: Smallest number allowed.
        high: Largest number allowed.
        exclude: Bounds that are not allowed themselves: `exclude=(1,)` makes [0, 1] into [0, 1).
    """
    if isinstance(value, (int, float)) and low <= value <= high and value not in exclude:
        return
    if high == inf:
        allowed = f'{"above" if low in exclude else "at least"} {low}'
    else:
        allowed = f'in {"(" if low in exclude else "["}{low}, {high}{")" if high in exclude else "]"}'
    raise UserError(f'{name} must be {allowed}, not {value!r}')
