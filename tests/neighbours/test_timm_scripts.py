"""timm's scripts with the models of this zoo, through `fgvc-zoo timm`.

The scripts are in timm's repository only, which cannot be fetched from a package index. Short ones stand for them, which take the same
options and make the same calls; `FGVC_ZOO_TIMM=CLONE pytest tests/neighbours/test_timm_scripts.py` runs the same tests with the real ones.
"""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import timm

import fgvc_zoo_cli
from fgvc_zoo import UserError
from fgvc_zoo.checkpoints import FOLDER
from fgvc_zoo.data import ImageFolder
from fgvc_zoo.evaluation import evaluate
from fgvc_zoo.loading import eval_transform_for
from fgvc_zoo_cli.timm_scripts import find_script

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(os.environ.get('FGVC_ZOO_TIMM', Path(__file__).with_name('timm_scripts')))
CPU = ['--device', 'cpu', '--workers', '0', '--batch-size', '4']


@pytest.fixture
def run(monkeypatch):
    """`fgvc-zoo timm` in this process; returns the exit status."""
    def call(*argv):
        monkeypatch.setattr(sys, 'argv', ['fgvc-zoo', 'timm', *map(str, argv)])
        monkeypatch.setattr(sys, 'path', list(sys.path))
        with pytest.raises(SystemExit) as stopped:
            fgvc_zoo_cli.main()
        return stopped.value.code or 0
    return call


def test_validate(run_folder, model, photos, tmp_path):
    """In a process of its own: nothing but the command registers the models."""
    result = subprocess.run(
        [sys.executable, '-m', 'fgvc_zoo_cli', 'timm', SCRIPTS / 'validate.py', photos / 'test', '--model', f'local-dir:{run_folder}',
         '--pretrained', *CPU, '--results-file', tmp_path / 'result.json', '--results-format', 'json'],
        cwd=tmp_path, env={**os.environ, 'PYTHONPATH': str(ROOT)}, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / 'result.json').read_text())
    expected = evaluate(model, ImageFolder(photos, 'test', eval_transform_for(model)))
    assert found['top1'] == pytest.approx(expected['top1'], abs=1e-3) and found['img_size'] == 64


def test_validate_with_a_class_map(run, tmp_path):
    """timm numbers folders by name; a file with the model's classes, one a line, puts them into the model's order."""
    for photo in (ROOT / 'examples').glob('*.jpg'):
        name = photo.stem.rpartition('_')[0].replace('_', ' ').title()
        (tmp_path / name).mkdir()
        (tmp_path / name / photo.name).symlink_to(photo)
    run(SCRIPTS / 'validate.py', tmp_path, '--model', 'wsdan_tf_efficientnet_lite0.grocery81', '--pretrained', *CPU,
        '--class-map', FOLDER / 'grocery81.txt', '--results-file', tmp_path / 'result.json', '--results-format', 'json')
    found = json.loads((tmp_path / 'result.json').read_text())
    assert found['top1'] == pytest.approx(100 * 10 / 12, abs=1e-3)  # a golden delicious and a grapefruit are taken for others


def test_inference(run, tmp_path):
    run(SCRIPTS / 'inference.py', ROOT / 'examples', '--model', 'wsdan_tf_efficientnet_lite0.grocery81', '--pretrained', *CPU,
        '--results-dir', tmp_path, '--results-file', 'names.csv', '--no-console-results')
    with (tmp_path / 'names.csv').open() as file:
        found = {row['filename']: row for row in csv.DictReader(file)}
    assert len(found) == 12
    assert found['lemon_021.jpg']['label'] == 'Lemon' and float(found['lemon_021.jpg']['prob']) == pytest.approx(0.711, abs=0.005)


@pytest.mark.filterwarnings('ignore:.*lr_scheduler')
def test_train(run, photos, tmp_path):
    run(SCRIPTS / 'train.py', photos, '--model', 'wsdan', '--model-kwargs', 'backbone=test_resnet', 'num_maps=4', '--num-classes', '3',
        '--val-split', 'test', '--img-size', '64', *CPU, '--opt', 'sgd', '--lr', '0.01', '--layer-decay', '0.7', '--epochs', '1',
        '--warmup-epochs', '0', '--output', tmp_path, '--experiment', 'run')
    args = dict(backbone='test_resnet', num_maps=4, num_classes=3)
    model = timm.create_model('wsdan', **args, checkpoint_path=str(tmp_path / 'run' / 'last.pth.tar'))
    updates = {key: value.item() for key, value in model.state_dict().items() if key.endswith('num_batches_tracked')}
    assert set(updates.values()) == {2}  # nine photographs, whole batches of four
    assert all(value.isfinite().all() for value in model.state_dict().values())


def test_a_script_runs_as_if_by_itself(run, tmp_path, capsys):
    (tmp_path / 'beside.py').write_text('number = 3\n')
    script = tmp_path / 'script.py'
    script.write_text("import sys, beside\nassert __name__ == '__main__'\nprint(sys.argv)\nraise SystemExit(beside.number)\n")
    assert run(script, '--model', 'x', '--help') == 3
    assert capsys.readouterr().out == f"{[str(script), '--model', 'x', '--help']}\n"


@pytest.mark.parametrize('argv, message', [
    (('validate.py',), "there is no script 'validate.py'; give the path"),
    (('refused.py',), 'pretrained_backbone=True starts from'),
])
def test_what_the_user_can_mend_is_one_line(run, argv, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'refused.py').write_text("import timm; timm.create_model('wsdan_resnet50', pretrained=True)\n")
    assert run(*argv) == 2
    error = capsys.readouterr().err
    assert error.startswith('fgvc-zoo: error: ') and error.count('\n') == 1 and message in error


def test_scripts_of_a_clone_are_found_by_name(tmp_path, monkeypatch):
    (tmp_path / 'timm').mkdir()
    (tmp_path / 'validate.py').touch()
    monkeypatch.setattr(timm, '__file__', str(tmp_path / 'timm' / '__init__.py'))
    with pytest.raises(UserError):  # site-packages may hold any validate.py
        find_script('validate.py')
    (tmp_path / 'pyproject.toml').touch()
    assert find_script('validate.py') == tmp_path / 'validate.py'
