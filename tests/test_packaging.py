"""What is built is what should be: the wheel runs elsewhere, with its checkpoints and without the repository."""

import importlib.util
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

spec = importlib.util.spec_from_file_location('release', ROOT / 'hub' / 'release.py')
release = importlib.util.module_from_spec(spec)
spec.loader.exec_module(release)


@pytest.fixture(scope='module')
def dist(tmp_path_factory):
    """The wheel and the sdist, built from a copy so that the tree stays clean."""
    folder = tmp_path_factory.mktemp('dist')
    ignore = shutil.ignore_patterns('.git', 'runs', 'build', 'dist', '*.egg-info', '__pycache__', '.venv', '.*_cache')
    return release.build(shutil.copytree(ROOT, folder / 'tree', ignore=ignore), folder, isolated=False)


def test_wheel_holds_the_package_and_nothing_else(dist, tmp_path):
    wheel, _ = dist
    release.check_wheel(wheel, ROOT)
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
    assert {'fgvc_zoo/py.typed', 'fgvc_zoo/checkpoints/manifest.yaml', 'fgvc_zoo/recipes/wsdan.yaml'} <= set(names)
    more = Path(shutil.copy(wheel, tmp_path))
    with zipfile.ZipFile(more, 'a') as content:
        content.writestr('tests/data.bin', b'x')
    with pytest.raises(SystemExit, match=r"too much in it: \['tests/data.bin'\]"):
        release.check_wheel(more, ROOT)


def test_a_wheel_that_is_too_large_is_refused(dist, monkeypatch):
    monkeypatch.setattr(release, 'LARGEST', 1e6)
    with pytest.raises(SystemExit, match='the package index takes 100'):
        release.check_wheel(dist[0], ROOT)


def test_sdist_holds_what_is_needed_to_build_and_test(dist):
    with tarfile.open(dist[1]) as content:
        names = {name.partition('/')[2] for name in content.getnames()}
    assert {'LICENSE', 'README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'CITATION.cff', 'setup.cfg', 'pyproject.toml',
            'tests/test_packaging.py', 'tests/formats/1/wsdan/model.safetensors', 'fgvc_zoo_cli/__main__.py', 'examples/LICENSE',
            'fgvc_zoo/checkpoints/manifest.yaml'} <= names
    assert not any('__pycache__' in name or name.startswith('runs') for name in names)


def test_wheel_runs_elsewhere(dist, tmp_path, capsys):
    """Installed into an empty folder, away from the repository, it gives its golden logits and names a bird, without a network."""
    site, elsewhere = tmp_path / 'site', tmp_path / 'elsewhere'
    subprocess.run(
        [sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--no-index', '--target', str(site), str(dist[0])],
        check=True, timeout=120)
    elsewhere.mkdir()
    release.try_wheel(Path(sys.executable), elsewhere, site)
    assert capsys.readouterr().out.count('gives its golden logits') == 6
    (site / 'fgvc_zoo' / 'checkpoints' / 'wsdan_tf_efficientnet_lite0.cub200.safetensors').unlink()
    with pytest.raises(SystemExit, match='the wheel fails elsewhere'):
        release.try_wheel(Path(sys.executable), elsewhere, site)


def test_the_version_has_its_section_in_the_changelog():
    text = (ROOT / 'CHANGELOG.md').read_text(encoding='utf-8')
    assert release.version() in text
    release.check_changelog('# x\n\n## 0.1.0 - 2026-01-02\n', '0.1.0')
    for wrong in ('## 0.1.0 - unreleased', '## 0.1.01 - 2026-01-02', ''):
        with pytest.raises(SystemExit, match='no section'):
            release.check_changelog(wrong, '0.1.0')
