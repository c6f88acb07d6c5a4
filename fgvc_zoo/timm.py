"""Run one of timm's own scripts with the models of this zoo registered.

    python -m fgvc_zoo.timm pytorch-image-models/validate.py photos/ --model wsdan_tf_efficientnet_lite0.grocery81 --pretrained

timm's validate.py, inference.py, train.py, benchmark.py ... create models by name; they are in timm's repository, not in its package.
Started in a clone of that repository this uses the clone's timm, as the scripts themselves would; elsewhere the installed one.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import timm

from fgvc_zoo._errors import UserError

_WHERE = 'timm has them in its repository, https://github.com/huggingface/pytorch-image-models, not in its package'


def find_script(name: str) -> Path:
    """The script with this path, or, when timm itself is imported from a clone of its repository, with this name there.

    Raises:
        UserError: There is none.
    """
    clone = Path(str(timm.__file__)).parents[1]
    for path in (Path(name), clone / name):
        if path.is_file() and (path == Path(name) or (clone / 'pyproject.toml').is_file()):
            return path
    raise UserError(f"there is no script '{name}'; give the path of one of timm's scripts, such as validate.py ({_WHERE})")


def main() -> None:
    """Run the script that the command line names, as if it had been run by itself; an error of the user's is one line and exit status 2."""
    try:
        if len(sys.argv) < 2:
            raise UserError(f"give the path of one of timm's scripts, such as validate.py, and its arguments ({_WHERE})")
        script = find_script(sys.argv[1])
        sys.argv = sys.argv[1:]
        sys.path.insert(0, str(script.resolve().parent))
        runpy.run_path(str(script), run_name='__main__')
    except UserError as error:
        print(f'fgvc-zoo: error: {error}', file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == '__main__':
    main()
