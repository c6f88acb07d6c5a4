"""Checkpoints of the manifest: staged with their own facts, and written back."""

import hashlib
import json
import shutil

import pytest
import yaml

from fgvc_zoo import UserError
from fgvc_zoo.calibration import Calibration
from fgvc_zoo.checkpoints import load_manifest
from fgvc_zoo.publishing import check, find_baseline, set_calibration, stage_checkpoint, update_manifest, zoo

REPO = 'tester/apples'


@pytest.mark.parametrize('item', load_manifest(), ids=lambda item: item.name)
def test_a_real_checkpoint(item, tmp_path):
    """With its real result file and the baseline's; nothing is typed again."""
    staged = stage_checkpoint(item, tmp_path / 'hub', f'zoo/{item.name}')
    assert check(staged) < 1e-4
    assert hashlib.sha256((staged / 'model.safetensors').read_bytes()).hexdigest() == item.sha256
    baseline = json.loads((staged / 'baseline.json').read_text())
    assert baseline['method'] == 'baseline' and baseline['input_size'] == item.input_size and baseline['epochs'] == item.epochs
    text = (staged / 'README.md').read_text()
    assert f'{item.metrics["top1"]:.2f}' in text and f"{baseline['metrics']['top1']:.2f}" in text
    assert 'half precision' not in text and item.license in text and item.data in text
    assert yaml.safe_load((staged / 'recipe.yaml').read_text())['epochs'] == item.epochs
    assert json.loads((staged / 'config.json').read_text()).get('calibration') == item.calibration
    result = json.loads((staged / 'result.json').read_text())
    assert ('calibrated' in result['metrics']) == ('strangers' in result) == (item.calibration is not None) == ('perhaps none' in text)
    if item.calibration:
        assert f"temperature {item.calibration['temperature']}" in text
        assert f"off by\n{100 * result['metrics']['calibrated']['ece']:.1f}" in text
    picture = zoo.FOLDER.parents[1] / 'hub' / 'pictures' / f'{item.name}.png'
    assert (staged / 'attention.png').read_bytes() == picture.read_bytes() and '(attention.png)' in text


def test_a_checkpoint_without_a_clone(monkeypatch, tmp_path):
    """The package has weights but no result files."""
    monkeypatch.setattr(zoo, 'FOLDER', tmp_path / 'site-packages' / 'fgvc_zoo' / 'checkpoints')
    with pytest.raises(UserError, match='publish it from a clone'):
        stage_checkpoint(load_manifest()[-1], tmp_path / 'hub', REPO)
    assert not (tmp_path / 'hub').exists()


def test_only_a_comparable_baseline_is_found(tmp_path):
    record = dict(method='wsdan', backbone='a', data='birds', split='test', input_size=224, epochs=8)
    others = [dict(record, method='osme'), dict(record, method='baseline', input_size=288), dict(record, method='baseline', split='fit')]
    for index, other in enumerate([record, *others]):
        (tmp_path / f'{index}.json').write_text(json.dumps(other))
    assert find_baseline(tmp_path / '0.json', tmp_path) is None
    (tmp_path / '9.json').write_text(json.dumps(dict(record, method='baseline')))
    assert find_baseline(tmp_path / '0.json', tmp_path) == tmp_path / '9.json'


def test_the_manifest_is_updated_in_place(monkeypatch, tmp_path):
    path = tmp_path / 'manifest.yaml'
    shutil.copy(zoo.MANIFEST, path)
    before = yaml.safe_load(path.read_text())
    monkeypatch.setattr(zoo, 'MANIFEST', path)
    update_manifest({**before[0], 'repo': 'zoo/x', 'revision': 'abc'})
    after = yaml.safe_load(path.read_text())
    assert after == [{**before[0], 'repo': 'zoo/x', 'revision': 'abc'}, *before[1:]]
    update_manifest({**before[0], 'tag': 'zzz'})
    assert len(yaml.safe_load(path.read_text())) == len(before) + 1 and path.read_text().startswith('# Every checkpoint')


@pytest.mark.parametrize('item', [load_manifest()[0], next(item for item in load_manifest() if item.folder)], ids=lambda item: item.name)
def test_a_calibration_is_written_where_the_model_is_loaded_from(item, monkeypatch, tmp_path):
    """Into the manifest, and into config.json of a checkpoint that is not in the package."""
    package = tmp_path / 'fgvc_zoo' / 'checkpoints'
    package.mkdir(parents=True)
    shutil.copy(zoo.MANIFEST, package / 'manifest.yaml')
    before = yaml.safe_load(zoo.MANIFEST.read_text())
    if item.folder:
        shutil.copytree(zoo.FOLDER.parents[1] / item.folder, tmp_path / item.folder, ignore=shutil.ignore_patterns('*.safetensors'))
    monkeypatch.setattr(zoo, 'FOLDER', package)
    monkeypatch.setattr(zoo, 'MANIFEST', package / 'manifest.yaml')
    set_calibration(item, Calibration(0.5, 0.25, 9))
    written = dict(temperature=0.5, threshold=0.25, images=9)
    for old, new in zip(before, yaml.safe_load(zoo.MANIFEST.read_text()), strict=True):
        is_own = (old['architecture'], old['tag']) == (item.architecture, item.tag)
        assert new == ({**old, 'calibration': written} if is_own else old)
    if item.folder:
        assert json.loads((tmp_path / item.folder / 'config.json').read_text())['calibration'] == written
