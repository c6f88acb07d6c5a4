"""The progress bar of the commands and of training, and lines instead where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


class RateColumn(ProgressColumn):
    """Steps a second, such as '21.3 images/s'; nothing before the first two steps."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        """The text for one task."""
        speed = task.finished_speed or task.speed
        return Text(f'{speed:.1f} {self.unit}/s' if speed else '')


def progress_bar(
        show: bool, console: Console | None = None, details: bool = False, unit: str = '', redirect_stdout: bool = True) -> Progress:
    """A bar with a description, the count and the remaining time.

    Args:
        show: False draws nothing.
        console: Where to draw; standard output if None.
        details: Add a last column with the text in each task's field `details`, and keep the bar on the screen when it is full.
        unit: What is counted, such as 'images': adds a column with the rate.
        redirect_stdout: Print what is written to standard output above the bar. It then goes to `console`.
    """
    # with details, the bar takes what the other columns leave of the line
    bar = BarColumn(bar_width=None) if details else BarColumn()
    columns: list[ProgressColumn] = [TextColumn('{task.description}'), bar, MofNCompleteColumn(), TimeRemainingColumn()]
    if details:
        columns.append(TextColumn('{task.fields[details]}'))
    if unit:
        columns.append(RateColumn(unit))
    return Progress(*columns, console=console, transient=not details, disable=not show, redirect_stdout=redirect_stdout, expand=details)


class ProgressLog:
    """A line every so often, for output that goes into a file.

    Args:
        show: False writes nothing.
        seconds: Time between two lines.
        clock: Gives the time in seconds.
        file: Where the lines go; standard output if None.
    """

    def __init__(
            self, show: bool, seconds: float = 30, clock: Callable[[], float] = time.monotonic, file: TextIO | None = None) -> None:
        self.show, self.seconds, self._clock, self._file = show, seconds, clock, file
        self._last = clock()

    def update(self, line: Callable[[], str]) -> None:
        """Write the line that `line` makes, if the last one was long enough ago."""
        now = self._clock()
        if self.show and now - self._last >= self.seconds:
            self._last = now
            print(line(), flush=True, file=self._file)


def time_left(seconds: float) -> str:
    """'45 s', '12 min' or '3 h 05 min'."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f'{seconds:.0f} s'
    return f'{minutes} min' if minutes < 60 else f'{minutes // 60} h {minutes % 60:02} min'
