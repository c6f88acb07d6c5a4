"""`fgvc-zoo calibrate`, and what the other commands do with a calibration."""

import json
import shutil

import pytest

from fgvc_zoo.calibration import Calibration, calibration_of
from fgvc_zoo.data import open_dataset
from fgvc_zoo.loading import load_model
from fgvc_zoo.run_record import fingerprint
from fgvc_zoo.saving import save_model, write_calibration
from fgvc_zoo_cli import evaluate


@pytest.fixture
def own(run_folder, tmp_path):
    """A model folder that may be changed."""
    return shutil.copytree(run_folder, tmp_path / 'model')


def test_it_is_written_and_used(call, own, photos, tmp_path):
    """The likelihood of the photographs that it was fitted on gets better, accuracy and logits stay."""
    status, _, err = call('calibrate', own, '--data', f'folder:{photos}', '--split', 'train', '--workers', 0)
    assert status == 0 and 'from 9 photographs' in err
    fitted = calibration_of(load_model(str(own)))
    assert fitted.images == 9 and fitted.temperature != 1
    status, out, _ = call('evaluate', own, '--data', f'folder:{photos}', '--split', 'train', '--workers', 0, '--json', tmp_path / 'r.json')
    assert status == 0 and f'with temperature {fitted.temperature:g}' in out
    metrics = json.loads((tmp_path / 'r.json').read_text())['metrics']
    assert metrics['calibrated']['nll'] < metrics['nll']
    assert metrics['calibrated']['kept'] == 100 and metrics['calibrated']['images'] == 9


def test_another_folder_gets_it(call, run_folder, own, photos):
    status, _, _ = call('calibrate', run_folder, '--data', f'folder:{photos}', '--split', 'train', '--workers', 0, '--write', own)
    assert status == 0
    assert calibration_of(load_model(str(own))).images == 9
    assert calibration_of(load_model(str(run_folder))) == Calibration()


@pytest.mark.parametrize(('trained_on', 'split', 'refused'), [
    ('train', 'holdout', True), ('train', 'train', True), ('fit', 'fit', True), ('fit', 'holdout', False)])
def test_photographs_of_the_training_are_refused(call, own, photos, trained_on, split, refused):
    (own / 'run.json').write_text(json.dumps(dict(config=dict(train_split=trained_on))))
    status, _, err = call('calibrate', own, '--data', f'folder:{photos}', '--split', split, '--workers', 0)
    assert (status != 0) == refused and ('--train-split fit' in err) == refused
    assert (calibration_of(load_model(str(own))) == Calibration()) == refused


def test_a_test_split_stays_one(call, own, photos, tmp_path):
    validation = shutil.copytree(photos, tmp_path / 'photos')
    (validation / 'test').rename(validation / 'val')  # both names give the same photographs
    for data, split in ((photos, 'test'), (validation, 'test'), (validation, 'val')):
        status, _, err = call('calibrate', own, '--data', f'folder:{data}', '--split', split, '--workers', 0)
        assert status == 2 and 'test photographs cannot calibrate a model' in err
        assert calibration_of(load_model(str(own))) == Calibration()


def test_what_is_unknown_or_missing_is_said(call, own, photos):
    with pytest.warns(UserWarning, match='nothing says which photographs'), pytest.warns(UserWarning, match='too few for a threshold'):
        assert call('calibrate', own, '--data', f'folder:{photos}', '--split', 'train', '--workers', 0)[0] == 0


def test_other_photographs_of_the_same_classes_are_not_those_of_the_training(call, own, photos, tmp_path):
    """In a split of the same name, under the same names of files."""
    trained = open_dataset(f'folder:{photos}', 'train')
    record = dict(config=dict(train_split='train', data=f'folder:{photos}'), fingerprint=fingerprint(trained))
    (own / 'run.json').write_text(json.dumps(record))
    moved, fresh = (shutil.copytree(photos, tmp_path / name) for name in ('moved', 'fresh'))
    for path in (fresh / 'train').rglob('*.jpg'):
        path.write_bytes(path.read_bytes() + b'\0')
    for data, status in ((photos, 2), (moved, 2), (fresh, 0)):
        found, _, err = call('calibrate', own, '--data', f'folder:{data}', '--split', 'train', '--workers', 0)
        assert found == status and ('was trained on' in err) == (status == 2), data


def test_photographs_of_other_data_are_not_those_of_the_training(call, own, photos, tmp_path):
    config = dict(train_split='train', seed=0, recipe=dict(task='wsdan', epochs=1))
    (own / 'run.json').write_text(json.dumps(dict(config=config)))
    renamed = shutil.copytree(photos, tmp_path / 'renamed')
    for path in list(renamed.rglob('*.jpg')):
        path.rename(path.with_stem(f'new_{path.stem}'))
    shutil.rmtree(renamed / 'test')
    (renamed / 'train').rename(renamed / 'test')
    status, _, err = call('evaluate', own, '--data', f'folder:{renamed}', '--split', 'test', '--workers', 0)
    assert status == 0 and 'was trained on' not in err


@pytest.mark.parametrize('text', ['{', '[]', '{"config": 3}', '{"config": {}}'])
@pytest.mark.parametrize('command', ['evaluate', 'calibrate'])
def test_a_damaged_record_of_the_run_is_named(call, own, photos, command, text):
    (own / 'run.json').write_text(text)
    status, _, err = call(command, own, '--data', f'folder:{photos}', '--split', 'train', '--workers', 0)
    assert status == 2 and 'run.json' in err and 'is damaged' in err


def test_other_classes_and_places_without_a_model_are_refused(call, run_folder, own, photos, tmp_path):
    (tmp_path / 'other' / 'train').mkdir(parents=True)
    for name in ('a', 'b', 'c'):
        shutil.copytree(photos / 'train' / 'kiwi', tmp_path / 'other' / 'train' / name)
    for arguments, words in (
            (('calibrate', own, '--data', f"folder:{tmp_path / 'other'}", '--split', 'train'), 'have other classes'),
            (('calibrate', run_folder, '--data', f'folder:{photos}', '--write', tmp_path), 'has no config.json')):
        status, _, err = call(*arguments, '--workers', 0)
        assert status == 2 and words in err


def test_a_damaged_calibration_is_named(call, own, photos):
    config = json.loads((own / 'config.json').read_text())
    (own / 'config.json').write_text(json.dumps({**config, 'calibration': dict(temperature=-1, threshold=0, images=1)}))
    status, _, err = call('predict', photos, '--model', own)
    assert status == 2 and 'calibration cannot be used: the temperature of a calibration must be above 0' in err


def test_strangers_are_counted(call, own, photos, tmp_path, monkeypatch):
    """With a threshold of 1 every photograph is a stranger, with 0 none."""
    monkeypatch.chdir(photos)
    for threshold, caught in ((1.0, 100), (0.0, 0)):
        write_calibration(own, Calibration(1.0, threshold, 9))
        status, out, _ = call('evaluate', own, '--data', f'folder:{photos}', '--workers', 0, '--strangers', 'folder:.',
                              '--json', tmp_path / 'r.json')
        record = json.loads((tmp_path / 'r.json').read_text())
        assert status == 0 and f'{caught:.1f} % of 6 photographs of other things' in out
        assert record['strangers'] == dict(data=photos.name, split='test', images=6, caught=caught)
        assert record['metrics']['calibrated']['kept'] == 100 - caught


def test_strangers_are_checked_before_the_measuring_begins(call, run_folder, own, photos, monkeypatch):
    def measured(*_):
        raise AssertionError('the work would be lost')

    monkeypatch.setattr(evaluate, 'collect', measured)
    write_calibration(own, Calibration(1.0, 0.5, 9))
    for model, data, words in ((run_folder, photos, 'run fgvc-zoo calibrate'), (own, photos / 'missing', 'missing')):
        status, _, err = call('evaluate', model, '--data', f'folder:{photos}', '--workers', 0, '--strangers', f'folder:{data}')
        assert status == 2 and words in err


def test_a_saved_model_keeps_it_and_a_new_classifier_has_none(own, tmp_path):
    write_calibration(own, Calibration(0.5, 0.25, 9))
    model = load_model(str(own))
    save_model(model, tmp_path / 'again')
    assert calibration_of(load_model(str(tmp_path / 'again'))) == Calibration(0.5, 0.25, 9)
    model.reset_classifier(3)
    assert calibration_of(model) == Calibration()
    save_model(model, tmp_path / 'new')
    assert 'calibration' not in json.loads((tmp_path / 'new' / 'config.json').read_text())
