"""docs/neighbours.md, executed as it stands."""

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

import fgvc_zoo_cli

ROOT = Path(__file__).parents[2]
DOC = (ROOT / 'docs' / 'neighbours.md').read_text(encoding='utf-8')
SECTIONS = {section.split('\n')[0]: section for section in re.split('^##+ ', DOC, flags=re.MULTILINE)[1:]}
PYTHON = {name: block for name, text in SECTIONS.items() for block in re.findall('```python\n(.*?)```', text, re.DOTALL)}
COMMANDS = [line for text in SECTIONS.values() for block in re.findall('```sh\n(.*?)```', text, re.DOTALL) for line in block.splitlines()]

pytestmark = pytest.mark.filterwarnings('ignore')


@pytest.fixture(autouse=True)
def folder(run_folder, photos, picture, tmp_path, monkeypatch):
    """A working folder with what the text speaks of."""
    shutil.copytree(photos, tmp_path / 'photos')
    shutil.copytree(run_folder, tmp_path / 'runs' / 'apples')
    picture.save(tmp_path / 'photo.jpg')
    shutil.copytree(Path(__file__).with_name('timm_scripts'), tmp_path / 'pytorch-image-models')
    (tmp_path / 'hubconf.py').symlink_to(ROOT / 'hubconf.py')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HF_DATASETS_CACHE', str(tmp_path / 'cache'))
    return tmp_path


def test_every_neighbour_is_there():
    assert list(PYTHON) == [
        'transformers', 'Its Trainer', 'torch.hub', 'PyTorch Lightning', 'pytorch-grad-cam', 'captum', 'torchmetrics', 'datasets']
    assert len(COMMANDS) == 2 and len(re.findall('```', DOC)) == 2 * (len(PYTHON) + 1)
    assert all(len([line for line in block.splitlines() if line]) <= 20 for block in PYTHON.values())


@pytest.mark.parametrize('name', PYTHON)
def test_python(name):
    exec(compile(PYTHON[name], f'neighbours.md: {name}', 'exec'), {'__name__': '__main__'})


@pytest.mark.parametrize('command', COMMANDS)
def test_shell(command, monkeypatch):
    program, *argv = shlex.split(command)
    assert (program, argv[0]) == ('fgvc-zoo', 'timm')
    monkeypatch.setattr(sys, 'argv', [program, *argv, '--device', 'cpu', '--workers', '0'])
    monkeypatch.setattr(sys, 'path', list(sys.path))
    with pytest.raises(SystemExit) as stopped:
        fgvc_zoo_cli.main()
    assert not stopped.value.code
    assert any(Path(name).is_file() for name in ('top1.json', 'names.csv'))
