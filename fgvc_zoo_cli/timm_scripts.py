"""`fgvc-zoo timm`: one of timm's own scripts with the models of this zoo registered.

timm's validate.py, inference.py, train.py, benchmark.py ... create models by name. They are in timm's repository, not in its package.
In a clone of that repository this uses the clone's timm, as the scripts themselves would; elsewhere the installed one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

_WHERE = 'timm has them in its repository, https://github.com/huggingface/pytorch-image-models, not in its package'


def run_script(
        script: Annotated[str, typer.Argument(help='Path of the script, such as pytorch-image-models/validate.py.')],
        args: Annotated[Optional[list[str]], typer.Argument(help="The script's arguments and options.")] = None,
) -> None:
    """Run one of timm's scripts (validate.py, inference.py, train.py ...) with the models of this zoo."""
    import runpy

    import fgvc_zoo  # noqa: F401  (registers the models)

    path = find_script(script)
    sys.argv = [str(path), *(args or [])]
    sys.path.insert(0, str(path.resolve().parent))
    runpy.run_path(str(path), run_name='__main__')


def find_script(name: str) -> Path:
    """The script with this path, or, if timm is imported from a clone of its repository, with this name in the clone.

    Raises:
        UserError: There is none.
    """
    import timm

    from fgvc_zoo._errors import UserError

    clone = Path(str(timm.__file__)).parents[1]
    for path in (Path(name), clone / name):
        if path.is_file() and (path == Path(name) or (clone / 'pyproject.toml').is_file()):
            return path
    raise UserError(f"there is no script '{name}'; give the path of one of timm's scripts, such as validate.py ({_WHERE})")
