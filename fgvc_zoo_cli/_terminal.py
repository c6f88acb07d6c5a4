"""What the commands print: names from outside cannot act on the terminal, and no encoding of the terminal stops a command."""

from __future__ import annotations

import io
import json
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console


def accept_any_text() -> None:
    """Let standard output and standard error write what their encoding lacks as escapes, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')


def console(stderr: bool = False) -> Console:
    """A console that neither wraps lines nor colours numbers nor reads `:apple:` or `[red]` in a text."""
    from rich.console import Console

    class Output(Console):
        def on_broken_pipe(self) -> None:
            """Leave it to `main`; rich exits with status 1."""
            raise BrokenPipeError

    return Output(stderr=stderr, highlight=False, soft_wrap=True, emoji=False, markup=False)


def is_utf8(stream: TextIO) -> bool:
    """Whether a stream writes UTF-8."""
    return (stream.encoding or '').lower().replace('-', '') == 'utf8'


def print_json(value: Any) -> None:
    """Write a value to standard output as JSON that any reader understands, whatever the encoding and the names in it."""
    text = json.dumps(value, indent=2, ensure_ascii=not is_utf8(sys.stdout))
    # half of a surrogate pair stands for a byte of a file name that is not UTF-8; JSON has an escape for it
    print(text.encode('utf-8', 'backslashreplace').decode('utf-8'))


def forget_output() -> None:
    """Point standard output at nothing, so that Python does not try to write the rest of it when it exits."""
    try:
        target = sys.__stdout__.fileno() if sys.__stdout__ else 1
    except (OSError, ValueError):
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), target)
