"""`fgvc-zoo classes`: the names of the classes of a model."""

from __future__ import annotations

from typing import Annotated

import typer

from fgvc_zoo_cli._common import MODEL, Json
from fgvc_zoo_cli._terminal import console, print_json


def classes(
        model: Annotated[str, typer.Argument(help=MODEL)],
        as_json: Json = False,
) -> None:
    """List the names of a model's classes, one a line, in the order of its logits."""
    from fgvc_zoo._errors import plain
    from fgvc_zoo.loading import class_names, load_model

    names = class_names(load_model(model))
    if as_json:
        print_json(names)
        return
    out = console()
    for name in names:
        out.print(plain(name))
