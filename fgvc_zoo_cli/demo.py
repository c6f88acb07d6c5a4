"""`fgvc-zoo demo`: a web page on this machine that classifies photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from fgvc_zoo_cli._common import MODEL
from fgvc_zoo_cli._terminal import console


def demo(
        model: Annotated[Optional[list[str]], typer.Option(
            help=f'To offer first; may be repeated. {MODEL}')] = None,
        host: Annotated[str, typer.Option(help='Address to listen on; 0.0.0.0 lets other machines in.')] = '127.0.0.1',
        port: Annotated[Optional[int], typer.Option(
            min=1, max=65535, help='Port to listen on; the first free one from 7860 on, if not given.')] = None,
) -> None:
    """Start a web page that classifies photographs and shows where the model looks."""
    from fgvc_zoo._errors import UserError

    try:
        from fgvc_zoo.demo import build_demo, start_demo
    except ModuleNotFoundError as error:
        raise UserError(f"the demo needs '{error.name}': pip install 'fgvc-zoo[demo]'") from error
    examples = Path(__file__).parents[1] / 'hub' / 'space' / 'examples'  # there in a clone only
    page = build_demo(model or [], examples)
    url = start_demo(page, host, port)
    console(stderr=True).print(f'fgvc-zoo: open {url} in a browser; Ctrl-C stops it')
    page.block_thread()
