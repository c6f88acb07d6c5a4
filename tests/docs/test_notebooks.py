"""The notebooks run from the first cell to the last, offline."""

import os
import shutil
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

DOCS = Path(__file__).parents[2] / 'docs'


@pytest.mark.parametrize('name', ['fine_tune', 'five_methods'])
def test_runs(name, tmp_path, monkeypatch):
    monkeypatch.delenv('MPLBACKEND', raising=False)  # figures come inline
    monkeypatch.setenv('PATH', str(Path(sys.executable).parent), prepend=os.pathsep)  # the command of this environment
    for folder in ('notebooks', 'photos'):
        shutil.copytree(DOCS / folder, tmp_path / folder)
    path = tmp_path / 'notebooks' / f'{name}.ipynb'
    notebook = nbformat.read(path, 4)
    for cell in notebook.cells:
        cell.source = cell.source.replace('--epochs 12', '--epochs 1')
    NotebookClient(notebook, timeout=240, resources=dict(metadata=dict(path=str(path.parent)))).execute()
    shown = [output for cell in notebook.cells for output in cell.get('outputs', [])]
    assert sum('image/jpeg' in output.get('data', {}) for output in shown) == dict(fine_tune=2, five_methods=1)[name]
    text = ''.join(output.get('text', '') for output in shown)
    assert dict(fine_tune='the result is in runs/apples/result.json', five_methods='Red winged Blackbird')[name] in text


@pytest.mark.parametrize('name', ['fine_tune', 'five_methods'])
def test_its_kept_outputs_are_of_no_machine(name):
    """They are shown as they are in the documentation."""
    text = (DOCS / 'notebooks' / f'{name}.ipynb').read_text(encoding='utf-8')
    for word in ('/home', '/root', '/tmp', '/work', 'Traceback', 'Warning:'):
        assert word not in text
