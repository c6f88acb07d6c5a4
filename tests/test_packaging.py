"""What is built is what should be: the wheel runs elsewhere, with its checkpoints and without the repository."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from fgvc_zoo.checkpoints import load_manifest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope='module')
def dist(tmp_path_factory):
    """The folder with the wheel and the sdist, built from a copy so that the tree stays clean; the wheel is built from the sdist."""
    folder = tmp_path_factory.mktemp('dist')
    copy = folder / 'tree'
    ignore = shutil.ignore_patterns('.git', 'runs', 'build', 'dist', '*.egg-info', '__pycache__', '.venv', '.*_cache')
    shutil.copytree(ROOT, copy, ignore=ignore)
    subprocess.run(
        [sys.executable, '-m', 'build', '-q', '--no-isolation', '--outdir', str(folder), str(copy)], check=True, timeout=280)
    return folder


def test_wheel_holds_the_package_and_nothing_else(dist):
    wheel, = dist.glob('*.whl')
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
    tops = {name.split('/')[0] for name in names}
    assert tops == {'fgvc_zoo', 'fgvc_zoo_cli', next(top for top in tops if top.endswith('.dist-info'))}
    source = {path.relative_to(ROOT).as_posix() for package in ('fgvc_zoo', 'fgvc_zoo_cli') for path in (ROOT / package).rglob('*')
              if path.is_file() and '__pycache__' not in path.parts}
    assert source == {name for name in names if name.startswith(('fgvc_zoo/', 'fgvc_zoo_cli/'))}
    assert {'fgvc_zoo/py.typed', 'fgvc_zoo/checkpoints/manifest.yaml', 'fgvc_zoo/recipes/wsdan.yaml'} <= source
    assert wheel.stat().st_size < 90e6  # the Python Package Index takes 100


def test_sdist_holds_what_is_needed_to_build_and_test(dist):
    archive, = dist.glob('*.tar.gz')
    with tarfile.open(archive) as content:
        names = {name.partition('/')[2] for name in content.getnames()}
    assert {'LICENSE', 'README.md', 'CONTRIBUTING.md', 'setup.cfg', 'pyproject.toml', 'tests/test_packaging.py', 'fgvc_zoo_cli/__main__.py',
            'examples/LICENSE', 'fgvc_zoo/checkpoints/manifest.yaml'} <= names
    assert not any('__pycache__' in name or name.startswith('runs') for name in names)


def test_wheel_runs_elsewhere(dist, tmp_path):
    """Installed into an empty folder, away from the repository, every checkpoint of the package loads without a network."""
    wheel, = dist.glob('*.whl')
    subprocess.run(
        [sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--no-index', '--target', str(tmp_path / 'site'), str(wheel)],
        check=True, timeout=120)
    names = [item.name for item in load_manifest() if item.in_package]
    assert names, 'no checkpoint is in the package'
    code = (
        'import sys, timm, torch, fgvc_zoo\n'
        "assert fgvc_zoo.__file__.startswith(sys.argv[1]), fgvc_zoo.__file__\n"
        'for name in sys.argv[2:]:\n'
        '    model = timm.create_model(name, pretrained=True).eval()\n'
        '    assert name in timm.list_pretrained()\n'
        '    assert model(torch.zeros(1, *model.pretrained_cfg["input_size"])).shape == (1, model.num_classes)\n')
    env = dict(os.environ, PYTHONPATH=str(tmp_path / 'site'), HF_HUB_OFFLINE='1')
    result = subprocess.run(
        [sys.executable, '-c', code, str(tmp_path / 'site'), *names], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
