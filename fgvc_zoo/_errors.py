"""The one exception type that the command line shows without a traceback."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


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
