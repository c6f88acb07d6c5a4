"""Options and helpers that several commands share."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Annotated, Optional

import typer

if TYPE_CHECKING:
    import torch

Data = Annotated[str, typer.Option(help='cub200:PATH, grocery:PATH, folder:PATH or PATH.')]
Device = Annotated[Optional[str], typer.Option(help='cpu, cuda, mps ...; the accelerator if there is one, if not given.')]
Json = Annotated[bool, typer.Option('--json', help='Write JSON to standard output, and nothing else.')]
BatchSize = Annotated[int, typer.Option(min=1)]
Workers = Annotated[int, typer.Option(min=0, help='Processes that load images.')]


def command_line() -> str:
    """The command, as it can be typed again."""
    return shlex.join(['fgvc-zoo', *sys.argv[1:]])


def choose_device(name: str | None) -> torch.device:
    """The device asked for, or the accelerator, or the CPU.

    Raises:
        UserError: The device does not exist here.
    """
    import torch

    from fgvc_zoo._errors import UserError, first_line
    from fgvc_zoo._memory import keep_freed_memory

    if name is None:
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    if name == 'cpu':
        keep_freed_memory()
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"the device '{name}' cannot be used here ({first_line(error)}); try --device cpu") from error
    return torch.device(name)
