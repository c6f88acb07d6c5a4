"""The table of exports: every registered model is in it, rows are kept, failures are said."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import timm
import torch

from fgvc_zoo.models import METHODS

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location('exports', ROOT / 'benchmarks' / 'accuracy' / 'exports.py')
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


def test_every_registered_model_is_recorded_in_both_formats():
    rows = json.loads((ROOT / 'benchmarks/results/checks/exports.json').read_text(encoding='utf-8'))['results']
    own = {method.name for method in METHODS.values() if method.package == 'fgvc-zoo'}
    registered = {name for name in timm.list_models() if name.partition('_')[0] in own and name not in own}
    assert registered and rows.keys() == registered == set(script.names())
    assert all(row.keys() == set(script.FORMATS) for row in rows.values())


def test_rows_are_kept_and_the_others_computed(monkeypatch, tmp_path):
    path, asked = tmp_path / 'rows.json', []
    first, second = script.names()[:2]
    path.write_text(json.dumps(dict(torch=torch.__version__, results={first: dict(onnx=dict(error='out of memory'))})))
    monkeypatch.setattr(script, 'in_process', lambda name, kind: asked.append((name, kind)) or dict(seconds=len(asked)))
    monkeypatch.setattr(sys, 'argv', ['exports.py', '--json', str(path), '--models', first, second])
    script.main()
    assert asked == [(first, 'pt2'), (second, 'onnx'), (second, 'pt2')]
    assert json.loads(path.read_text())['results'] == {
        first: dict(onnx=dict(error='out of memory'), pt2=dict(seconds=1)), second: dict(onnx=dict(seconds=2), pt2=dict(seconds=3))}
    path.write_text(before := json.dumps(dict(torch='1.0', results={})))
    with pytest.raises(SystemExit, match='are of torch 1.0'):
        script.main()
    assert path.read_text() == before


def test_a_process_that_fails_or_takes_too_long_gives_a_row_that_says_so(monkeypatch, tmp_path):
    failing = tmp_path / 'failing.py'
    failing.write_text("print('loading'); raise MemoryError('of 16 GB')")
    monkeypatch.setattr(script, '__file__', str(failing))
    assert script.in_process('name', 'onnx') == dict(error='MemoryError: of 16 GB')
    failing.write_text('import os; os._exit(9)')
    assert script.in_process('name', 'onnx') == dict(error='the process ended with status 9')
    failing.write_text('import time; time.sleep(60)')
    monkeypatch.setattr(script, 'SECONDS', 0.2)
    assert script.in_process('name', 'onnx') == dict(error='it took longer than 0.2 s')
