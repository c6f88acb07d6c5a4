"""`fgvc-zoo evaluate`: the record, and data of other classes."""

import json

import pytest
from PIL import Image


def test_evaluate_writes_the_record(call, run_folder, photos, tmp_path):
    status, out, _ = call('evaluate', run_folder, '--data', f'folder:{photos}', '--workers', 0, '--json', tmp_path / 'result.json')
    assert status == 0
    record = json.loads((tmp_path / 'result.json').read_text())
    assert {'model', 'method', 'backbone', 'data', 'split', 'seed', 'input_size', 'epochs', 'metrics', 'command', 'recipe', 'versions',
            'weights_sha256', 'seconds'} <= record.keys()
    assert {'top1', 'top5', 'mean_per_class', 'raw', 'refined'} <= record['metrics'].keys()
    assert f"{record['metrics']['top1']:.2f}" in out


def test_classes_that_do_not_belong_together(call, run_folder, photos, tmp_path):
    for name in ('apple', 'kiwi', 'leek'):
        (tmp_path / 'train' / name).mkdir(parents=True)
        Image.new('RGB', (60, 60)).save(tmp_path / 'train' / name / '0.jpg')
    status, _, err = call('evaluate', run_folder, '--data', f'folder:{tmp_path}', '--split', 'train', '--workers', 0)
    assert status == 2
    assert "'gala' stands where the data have 'apple'" in err.splitlines()[-1]


def test_an_output_that_cannot_be_written_is_found_before_measuring(call, run_folder, photos, tmp_path, monkeypatch):
    from fgvc_zoo import evaluation

    monkeypatch.setattr(evaluation, 'evaluate', lambda *_, **__: pytest.fail('it was measured'))
    (tmp_path / 'file').write_text('x')
    for path, says in ((tmp_path / 'file' / 'r.json', 'nothing can be written to'), (tmp_path / 'file', 'no JSON file')):
        status, _, err = call('evaluate', run_folder, '--data', f'folder:{photos}', '--json', path)
        assert status == 2 and says in err
    status, _, err = call('predict', photos / 'test', '--model', run_folder, '--save', tmp_path / 'file')
    assert status == 2 and 'nothing can be written to' in err
    assert (tmp_path / 'file').read_text() == 'x'
