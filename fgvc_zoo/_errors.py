"""UserError, which the command shows without a traceback, and the checks that raise it."""

from __future__ import annotations

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
