"""Names of classes, as different sources write them."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence


def match_classes(names: Sequence[str], known: Sequence[str]) -> list[int | None]:
    """Find classes by name.

    A name means the class that is written alike, or else the only one that differs in case, in Unicode form, or in spaces, '_' and '-'.

    Args:
        names: The names to find.
        known: All classes.

    Returns:
        For each name its index in `known`, or None.

    Example:
        >>> match_classes(['rock_wren', 'Ostrich'], ['House Wren', 'Rock Wren'])
        [1, None]
    """
    exact = {name: index for index, name in enumerate(known)}
    folded = [_folded(name) for name in known]
    unique = {name for name, count in Counter(folded).items() if count == 1}
    loose = {name: index for index, name in enumerate(folded) if name in unique}
    return [exact[name] if name in exact else loose.get(_folded(name)) for name in names]


def _folded(name: str) -> str:
    return ' '.join(unicodedata.normalize('NFC', name).casefold().replace('_', ' ').replace('-', ' ').split())
