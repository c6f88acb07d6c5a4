"""The command as people run it: in a process of its own, or through its entry point."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fgvc_zoo_cli

ROOT = Path(__file__).parents[2]


@pytest.fixture
def call(capsys, monkeypatch):
    """Run `fgvc-zoo` with arguments: (exit status, standard output, standard error)."""
    def run(*args):
        monkeypatch.setattr(sys, 'argv', ['fgvc-zoo', *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            fgvc_zoo_cli.main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err
    return run


def test_help_and_version_do_not_import_torch():
    code = ("import sys, fgvc_zoo_cli\ntry:\n    fgvc_zoo_cli.app(['--help'])\nexcept SystemExit: pass\n"
            "sys.exit('torch' in sys.modules or 'timm' in sys.modules)")
    env = dict(os.environ, PYTHONPATH=str(ROOT))
    result = subprocess.run([sys.executable, '-c', code], env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    for command in ('predict', 'evaluate', 'models', 'train', 'publish', 'verify', 'timm'):
        assert command in result.stdout


def test_predict_in_a_process(run_folder, photos):
    result = subprocess.run(
        [sys.executable, '-m', 'fgvc_zoo_cli', 'predict', str(photos / 'test'), '--model', str(run_folder), '--json'],
        env=dict(os.environ, PYTHONPATH=str(ROOT)), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    answers = json.loads(result.stdout)
    assert len(answers) == 6
    assert {item['name'] for item in answers[0]['predictions']} == {'gala', 'kiwi', 'leek'}


def test_predict_for_people(call, run_folder, photos, tmp_path):
    status, out, _ = call('predict', photos / 'test' / 'kiwi', '--model', run_folder, '--top', 2, '--save', tmp_path / 'pictures')
    assert status == 0
    assert out.count('%') == 4
    assert sorted(path.name for path in (tmp_path / 'pictures').iterdir()) == ['0.png', '1.png']


def test_pictures_of_equal_names_do_not_overwrite_each_other(call, run_folder, photos, tmp_path):
    assert call('predict', photos / 'test', '--model', run_folder, '--save', tmp_path)[0] == 0
    assert len(list(tmp_path.iterdir())) == 6


def test_evaluate_writes_the_record(call, run_folder, photos, tmp_path):
    status, out, _ = call('evaluate', run_folder, '--data', f'folder:{photos}', '--workers', 0, '--json', tmp_path / 'result.json')
    assert status == 0
    record = json.loads((tmp_path / 'result.json').read_text())
    assert {'model', 'method', 'backbone', 'data', 'split', 'seed', 'input_size', 'epochs', 'metrics', 'command', 'recipe', 'versions',
            'weights_sha256', 'seconds'} <= record.keys()
    assert {'top1', 'top5', 'mean_per_class', 'raw', 'refined'} <= record['metrics'].keys()
    assert f"{record['metrics']['top1']:.2f}" in out


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


def test_models_lists_what_is_registered(call):
    status, out, _ = call('models', '--json')
    assert status == 0
    names = [row['name'] for row in json.loads(out)]
    assert 'wsdan_resnet50' in names
    assert call('models', '*inception*')[1].count('wsdan_inception_v3') == 1
    assert call('models', 'nothing*')[0] == 2


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
    assert err.startswith('fgvc-zoo: error: ')
    assert err.count('\n') == 1
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


def test_classes_that_do_not_belong_together(call, run_folder, photos, tmp_path):
    for name in ('apple', 'kiwi', 'leek'):
        (tmp_path / 'train' / name).mkdir(parents=True)
        Image.new('RGB', (60, 60)).save(tmp_path / 'train' / name / '0.jpg')
    status, _, err = call('evaluate', run_folder, '--data', f'folder:{tmp_path}', '--split', 'train', '--workers', 0)
    assert status == 2
    assert "'gala' stands where the data have 'apple'" in err.splitlines()[-1]


def test_every_kind_of_image_in_one_call(call, run_folder, tmp_path):
    """The good ones are answered, the bad ones reported, the status says so."""
    pixels = np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)
    photo = Image.fromarray(pixels)
    good = {
        'rgb.jpg': lambda path: photo.save(path),
        'cmyk.jpg': lambda path: photo.convert('CMYK').save(path),
        'grey16.png': lambda path: Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(path),
        'palette.png': lambda path: photo.convert('RGBA').quantize(16).save(path, transparency=0),
        'animated.gif': lambda path: photo.save(path, save_all=True, append_images=[photo.rotate(90)]),
        'one.png': lambda path: Image.new('RGB', (1, 1)).save(path),
        'rotated.jpg': lambda path: photo.save(path, exif=_orientation(6)),
    }
    bad = {
        'empty.jpg': lambda path: path.write_bytes(b''),
        'text.jpg': lambda path: path.write_text('not an image'),
        'cut.jpg': lambda path: (photo.save(path), path.write_bytes(path.read_bytes()[:700])),
        'bomb.png': lambda path: Image.new('1', (20000, 20000)).save(path),
    }
    for name, write in {**good, **bad}.items():
        write(tmp_path / name)
    status, out, err = call('predict', tmp_path, tmp_path / 'missing.jpg', '--model', run_folder, '--json')
    assert status == 1
    answers = {Path(item['path']).name: item for item in json.loads(out)}
    assert {name for name, item in answers.items() if 'predictions' in item} == set(good)
    assert {name for name, item in answers.items() if 'error' in item} == {*bad, 'missing.jpg'}
    for name in (*bad, 'missing.jpg'):
        assert name in answers[name]['error']
        assert name in err
    assert '5 of 12 images could not be read' in err
    assert 'Traceback' not in err


def _orientation(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def test_rotated_photographs_are_turned_upright(call, run_folder, tmp_path):
    pixels = np.zeros((60, 90, 3), dtype=np.uint8)
    pixels[:, :30] = 255
    Image.fromarray(pixels).save(tmp_path / 'upright.png')
    Image.fromarray(np.rot90(pixels)).save(tmp_path / 'lying.png', exif=_orientation(6))
    answers = json.loads(call('predict', tmp_path, '--model', run_folder, '--json')[1])
    first, second = ([(item['name'], round(item['probability'], 3)) for item in answer['predictions']] for answer in answers)
    assert first == second


def test_interrupt_leaves_no_traceback(call, run_folder, photos, monkeypatch):
    from fgvc_zoo import loading

    def stop(*_):
        raise KeyboardInterrupt
    monkeypatch.setattr(loading, 'load_model', stop)
    status, out, err = call('predict', photos, '--model', run_folder)
    assert status == 130
    assert 'Traceback' not in out + err
