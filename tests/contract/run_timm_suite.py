"""Run timm's own model tests over the models of this zoo.

    python tests/contract/run_timm_suite.py                      # every registered model
    python tests/contract/run_timm_suite.py --small              # each method's small models
    python tests/contract/run_timm_suite.py --models 'wsdan_*'   # chosen ones

The tests come from the source distribution of the installed timm version, which pip fetches once (or from `--sdist PATH`). Nothing
of theirs is changed; a plugin lists our models instead of timm's, which also gives them the tests that timm restricts to modules
with `forward_intermediates`. The exit status is pytest's; a run that finds no test fails.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SMALL = ['*_tf_efficientnet_lite0']


def fetch(cache: Path, sdist: Path | None) -> Path:
    """timm's tests, unpacked without timm itself, so that the installed one is imported.

    Args:
        cache: Where the archive is kept and unpacked.
        sdist: A source distribution that is there already; pip fetches the installed version's if None.

    Returns:
        The folder that holds `tests/`.
    """
    name = f"timm-{version('timm')}"
    folder = cache / name
    if sdist is None and (folder / 'tests' / 'test_models.py').is_file():
        return folder
    if sdist is None:
        cache.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [sys.executable, '-m', 'pip', 'download', '-q', '--no-binary', ':all:', '--no-deps', '-d', str(cache),
             f"timm=={version('timm')}"], check=True)
        sdist = cache / f'{name}.tar.gz'
    with tarfile.open(sdist) as archive:
        for member in archive:
            parts = Path(member.name).parts
            if member.isfile() and parts[0] == name and parts[1] == 'tests' and '..' not in parts:
                target = cache.joinpath(*parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.extractfile(member).read())
    if not (folder / 'tests' / 'test_models.py').is_file():
        raise SystemExit(f"'{sdist}' is not the source distribution of the installed {name}")
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument('--models', nargs='+', default=['*'], help='name patterns; all registered models if not given')
    chosen.add_argument('--small', action='store_true', help="each method's small models")
    parser.add_argument(
        '--cache', type=Path, default=Path.home() / '.cache' / 'fgvc-zoo' / 'timm-suite', help="folder for timm's tests")
    parser.add_argument('--sdist', type=Path, help="timm's source distribution (.tar.gz), instead of fetching it")
    parser.add_argument('-n', default='2', help='processes')
    parser.add_argument('-k', default='', help='pytest expression that chooses tests')
    options = parser.parse_args()

    suite = fetch(options.cache, options.sdist)
    paths = [str(HERE), str(ROOT), os.environ.get('PYTHONPATH', '')]
    env = dict(
        os.environ, FGVC_ZOO_SUITE_MODELS=','.join(SMALL if options.small else options.models), HF_HUB_OFFLINE='1',
        PYTHONPATH=os.pathsep.join(path for path in paths if path))
    env.pop('GITHUB_ACTIONS', None)  # timm leaves tests out there
    command = [
        sys.executable, '-m', 'pytest', '-q', '-ra', '-p', 'timm_suite_plugin', '-p', 'no:cacheprovider', '-c', os.devnull,
        '--rootdir', str(suite), '-n', options.n, '-k', options.k, 'tests/test_models.py']
    return subprocess.run(command, cwd=suite, env=env, check=False).returncode


if __name__ == '__main__':
    raise SystemExit(main())
