"""The pages of docs/: their Python runs, their commands exist, their links lead somewhere."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from fgvc_zoo_cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', ROOT / 'hub' / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]
# tests/neighbours and tests/hub/test_outside_method.py run these, with the libraries and packages that they need
ELSEWHERE = {'neighbours.md', 'add-a-method.md', 'CONTRIBUTING.md'}


def blocks(page, language):
    found = re.findall(r'^```(\w*)\n(.*?)^```$', page.read_text(encoding='utf-8'), re.DOTALL | re.MULTILINE)
    return [code for kind, code in found if kind == language]


SNIPPETS = [(page, number, code) for page in PAGES if page.name not in ELSEWHERE for number, code in enumerate(blocks(page, 'python'))]


@pytest.mark.parametrize('code', [code for *_, code in SNIPPETS], ids=[f'{page.name}-{number}' for page, number, _ in SNIPPETS])
def test_python_runs_as_it_stands(code, tmp_path):
    program = f'import os\nimport torch\ntorch.save = lambda *_: None\nos.chdir({str(ROOT)!r})\n{code}'  # leaves no files in the clone
    result = subprocess.run([sys.executable, '-c', program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def commands():
    for page in PAGES:
        for block in blocks(page, ''):
            for line in block.replace('\\\n', ' ').splitlines():
                for part in re.split(r' && | \| ', line):
                    words = shlex.split(part, comments=True) if part.startswith('fgvc-zoo ') else []
                    if words:
                        yield page.name, words[1:words.index('>')] if '>' in words else words[1:]


@pytest.mark.parametrize('words', sorted({tuple(words) for _, words in commands()}), ids=' '.join)
def test_commands_and_their_options_exist(words):
    group = typer.main.get_command(app)
    if words[0] == '--import':
        words = words[2:]
    if words[0].startswith('-'):
        return
    command = group.commands[words[0]]
    if words[0] == 'timm':  # gives its arguments to timm's script
        return
    command.make_context(words[0], list(words[1:]), resilient_parsing=False)


def test_there_are_snippets_and_commands_to_check():
    assert len(SNIPPETS) > 10 and len(list(commands())) > 45


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_no_table_is_left_open(page):
    """A mark of benchmarks/accuracy/tables.py that it does not know would stay empty."""
    text = page.read_text(encoding='utf-8')
    for name in re.findall(r'<!-- (?!/)(.+?) -->', text):
        inside = text.partition(f'<!-- {name} -->')[2].partition(f'<!-- /{name} -->')
        assert inside[1] and inside[0].strip(), name
