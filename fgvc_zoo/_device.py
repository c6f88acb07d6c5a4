"""The device that a command runs on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fgvc_zoo._errors import UserError, first_line
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
        raise UserError(f"the device '{name}' cannot be used here ({first_line(error)}); try --device cpu") from error
    return torch.device(name)


@contextmanager
def enough_memory(instead: str) -> Iterator[None]:
    """Within this context, an error for want of memory is one sentence.

    Args:
        instead: What needs less: 'a smaller batch_size'.

    Raises:
        UserError: The memory of the device or of this machine is full, or a process that loads images was killed.
    """
    try:
        yield
    except RuntimeError as error:
        if 'DataLoader worker (pid' in str(error):
            raise UserError(
                f'a process that loads images was killed, perhaps for want of memory: use fewer workers or {instead}') from error
        if 'out of memory' in str(error) or "can't allocate memory" in str(error):  # of an accelerator, of the CPU
            raise UserError(f'the memory is full: use {instead}') from error
        raise


def peak_memory(device: torch.device) -> int:
    """Largest memory so far in bytes: of the accelerator if it is one, else of this process; 0 if unknown."""
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else 1024 * peak
