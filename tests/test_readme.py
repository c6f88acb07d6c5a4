"""README says what is: its tables are drawn from the files, its links lead somewhere. tests/docs runs its code."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / 'README.md').read_text(encoding='utf-8')
BENCHMARKS = (ROOT / 'benchmarks' / 'README.md').read_text(encoding='utf-8')


def run(*command):
    result = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_tables_are_drawn_from_the_files():
    run('benchmarks/accuracy/tables.py', '--check')


@pytest.mark.parametrize('path', re.findall(r'\]\((?!http)([^)#]+)\)', TEXT))
def test_files_that_are_linked_exist(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize(('page', 'path'), [
    (page, path) for page in sorted((ROOT / 'docs').rglob('*.md'))
    for path in re.findall(r'\]\((?!http)([^)#]+)\)', page.read_text(encoding='utf-8'))], ids=str)
def test_files_that_the_documentation_links_exist(page, path):
    assert (page.parent / path).exists()


@pytest.mark.parametrize('path', sorted(set(re.findall(r'`((?:results|accuracy|speed)/[^`]*)`', BENCHMARKS))))
def test_files_that_the_benchmarks_name_exist(path):
    assert (ROOT / 'benchmarks' / path).exists()


def test_the_figures_of_the_first_picture():
    results = ROOT / 'benchmarks' / 'results'
    looks = json.loads((results / 'cub200_wsdan_tf_efficientnet_lite0.json').read_text())['metrics']
    tuned = json.loads((results / 'cub200_tf_efficientnet_lite0.json').read_text())['metrics']
    said = re.findall(r'(\d\d\.\d) %', TEXT.partition('*Why a second look helps')[2].partition('*\n')[0])
    assert said == [f"{value:.1f}" for value in (looks['raw']['top1'], looks['top1'], tuned['top1'])]
