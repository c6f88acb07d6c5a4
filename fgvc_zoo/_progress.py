"""The progress bar of the commands and of training."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn


def progress_bar(show: bool, console: Console | None = None, details: bool = False) -> Progress:
    """A bar with a description, the count and the remaining time.

    Args:
        show: False draws nothing.
        console: Where to draw; standard output if None.
        details: Add a last column with the text in each task's field `details`, and keep the bar on the screen when it is full.
    """
    columns: list[ProgressColumn] = [TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    if details:
        columns.append(TextColumn('{task.fields[details]}'))
    return Progress(*columns, console=console, transient=not details, disable=not show)
