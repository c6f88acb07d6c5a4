"""Options and helpers that several commands share."""

from __future__ import annotations

import os
import shlex
import sys
from typing import Annotated, Optional

import typer

MODEL = 'A name with weights (see `fgvc-zoo models`), a run folder, hf-hub:ORG/NAME or an .onnx file.'  # help of --model and MODEL
Data = Annotated[str, typer.Option(help="NAME:PATH with a name that 'fgvc-zoo data' lists, or PATH, whose layout is recognised.")]
Device = Annotated[Optional[str], typer.Option(help='cpu, cuda, mps ...; if not given, cuda where there is one, else cpu.')]
Json = Annotated[bool, typer.Option('--json', help='Write JSON to standard output, and nothing else.')]
BatchSize = Annotated[int, typer.Option(min=1, help='Images that go through the model at a time.')]
Workers = Annotated[int, typer.Option(min=0, help='Processes that load images.')]


def command_line() -> str:
    """The command, as it can be typed again."""
    return shlex.join(['fgvc-zoo', *sys.argv[1:]])


def is_main_process() -> bool:
    """Whether this is the first of the processes that a launcher started, or the only one: it alone says what is no error."""
    return os.environ.get('RANK', '0') == '0'
