"""`fgvc-zoo verify` on a staged folder: intact and true, intact but not true, damaged."""

import json

import pytest

from fgvc_zoo.publishing import stage


@pytest.fixture
def result(call, run_folder, photos, tmp_path):
    path = tmp_path / 'result.json'
    assert call('evaluate', run_folder, '--data', f'folder:{photos}', '--workers', 0, '--json', path)[0] == 0
    return path


def test_figures_hold(call, run_folder, photos, result, tmp_path):
    staged = stage(run_folder, tmp_path / 'staged', 'tester/apples', 'MIT', result=result)
    status, out, _ = call('verify', staged)
    assert status == 0 and '6 files are intact' in out
    status, out, _ = call('verify', staged, '--data', f'folder:{photos}', '--workers', 0)
    assert status == 0 and 'the figures hold' in out


def test_a_figure_that_does_not_hold(call, run_folder, photos, result, tmp_path):
    record = json.loads(result.read_text())
    record['metrics']['top5'] -= 7
    result.write_text(json.dumps(record))
    staged = stage(run_folder, tmp_path / 'staged', 'tester/apples', 'MIT', result=result)
    arguments = ('verify', staged, '--data', f'folder:{photos}', '--workers', 0)
    status, out, _ = call(*arguments)
    assert status == 1 and 'the figures do not hold: they differ by at most 7.00 percentage points' in out
    assert call(*arguments, '--tolerance', 7.5)[0] == 0


def test_a_damaged_file(call, run_folder, result, tmp_path):
    staged = stage(run_folder, tmp_path / 'staged', 'tester/apples', 'MIT', result=result)
    (staged / 'labels.txt').write_text('gala\n')
    status, _, err = call('verify', staged)
    assert status == 2 and "labels.txt is not what checksums.json says" in err
