"""A method of another package, installed beside this one, works in every command and comes back from the Hub."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

EXAMPLE = ROOT / 'examples' / 'bilinear_cnn'
MODEL = 'bilinear_cnn_tf_efficientnet_lite0'
COMMANDS = '''
import json, sys
import fgvc_zoo_cli
for argv in json.loads(sys.argv[1]):
    sys.argv = ['fgvc-zoo', *argv]
    try:
        fgvc_zoo_cli.main()
    except SystemExit as stop:
        assert not stop.code, (argv, stop.code)
'''


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """A folder in which pip installed the example."""
    folder = tmp_path_factory.mktemp('outside')
    shutil.copytree(EXAMPLE, folder / 'source')
    subprocess.run(
        [sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--no-index', '--no-build-isolation', '--target',
         str(folder / 'site'), str(folder / 'source')], check=True, timeout=200)
    return folder / 'site'


@pytest.fixture
def start(client, site, tmp_path):
    """Run Python where the example is installed; returns standard output, and standard error if it fails on purpose."""
    def call(*argv, path=None, fails=False, **env):
        paths = [str(ROOT), str(path or site)]
        result = subprocess.run(
            [sys.executable, '-W', 'ignore', *map(str, argv)], cwd=tmp_path, text=True, capture_output=True, check=False,
            timeout=250, env={**client.environment, 'PYTHONPATH': os.pathsep.join(paths), **env})
        assert bool(result.returncode) == fails, result.stdout + result.stderr
        return result.stderr if fails else result.stdout
    return call


def commands(*lines):
    """Arguments of Python that runs several commands in one process."""
    return '-c', COMMANDS, json.dumps([[str(word) for word in line] for line in lines])


def test_trained_measured_published_and_pulled(start, photos, repo_id, tmp_path):
    run = tmp_path / 'run'
    start(*commands(
        ['models', 'bilinear_cnn*', '--json'],
        ['train', '--model', MODEL, '--data', f'folder:{photos}', '--output', run, '--epochs', 1, '--batch-size', 3,
         '--input-size', 32, '--pretrained-backbone', 'false', '--workers', 0, '--device', 'cpu'],
        ['evaluate', run, '--data', f'folder:{photos}', '--workers', 0, '--json', run / 'result.json'],
        ['predict', photos / 'test', '--model', run, '--save', tmp_path / 'pictures'],
        ['publish', run, repo_id, '--license', 'MIT', '--full']))
    result = json.loads((run / 'result.json').read_text())
    assert (result['method'], result['backbone']) == ('bilinear_cnn', 'tf_efficientnet_lite0')
    assert result['recipe']['task'] == 'bilinear_cnn'
    assert result['recipe']['head_lr_scale'] == 100
    assert len(list((tmp_path / 'pictures').iterdir())) == 6
    card = (run / 'hub' / 'README.md').read_text()
    assert '**bilinear-cnn**' in card and 'outer product' in card and 'arxiv.org/abs/1504.07889' in card

    empty = dict(HF_HOME=str(tmp_path / 'empty'))
    out = start(*commands(
        ['predict', photos / 'test', '--model', f'hf-hub:{repo_id}', '--json'], ['verify', repo_id]), **empty)
    pulled = json.loads(out[:out.index('\n]') + 2])
    assert len(pulled) == 6
    again = json.loads(start('-m', 'fgvc_zoo_cli', 'predict', photos / 'test', '--model', run, '--json'))
    assert [item['predictions'] for item in pulled] == [item['predictions'] for item in again]
    error = start(
        '-m', 'fgvc_zoo_cli', 'predict', photos / 'test', '--model', f'hf-hub:{repo_id}', path=ROOT, fails=True)
    assert error.startswith('fgvc-zoo: error: ') and 'install that package or name its module with --import' in error


def test_published_weights_of_a_registered_variant(start, publish, repo_id, tmp_path):
    """A variant may name its repository: `pretrained=True`, every command and the list of models then know its weights."""
    assert publish('--full').status == 0
    (tmp_path / 'apples.py').write_text(f"""
from fgvc_zoo.models import Paper, Variant, WSDAN, register_method

class Apples(WSDAN):
    method = 'apples'

register_method(Apples, Paper('Apples', '', 'It knows apples.'), {{'test_resnet': Variant(
    'Apples.', dict(num_maps=4), dict(hf_hub_id='{repo_id}', num_classes=3, label_names=('gala', 'kiwi', 'leek'), input_size=64))}})
""")
    out = start('-c', (
        'import timm, torch, apples\n'
        'from fgvc_zoo.loading import load_model\n'
        "models = [load_model('apples_test_resnet'), timm.create_model('apples_test_resnet', pretrained=True).eval(),\n"
        f"          load_model('hf-hub:{repo_id}')]\n"
        'a, b, c = [model(torch.ones(1, 3, 64, 64)) for model in models]\n'
        'print(torch.equal(a, b) and torch.equal(a, c), models[0].method)'), PYTHONPATH=f'{ROOT}:{tmp_path}')
    assert out.split() == ['True', 'apples']
    rows = json.loads(start('-m', 'fgvc_zoo_cli', '--import', 'apples', 'models', 'apples*', '--json'))
    assert [(row['name'], row['weights'], row['num_classes']) for row in rows] == [
        ('apples', None, None), ('apples_test_resnet', repo_id, 3)]


def test_without_being_installed(start, tmp_path):
    """`--import` takes a module of the current folder."""
    shutil.copytree(EXAMPLE / 'bilinear_cnn', tmp_path / 'bilinear_cnn')
    command = '-m', 'fgvc_zoo_cli', '--import', 'bilinear_cnn', 'models', 'bilinear_cnn*', '--json'
    rows = json.loads(start(*command, path=ROOT))
    assert [row['name'] for row in rows] == ['bilinear_cnn', 'bilinear_cnn_vgg16', MODEL]
    error = start('-m', 'fgvc_zoo_cli', '--import', 'no_such_module', 'models', path=ROOT, fails=True)
    assert error.startswith("fgvc-zoo: error: the module 'no_such_module' cannot be imported: ") and error.count('\n') == 1


def test_readme_row_and_hubconf(start):
    out = start('-c', (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'benchmarks' / 'accuracy')!r}]\n"
        'import hubconf\n'
        'from tables import model_table\n'
        'from fgvc_zoo.models import METHODS\n'
        f'assert callable(hubconf.{MODEL})\n'
        "assert 'bilinear' not in model_table()\n"
        "print(model_table([METHODS['bilinear_cnn']]))"))
    assert 'https://arxiv.org/abs/1504.07889' in out and '`vgg16`' in out


def test_a_broken_package_is_one_sentence(start, tmp_path):
    info = tmp_path / 'broken_birds-1.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: broken-birds\nVersion: 1\n')
    (info / 'entry_points.txt').write_text('[fgvc_zoo.methods]\nbirds = broken_birds\n')
    (tmp_path / 'broken_birds.py').write_text("raise RuntimeError('no birds today')\n")
    out = start('-c', (
        'import warnings\n'
        'with warnings.catch_warnings(record=True) as notes:\n'
        "    warnings.simplefilter('always')\n"
        '    import fgvc_zoo\n'
        "print([str(note.message) for note in notes if 'broken' in str(note.message)])"), path=tmp_path)
    assert out.strip() == repr(
        ["the methods of the package 'broken-birds' are missing, since it cannot be imported: no birds today"])


def test_it_keeps_the_contract(start, site):
    tests = EXAMPLE / 'test_bilinear_cnn.py'
    out = start('-m', 'pytest', '-q', '-p', 'no:cacheprovider', '-c', os.devnull, '--rootdir', EXAMPLE, tests)
    assert '17 passed' in out, out
