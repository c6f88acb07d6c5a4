"""Run timm's own model tests over the models of this zoo.

    python tests/contract/run_timm_suite.py                      # every registered model
    python tests/contract/run_timm_suite.py --small              # each method's small models
    python tests/contract/run_timm_suite.py --models 'wsdan_*'   # chosen ones

The tests come from the source distribution of the installed timm version, which pip fetches once. Nothing of theirs is changed; a plugin
lists our models instead of timm's, which also gives them the tests that timm restricts to modules with `forward_intermediates`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
SMALL = ['*_tf_efficientnet_lite0']
# tests of timm that name timm's own models; ours never appear in them
OTHERS = 'not test_model_inference'


def fetch(cache: Path) -> Path:
    """timm's tests, unpacked without timm itself, so that the installed one is imported."""
    name = f"timm-{version('timm')}"
    folder = cache / name
    if not (folder / 'tests' / 'test_models.py').is_file():
        cache.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [sys.executable, '-m', 'pip', 'download', '-q', '--no-binary', ':all:', '--no-deps', '-d', str(cache),
             f"timm=={version('timm')}"], check=True)
        with tarfile.open(cache / f'{name}.tar.gz') as archive:
            wanted = [member for member in archive.getmembers() if member.name.startswith(f'{name}/tests/')]
            archive.extractall(cache, members=wanted, filter='data')
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--models', nargs='+', default=['*'], help='name patterns')
    parser.add_argument('--small', action='store_true', help="each method's small models")
    parser.add_argument('--cache', type=Path, default=Path.home() / '.cache' / 'fgvc-zoo', help="folder for timm's tests")
    parser.add_argument('-n', default='2', help='processes')
    parser.add_argument('-k', default=OTHERS, help='pytest expression')
    options = parser.parse_args()

    suite = fetch(options.cache)
    env = dict(
        os.environ, FGVC_ZOO_SUITE_MODELS=','.join(SMALL if options.small else options.models), HF_HUB_OFFLINE='1',
        PYTHONPATH=os.pathsep.join([str(HERE), os.environ.get('PYTHONPATH', '')]), TIMEOUT='900')
    env.pop('GITHUB_ACTIONS', None)  # timm leaves tests out there
    command = [
        sys.executable, '-m', 'pytest', '-q', '-p', 'timm_suite_plugin', '-p', 'no:cacheprovider', '-c', os.devnull, '--rootdir',
        str(suite), '-n', options.n, '-k', options.k, '-ra', 'tests/test_models.py']
    return subprocess.run(command, cwd=suite, env=env, check=False).returncode


if __name__ == '__main__':
    raise SystemExit(main())
