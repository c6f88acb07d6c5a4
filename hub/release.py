"""Build a release, check what is in it, and run it where there is no checkout.

    python hub/release.py                # build and check; dist/ has the wheel and the source archive
    python hub/release.py --tag          # also make the tag vVERSION, which the release workflow publishes when it is pushed

The tree must be committed, and CHANGELOG.md must have a section of the version. The wheel is built from a copy of the commit, so that
files that are not committed cannot enter it. It is installed with all it needs into a fresh environment, which takes minutes and 5.5 GB for
a while; there every checkpoint in it must give its golden logits, and a photograph its class.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
LARGEST = 90e6  # bytes of a wheel; the Python Package Index takes 100 MB
PACKAGES = ('fgvc_zoo', 'fgvc_zoo_cli')
PHOTO = ROOT / 'docs' / 'photos' / 'red_winged_blackbird.jpg'
ELSEWHERE = '''
import sys
import torch, timm, fgvc_zoo
from fgvc_zoo.checkpoints import golden_input, load_manifest
assert not fgvc_zoo.__file__.startswith(sys.argv[1]), fgvc_zoo.__file__
packed = [item for item in load_manifest() if item.in_package]
assert packed, 'no checkpoint is in the package'
for item in packed:
    assert item.name in timm.list_pretrained()
    model = timm.create_model(item.name, pretrained=True).eval()
    with torch.no_grad():
        logits = model(golden_input(item.input_size))[0, :len(item.golden)]
    torch.testing.assert_close(logits, torch.tensor(item.golden), rtol=0, atol=2e-3 * max(map(abs, item.golden)))
    print(item.name, 'gives its golden logits')
'''


def version() -> str:
    """The version of the tree."""
    return re.findall(r"__version__ = '(.+)'", (ROOT / 'fgvc_zoo' / 'version.py').read_text(encoding='utf-8'))[0]


def check_changelog(text: str, number: str) -> None:
    """Exit unless the text has a section of a version, with its date."""
    if not re.search(rf'^## {re.escape(number)} - \d{{4}}-\d\d-\d\d$', text, re.MULTILINE):
        raise SystemExit(f"CHANGELOG.md has no section '## {number} - YYYY-MM-DD'")


def check_committed() -> None:
    """Exit if files are changed or new."""
    changed = subprocess.run(['git', 'status', '--porcelain'], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    if changed:
        raise SystemExit(f'commit or remove these first:\n{changed}')


def copy_commit(folder: Path) -> Path:
    """The files of the newest commit, in a folder."""
    archive = subprocess.run(['git', 'archive', 'HEAD'], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as content:
        content.extractall(folder, filter='data')
    return folder


def build(tree: Path, output: Path, isolated: bool = True) -> tuple[Path, Path]:
    """The wheel and the source archive of a tree. The wheel is built from the archive.

    Args:
        tree: A copy of the repository; building leaves files in it.
        output: Where they are written.
        isolated: Build with the newest setuptools in an environment of its own, which needs the package registry.
    """
    options = [] if isolated else ['--no-isolation']
    subprocess.run([sys.executable, '-m', 'build', '-q', *options, '--outdir', str(output), str(tree)], check=True)
    return next(output.glob('*.whl')), next(output.glob('*.tar.gz'))


def check_wheel(wheel: Path, tree: Path) -> None:
    """Exit unless a wheel holds every file of the packages, nothing else, and is small enough."""
    with zipfile.ZipFile(wheel) as content:
        names = {item.filename: item.file_size for item in content.infolist()}
    source = {path.relative_to(tree).as_posix() for package in PACKAGES for path in (tree / package).rglob('*')
              if path.is_file() and '__pycache__' not in path.parts}
    packed = {name for name in names if '.dist-info/' not in name}
    if source != packed:
        raise SystemExit(f'missing in the wheel: {sorted(source - packed)}; too much in it: {sorted(packed - source)}')
    size = wheel.stat().st_size
    if size >= LARGEST:
        raise SystemExit(f'the wheel has {size / 1e6:.1f} MB, more than {LARGEST / 1e6:.0f}: the package index takes 100')
    print(f'{wheel.name}: {len(names)} files, {size / 1e6:.1f} MB')
    for name in sorted(names, key=names.__getitem__, reverse=True)[:10]:
        print(f'  {names[name] / 1e6:7.2f} MB  {name}')


def try_wheel(python: Path, elsewhere: Path, site: Path | None = None) -> None:
    """Exit unless the installed package works, away from the checkout and without a network.

    Args:
        python: Of the environment that it is installed in.
        elsewhere: An empty folder.
        site: Where it is installed, if that is not the environment itself.
    """
    photo = Path(shutil.copy(PHOTO, elsewhere))
    output = ''
    environment = dict(os.environ, HF_HUB_OFFLINE='1')
    if site is None:
        environment.pop('PYTHONPATH', None)
    else:
        environment['PYTHONPATH'] = str(site)
    for arguments in (['-c', ELSEWHERE, str(ROOT)],
                      ['-m', 'fgvc_zoo', 'predict', photo.name, '--model', 'wsdan_tf_efficientnet_lite0.cub200']):
        done = subprocess.run([python, *arguments], cwd=elsewhere, env=environment, capture_output=True, text=True, check=False)
        print(done.stdout, end='')
        output += done.stdout
        if done.returncode:
            raise SystemExit(f'the wheel fails elsewhere:\n{done.stderr}')
    if 'Red winged Blackbird' not in output:
        raise SystemExit('the wheel does not name the blackbird')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--tag', action='store_true', help='make the tag vVERSION')
    options = parser.parse_args()
    number = version()
    check_changelog((ROOT / 'CHANGELOG.md').read_text(encoding='utf-8'), number)
    check_committed()
    shutil.rmtree(ROOT / 'dist', ignore_errors=True)
    with TemporaryDirectory() as folder:
        work = Path(folder)
        tree = copy_commit(work / 'tree')
        wheel, archive = build(tree, ROOT / 'dist')
        subprocess.run([sys.executable, '-m', 'twine', 'check', '--strict', str(wheel), str(archive)], check=True)
        check_wheel(wheel, tree)
        venv.create(work / 'venv', with_pip=True)
        python = work / 'venv' / 'bin' / 'python'
        subprocess.run([python, '-m', 'pip', 'install', '-q', '--no-cache-dir', str(wheel)], check=True)
        (work / 'elsewhere').mkdir()
        try_wheel(python, work / 'elsewhere')
    if options.tag:
        subprocess.run(['git', 'tag', '-a', f'v{number}', '-m', f'fgvc-zoo {number}'], cwd=ROOT, check=True)
        print(f'the tag v{number} is made; push it to publish')


if __name__ == '__main__':
    main()
