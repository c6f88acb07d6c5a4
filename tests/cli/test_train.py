"""Changes of a recipe from the command line."""

import json
import shutil
import warnings

import pytest
from PIL import Image
from typer.testing import CliRunner

from fgvc_zoo import UserError, recipes, training
from fgvc_zoo.recipes import load_recipe
from fgvc_zoo_cli import app
from fgvc_zoo_cli.train import parse_changes


def test_values_are_yaml():
    assert parse_changes(['lr=0.1', 'augmentation.scale=[0.2, 1]', 'ema_decay=null', 'task=wsdan', ' epochs =3']) == {
        'lr': 0.1, 'augmentation.scale': [0.2, 1], 'ema_decay': None, 'task': 'wsdan', 'epochs': 3}


@pytest.mark.parametrize(('change', 'words'), [('lr', "takes key=value, not 'lr'"), ('lr=[', "'\\[' is not a value")])
def test_mistakes_are_named(change, words):
    with pytest.raises(UserError, match=words):
        parse_changes([change])


@pytest.fixture
def chosen(monkeypatch):
    """What a run would be; it is not started."""
    found = []
    monkeypatch.setattr(warnings, 'formatwarning', warnings.formatwarning)  # the command sets it
    monkeypatch.setattr(training, 'train', lambda config: found.append(config) or config.output)
    return found


@pytest.mark.parametrize('folder', ['cub50', 'grocery', 'mine'])
def test_the_recipe_follows_from_the_number_of_photographs(tmp_path, monkeypatch, chosen, folder):
    for name in ('a/1.jpg', 'a/2.jpg', 'b/1.jpg', 'b/2.jpg'):
        path = tmp_path / folder / 'train' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (8, 8)).save(path)
    words = ['train', '--model', 'wsdan_tf_efficientnet_lite0', '--data', f'folder:{tmp_path / folder}', '--output', str(tmp_path / 'run')]
    for limit, options in ((5, []), (4, []), (5, ['--recipe', 'wsdan-paper']), (5, ['--recipe', 'baseline', '--input-size', '96']),
                           (5, ['--epochs', '3', '--set', 'lr=0.5'])):
        monkeypatch.setattr(recipes, 'SMALL', limit)
        assert CliRunner().invoke(app, words + options).exit_code == 0
    small, default, paper, other, both = (config.recipe for config in chosen)
    assert small == load_recipe('wsdan', 1) != default == load_recipe('wsdan')
    assert paper == load_recipe('wsdan-paper')
    assert other == load_recipe('baseline', 1).replace(input_size=96)
    assert (both.epochs, both.lr) == (3, 0.5)


def test_a_dry_run_shows_what_a_training_would_be_and_writes_nothing(call, photos, tmp_path):
    words = ['train', '--model', 'test_resnet', '--data', f'folder:{photos}', '--output', tmp_path / 'run',
             '--pretrained-backbone', 'false', '--input-size', 64, '--batch-size', 4, '--epochs', 2, '--workers', 0, '--device', 'cpu']
    status, out, _ = call(*words, '--dry-run')
    assert status == 0 and not (tmp_path / 'run').exists()
    assert 'batch_size: 4' in out and 'learning rate' in out and '2 epochs of' in out and 's a step' in out
    assert 'where the time goes' not in out
    status, out, _ = call(*words, '--profile')
    assert status == 0 and 'where the time goes' in out and 'backward' in out and not (tmp_path / 'run').exists()


TINY = ['--pretrained-backbone', 'false', '--input-size', 64, '--batch-size', 4, '--workers', 0, '--device', 'cpu']


def test_a_run_says_what_it_trains_and_measures_its_test_photographs(call, photos, tmp_path):
    run = tmp_path / 'run'
    status, out, err = call('train', '--model', 'wsdan', '--set', 'model_args.backbone=test_resnet', '--set', 'model_args.num_maps=2',
                            '--data', photos, '--output', run, '--epochs', 2, '--train-split', 'fit', '--eval-split', 'holdout', *TINY)
    assert status == 0
    assert 'wsdan over test_resnet, input 64 px' in err and '2 epochs of' in err and f'the model is in {run}' in err
    first, second = (line for line in out.splitlines() if line.startswith('epoch '))
    assert first.startswith('epoch 1/2: loss ') and 'training accuracy' in first and 'accuracy on holdout' in second
    result = json.loads((run / 'result.json').read_text())
    assert result['split'] == 'test' and len(result['metrics']['correct']) == 6
    assert '6 images, percent' in out and 'raw: the whole image; refined: the object, enlarged' in out


def test_a_folder_without_test_photographs_says_how_to_measure(call, photos, tmp_path):
    run = tmp_path / 'run'
    status, _, err = call('train', '--model', 'test_resnet', '--data', photos / 'train', '--output', run, '--epochs', 1, *TINY)
    assert status == 0 and 'hold some back with --train-split fit --eval-split holdout' in err and 'fgvc-zoo evaluate' not in err
    assert not (run / 'result.json').exists()
    with pytest.warns(UserWarning, match="was trained on the split 'train', which has photographs of 'holdout'"):
        assert call('evaluate', run, '--data', photos / 'train', '--split', 'holdout', '--workers', 0)[0] == 0


def test_photographs_that_chose_the_best_epoch_are_no_test(call, photos, tmp_path):
    data, run = shutil.copytree(photos, tmp_path / 'photos'), tmp_path / 'run'
    (data / 'test').rename(data / 'val')
    status, _, err = call('train', '--model', 'test_resnet', '--data', data, '--output', run, '--epochs', 1, '--eval-split', 'val',
                          '--keep-best', *TINY)
    assert status == 0 and "'test' is not measured: it has photographs of 'val', which chose the best epoch" in err
    assert not (run / 'result.json').exists() and (run / 'best' / 'model.safetensors').exists()
    status, _, _ = call('evaluate', run / 'best', '--data', photos, '--workers', 0, '--json', tmp_path / 'r.json')
    record = json.loads((tmp_path / 'r.json').read_text())
    assert (record['method'], record['epochs'], record['recipe']['task']) == ('baseline', 1, 'baseline') and record['weights_sha256']


def test_a_batch_norm_that_cannot_learn_is_named(call, photos, tmp_path):
    words = [str(word).replace('64', '32') for word in TINY]
    words[words.index('--batch-size') + 1] = '1'
    status, _, err = call('train', '--model', 'test_resnet', '--data', photos, '--output', tmp_path / 'run', '--set', 'freeze_bn=false',
                          *words)
    assert status == 2 and 'take a larger batch_size or input_size, or freeze_bn=true' in err


def test_the_baseline_is_no_model(call, photos, tmp_path):
    status, _, err = call('train', '--model', 'baseline', '--data', photos, '--output', tmp_path / 'run')
    assert status == 2 and "'baseline' is a recipe, not a model" in err and '--model tf_efficientnet_lite0' in err
