"""`fgvc-zoo evaluate`: the record, and data of other classes."""

import json
import shutil

import pytest


def test_evaluate_writes_the_record(call, run_folder, photos, tmp_path):
    status, out, _ = call('evaluate', run_folder, '--data', f'folder:{photos}', '--workers', 0, '--json', tmp_path / 'result.json')
    assert status == 0
    record = json.loads((tmp_path / 'result.json').read_text())
    assert {'model', 'method', 'backbone', 'data', 'split', 'seed', 'input_size', 'epochs', 'metrics', 'command', 'recipe', 'versions',
            'weights_sha256', 'seconds'} <= record.keys()
    assert {'top1', 'top5', 'mean_per_class', 'raw', 'refined'} <= record['metrics'].keys()
    assert f"{record['metrics']['top1']:.2f}" in out
    assert 'dataset' not in record  # a folder of one's own has no reference


def test_the_record_cites_a_published_data_set(call, run_folder, photos, tmp_path, monkeypatch):
    from fgvc_zoo.data import Grocery, ImageFolder

    monkeypatch.setattr(ImageFolder, 'info', Grocery.info)
    call('evaluate', run_folder, '--data', f'folder:{photos}', '--workers', 0, '--json', tmp_path / 'result.json')
    record = json.loads((tmp_path / 'result.json').read_text())
    assert record['dataset']['title'] == 'Grocery Store Dataset' and record['dataset']['licence'] == 'MIT'
    assert record['dataset']['images'] == len(record['metrics']['correct'])


@pytest.fixture
def measured(call, run_folder, tmp_path):
    """Runs the command on a folder; returns the status, the record and the standard error."""
    def run(folder, split='test'):
        status, _, err = call('evaluate', run_folder, '--data', f'folder:{folder}', '--split', split, '--workers', 0,
                              '--json', tmp_path / 'record.json')
        record = json.loads((tmp_path / 'record.json').read_text()) if status == 0 else None
        return status, record, err

    return run


def copied(photos, folder, names, split='test'):
    """The photographs of a split, with other names for some classes."""
    for source in sorted((photos / split).iterdir()):
        if (name := names.get(source.name, source.name)) is not None:
            shutil.copytree(source, folder / split / name)
    return folder


def test_classes_are_found_by_name_in_any_order_and_without_a_training_split(measured, photos, tmp_path):
    _, expected, _ = measured(photos)
    names = sorted(path.name for path in (photos / 'test').iterdir())
    # in upper case the first name comes last: 'Z' < 'a'
    other = {name: name.upper().replace(' ', '_') for name in names[1:]}
    status, record, err = measured(copied(photos, tmp_path / 'own', other))
    assert status == 0 and 'unknown' not in err
    assert record['metrics']['top1'] == expected['metrics']['top1']
    assert record['metrics']['per_class'] == expected['metrics']['per_class']
    assert record['metrics']['nll'] == pytest.approx(expected['metrics']['nll'], rel=1e-5)
    assert record['classes'] == dict(matched=sorted([names[0], *other.values()]), unknown=[]) and 'classes' not in expected


def test_a_subset_and_unknown_classes_are_said(measured, photos, tmp_path):
    names = sorted(path.name for path in (photos / 'test').iterdir())
    _, expected, _ = measured(photos)
    own = copied(photos, tmp_path / 'own', dict.fromkeys(names[2:]))
    shutil.copytree(photos / 'test' / names[0], own / 'test' / 'durian')
    says = f"2 of the model's {len(names)} classes are in the data, found by name; 1 are unknown to it and left out, such as 'durian'"
    with pytest.warns(UserWarning, match=says):
        status, record, _ = measured(own)
    assert status == 0
    assert record['classes'] == dict(matched=names[:2], unknown=['durian'])
    assert record['metrics']['per_class'] == {name: expected['metrics']['per_class'][name] for name in names[:2]}
    assert len(record['metrics']['correct']) == sum(len(list((photos / 'test' / name).iterdir())) for name in names[:2])


def test_data_without_any_known_class_are_refused(measured, photos, tmp_path):
    names = [path.name for path in (photos / 'test').iterdir()]
    status, _, err = measured(copied(photos, tmp_path / 'own', {name: f'{index} durian' for index, name in enumerate(names)}))
    assert status == 2 and 'knows none of the classes of the data, such as' in err.splitlines()[-1]
    twice = copied(photos, tmp_path / 'twice', {})
    shutil.copytree(photos / 'test' / names[0], twice / 'test' / names[0].upper())
    status, _, err = measured(twice)
    assert status == 2 and 'two classes of the data have the same name' in err.splitlines()[-1]


def test_a_folder_with_a_test_split_alone_cannot_be_trained_on(measured, photos, tmp_path):
    status, _, err = measured(copied(photos, tmp_path / 'own', {}), split='train')
    assert status == 2 and "only 'test': training images belong into train/CLASS/" in err.splitlines()[-1]


def test_the_folder_that_one_is_in_has_a_name(call, run_folder, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(photos)
    assert call('evaluate', run_folder, '--data', '.', '--workers', 0, '--json', tmp_path / 'r.json')[0] == 0
    assert json.loads((tmp_path / 'r.json').read_text())['data'] == photos.name


def test_an_output_that_cannot_be_written_is_found_before_measuring(call, run_folder, photos, tmp_path, monkeypatch):
    from fgvc_zoo import evaluation

    monkeypatch.setattr(evaluation, 'collect_answers', lambda *_, **__: pytest.fail('it was measured'))
    (tmp_path / 'file').write_text('x')
    for path, says in ((tmp_path / 'file' / 'r.json', 'nothing can be written to'), (tmp_path / 'file', 'no earlier result')):
        status, _, err = call('evaluate', run_folder, '--data', f'folder:{photos}', '--json', path)
        assert status == 2 and says in err
    status, _, err = call('predict', photos / 'test', '--model', run_folder, '--save', tmp_path / 'file')
    assert status == 2 and 'nothing can be written to' in err
    assert (tmp_path / 'file').read_text() == 'x'
