"""Paths from standard input, as they come."""

from __future__ import annotations

import os
from collections.abc import Iterator


def read_paths(descriptor: int, null: bool = False) -> Iterator[str]:
    """Paths that a program writes, each as soon as it is there.

    The file descriptor is read without Python's buffer, whose lock a forked process could inherit.

    Args:
        descriptor: Number of the open file, 0 for standard input.
        null: Each path ends with a NUL character, as `find -print0` writes them; else with a line break. Empty lines are passed over.
    """
    end = b'\0' if null else b'\n'
    rest = b''
    while block := os.read(descriptor, 1 << 16):
        *whole, rest = (rest + block).split(end)
        yield from _decoded(whole, null)
    yield from _decoded([rest], null)


def _decoded(names: list[bytes], null: bool) -> Iterator[str]:
    for name in names:
        if path := os.fsdecode(name if null else name.removesuffix(b'\r')):  # lists that were made on Windows
            yield path
