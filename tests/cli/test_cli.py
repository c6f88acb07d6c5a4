"""What holds for every command: help, one-line errors, exit statuses, and a run from training to prediction."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_help_and_version_do_not_import_torch():
    code = ("import sys, fgvc_zoo_cli\ntry:\n    fgvc_zoo_cli.app(['--help'])\nexcept SystemExit: pass\n"
            "sys.exit('torch' in sys.modules or 'timm' in sys.modules)")
    env = dict(os.environ, PYTHONPATH=str(ROOT))
    result = subprocess.run([sys.executable, '-c', code], env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    for command in ('predict', 'evaluate', 'models', 'classes', 'train', 'demo', 'publish', 'verify', 'timm'):
        assert command in result.stdout


@pytest.mark.parametrize('command', [
    [], ['predict'], ['evaluate'], ['models'], ['classes'], ['train'], ['data'], ['demo'], ['publish'], ['verify'], ['timm']])
def test_h_is_short_for_help(call, command):
    status, out, _ = call(*command, '-h')
    assert status == 0 and 'Usage: ' in out
    assert out == call(*command, '--help')[1]


def test_the_package_runs_as_the_command():
    env = dict(os.environ, PYTHONPATH=str(ROOT))
    for module in ('fgvc_zoo', 'fgvc_zoo_cli'):
        result = subprocess.run([sys.executable, '-m', module, '--version'], env=env, capture_output=True, text=True, check=False)
        assert result.returncode == 0 and result.stdout == version('fgvc-zoo') + '\n', result.stderr


@pytest.mark.parametrize('args', [
    ['evaluate', '{run}', '--data', 'https://example.org/data'],
    ['evaluate', '{run}', '--data', 'folder:https://example.org/data'],
    ['evaluate', 'https://example.org/model', '--data', '{photos}'],
    ['train', '--model', 'wsdan', '--data', 'https://example.org/data', '--output', '{tmp}/run'],
    ['data', 'https://example.org/data'],
])
def test_urls_are_not_read(call, run_folder, photos, tmp_path, args):
    status, _, err = call(*[arg.format(photos=photos, run=run_folder, tmp=tmp_path) for arg in args])
    assert status == 2
    assert re.fullmatch(r"fgvc-zoo: error: 'https://example.org/\w+' is a URL, and URLs are not read: .*download.*\n", err), err


def test_train_evaluate_predict(call, photos, tmp_path):
    status, _, err = call(
        'train', '--model', 'wsdan', '--data', f'folder:{photos}', '--output', tmp_path / 'run', '--epochs', 1, '--batch-size', 3,
        '--input-size', 48, '--pretrained-backbone', 'false', '--workers', 0, '--device', 'cpu', '--set',
        'model_args={backbone: test_resnet, num_maps: 4}')
    assert status == 0, err
    status, _, err = call('evaluate', tmp_path / 'run', '--data', f'folder:{photos}', '--workers', 0, '--json', tmp_path / 'r.json')
    assert status == 0, err
    record = json.loads((tmp_path / 'r.json').read_text())
    assert (record['method'], record['epochs'], record['input_size']) == ('wsdan', 1, 48)
    assert record['backbone'] == 'test_resnet'  # although the model is the bare name
    assert len(record['weights_sha256']) == 64
    assert call('predict', photos / 'test', '--model', tmp_path / 'run')[0] == 0


@pytest.mark.parametrize(('args', 'words'), [
    (['predict', '{photos}', '--model', 'wsdan_tf_efficientnet_lite'], 'there is no trained model'),
    (['predict', '{photos}', '--model', '{tmp}'], 'no config.json'),
    (['predict', '{tmp}', '--model', '{run}'], 'holds no images'),
    (['predict', '{photos}', '--model', '{run}', '--device', 'gpu'], "the device 'gpu'"),
    (['evaluate', '{run}', '--data', 'folder:{tmp}/nowhere'], 'does not exist'),
    (['evaluate', '{run}', '--data', 'folder:{photos}', '--split', 'tset'], "did you mean 'test'"),
    (['train', '--model', 'wsdan_resnet51', '--data', 'folder:{photos}', '--output', '{tmp}/run', '--batch-size', '2'], 'wsdan_resnet50'),
    (['train', '--model', 'wsdan', '--data', 'folder:{photos}', '--output', '{tmp}/run', '--set', 'epoch=3'], "did you mean 'epochs'"),
    (['train', '--model', 'wsdan', '--data', 'folder:{photos}', '--output', '{tmp}/run', '--set', 'epochs'], 'key=value'),
    (['train', '--model', 'wsdan', '--data', 'folder:{photos}', '--output', '{tmp}/run', '--recipe', 'wsdn'], "did you mean 'wsdan'"),
])
def test_mistakes_get_one_line_and_status_2(call, run_folder, photos, tmp_path, args, words):
    filled = [arg.format(photos=photos, run=run_folder, tmp=tmp_path) for arg in args]
    status, out, err = call(*filled)
    assert status == 2
    assert words in err
    *before, error = err.splitlines()
    assert error.startswith('fgvc-zoo: error: ')
    assert all('photos' in line and 'classes' in line for line in before[:1]) and len(before) <= 1  # what training understood of the data
    assert 'Traceback' not in out + err


def test_weights_that_cannot_be_fetched(photos, tmp_path):
    """Offline, in a process of its own since huggingface_hub reads its environment when it is imported."""
    env = dict(os.environ, PYTHONPATH=str(ROOT), HF_HUB_OFFLINE='1', HF_HOME=str(tmp_path))
    train = ['train', '--model', 'wsdan_resnet50', '--data', f'folder:{photos}', '--output', str(tmp_path / 'run'), '--batch-size', '2']
    for args in (train, ['predict', str(photos), '--model', 'hf-hub:nobody/nothing']):
        result = subprocess.run(
            [sys.executable, '-W', 'ignore', '-m', 'fgvc_zoo_cli', *args], env=env, capture_output=True, text=True, check=False)
        assert result.returncode == 2
        assert 'could not be fetched' in result.stderr.splitlines()[-1]
        assert 'Traceback' not in result.stderr


def test_training_without_a_network_says_so_at_once(photos, tmp_path):
    """A closed port instead of the Hub, which huggingface_hub alone would try again for a minute."""
    env = dict(os.environ, PYTHONPATH=str(ROOT), HF_ENDPOINT='http://127.0.0.1:1', HF_HUB_OFFLINE='0', HF_HOME=str(tmp_path))
    for model in ('wsdan_resnet50', 'resnet18'):
        args = ['train', '--model', model, '--data', f'folder:{photos}', '--output', str(tmp_path / 'run'), '--batch-size', '2']
        result = subprocess.run(
            [sys.executable, '-W', 'ignore', '-m', 'fgvc_zoo_cli', *args], env=env, capture_output=True, text=True, check=False)
        last = result.stderr.splitlines()[-1]
        assert result.returncode == 2
        assert last.startswith(f"fgvc-zoo: error: the ImageNet weights of '{model.removeprefix('wsdan_')}' could not be fetched")
        assert '--pretrained-backbone FILE.safetensors or false' in last
        assert 'Retrying' not in result.stderr and 'Traceback' not in result.stderr


def test_interrupt_leaves_no_traceback(call, run_folder, photos, monkeypatch):
    from fgvc_zoo import loading

    def stop(*_):
        raise KeyboardInterrupt
    monkeypatch.setattr(loading, 'load_model', stop)
    status, out, err = call('predict', photos, '--model', run_folder)
    assert status == 130
    assert 'Traceback' not in out + err
