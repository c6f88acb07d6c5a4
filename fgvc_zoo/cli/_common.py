"""What the commands share: the device and a progress bar on standard error."""

from __future__ import annotations

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fgvc_zoo._errors import UserError
from fgvc_zoo._memory import keep_freed_memory


def choose_device(name: str | None) -> torch.device:
    """The device asked for, or the accelerator, or the CPU.

    Raises:
        UserError: The device does not exist here.
    """
    if name is None:
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    if name == 'cpu':
        keep_freed_memory()
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"the device '{name}' cannot be used here ({str(error).splitlines()[0]}); try --device cpu") from error
    return torch.device(name)


def progress_bar(console: Console) -> Progress:
    """A bar that vanishes when it is full, silent where nobody looks."""
    return Progress(
        TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console, transient=True,
        disable=not console.is_terminal)
