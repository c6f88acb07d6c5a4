"""The one exception type that the command line shows without a traceback, and the checks that raise it most."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from math import inf


class UserError(ValueError):
    """Something the user can mend. The message is one sentence that says what is wrong and what to do."""


def nearest(name: str, choices: Iterable[str]) -> str:
    """A tail for an error message that offers the closest choices.

    Args:
        name: What the user wrote.
        choices: What could have been meant.

    Returns:
        ", did you mean 'a' or 'b'?" for up to three close matches, else an empty string.
    """
    matches = get_close_matches(name, list(choices), n=3, cutoff=0.5)
    return f", did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""


def check_choice(name: str, value: str, choices: Collection[str]) -> None:
    """Raise a UserError unless `value` is one of `choices`."""
    if value not in choices:
        raise UserError(f"{name} '{value}' is not known{nearest(str(value), choices)} (choose from {', '.join(choices)})")


def check_range(name: str, value: float, low: float, high: float = inf, exclude: Collection[float] = ()) -> None:
    """Raise a UserError unless low <= value <= high and `value` is none of `exclude`, which opens the range at an end."""
    if low <= value <= high and value not in exclude:
        return
    if high == inf:
        wanted = f'{"above" if low in exclude else "at least"} {low}'
    else:
        wanted = f'in {"(" if low in exclude else "["}{low}, {high}{")" if high in exclude else "]"}'
    raise UserError(f'{name} must be {wanted}, not {value}')
