"""The Space: what is staged starts without the repository, and publishing it with the real client makes the Space hold exactly that."""

import configparser
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / 'hub' / 'publish_space.py'
spec = importlib.util.spec_from_file_location('publish_space', SCRIPT)
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


@pytest.fixture(scope='module')
def staged(tmp_path_factory):
    return script.stage_space(tmp_path_factory.mktemp('space') / 'staged')


def test_the_staged_space_starts_with_its_own_package(staged):
    pytest.importorskip('gradio')
    code = ("import app, fgvc_zoo, pathlib\n"
            "assert pathlib.Path(fgvc_zoo.__file__).parents[1] == pathlib.Path.cwd(), fgvc_zoo.__file__\n"
            "demo = app.build_demo(examples=pathlib.Path(app.__file__).with_name('examples'))\n"
            "print([block.value for block in demo.blocks.values() if type(block).__name__ == 'Button'])")
    env = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    result = subprocess.run([sys.executable, '-c', code], cwd=staged, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "'Royal Gala'" in result.stdout


def test_it_installs_what_the_package_needs(staged):
    setup = configparser.ConfigParser()
    setup.read(ROOT / 'setup.cfg')
    needed = setup['options']['install_requires'].split()
    assert set(needed) <= set((staged / 'requirements.txt').read_text().split('\n'))


def test_the_card_names_what_the_hub_starts(staged):
    card = yaml.safe_load(re.match(r'---\n(.*?)\n---\n', (staged / 'README.md').read_text(), re.DOTALL)[1])
    assert card['sdk'] == 'gradio' and (staged / card['app_file']).is_file()
    assert len(card['short_description']) <= 60  # the Hub allows no more


def test_publishing_makes_the_space_hold_the_folder(hub, client, repo_id, tmp_path):
    """One commit; none without a change; files that are gone are deleted."""
    folder = tmp_path / 'space'
    (folder / 'examples').mkdir(parents=True)
    for name in ('README.md', 'app.py', 'requirements.txt', 'examples/cat.jpg'):
        (folder / name).write_bytes((ROOT / 'hub' / 'space' / name).read_bytes())
    code = (f'import importlib.util, pathlib\nspec = importlib.util.spec_from_file_location("publish_space", {str(SCRIPT)!r})\n'
            'script = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(script)\n'
            f'print(script.publish_space(pathlib.Path({str(folder)!r}), {repo_id!r}))')
    for commits in (2, 2):
        done = client(code=code)
        assert done.status == 0, done.err
        assert done.out.splitlines()[-1] == f'{hub.endpoint}/spaces/{repo_id}'
        assert len(hub.repos[repo_id].history) == commits
    assert hub.repos[repo_id].sdk == 'gradio'
    (folder / 'requirements.txt').unlink()
    assert client(code=code).status == 0
    published = {name: content for name, content in hub.repos[repo_id].files().items() if name != '.gitattributes'}
    assert published == {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def test_a_refusal_is_one_sentence(hub, repo_id):
    env = dict(os.environ, HF_ENDPOINT=hub.endpoint, HF_TOKEN='hf_reader', HF_HUB_DISABLE_XET='1', PYTHONPATH=str(ROOT))
    code = ("import sys, publish_space\npublish_space.stage_space = lambda folder: folder\nsys.argv = ['', 'tester']\n"
            "try:\n    publish_space.main()\nexcept publish_space.UserError as error:\n    print(error)")
    result = subprocess.run([sys.executable, '-c', code], cwd=SCRIPT.parent, env=env, capture_output=True, text=True, check=False)
    assert "'tester/fgvc-zoo' could not be published" in result.stdout and 'Traceback' not in result.stderr, result.stderr


def test_a_folder_of_other_files_is_not_emptied(tmp_path):
    (tmp_path / 'thesis.txt').write_text('mine')
    with pytest.raises(script.UserError, match='choose a folder of its own'):
        script.stage_space(tmp_path)
    assert (tmp_path / 'thesis.txt').read_text() == 'mine'
    (tmp_path / 'empty').mkdir()
    folder = script.stage_space(tmp_path / 'empty')
    (folder / 'old.txt').write_text('of an earlier version')
    assert not (script.stage_space(folder) / 'old.txt').exists()
