"""Values of YAML as the types that are wanted. YAML reads '1e-3' as text, since YAML 1.1 wants a dot and a sign."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

from fgvc_zoo._errors import UserError


def number(name: str, value: Any, kind: type) -> int | float:
    """A value as a finite number.

    Args:
        name: What it is, for the message.
        value: From YAML: a number, or a text that is one.
        kind: int or float.

    Raises:
        UserError: It is none, or no whole one where an int is wanted.
    """
    wanted = 'a whole number' if kind is int else 'a number'
    try:
        found = float(value) if isinstance(value, str) or (isinstance(value, (int, float)) and not isinstance(value, bool)) else math.nan
    except (ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found) or (kind is int and found != int(found)):
        raise UserError(f'{name} must be {wanted}, not {value!r}')
    return int(found) if kind is int else value if isinstance(value, int) else found


def like_default(name: str, value: Any, default: Any) -> Any:
    """A value as the type of the default that it replaces.

    Args:
        name: What it is, for the message.
        value: From YAML.
        default: A bool, a number, a text, or a tuple of numbers; others say nothing of the type.

    Raises:
        UserError: It is of another type.
    """
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise UserError(f'{name} must be true or false, not {value!r}')
    elif isinstance(default, (int, float)):
        return number(name, value, type(default))
    elif isinstance(default, str):
        if not isinstance(value, str):
            raise UserError(f'{name} must be a word, not {value!r}')
    elif isinstance(default, tuple):
        if not isinstance(value, (list, tuple)) or len(value) != len(default):
            raise UserError(f"{name} must be {len(default)} numbers, such as {list(default)}, not {value!r}")
        return tuple(number(name, item, float) for item in value)
    elif default is None and isinstance(value, str):
        with suppress(UserError):  # it may be a word, too
            return number(name, value, float)
    return value
