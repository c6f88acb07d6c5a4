"""Names from outside, encodings and pipes: no name acts on the terminal, no encoding and no reader stops a command."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ODD = [b'x\xff.jpg', b'\x1b[31mred\nline.jpg', b':apple: [bold].jpg', 'é李.jpg'.encode()]


def start(*args, encoding='utf-8:strict', **options):
    """A process of its own, since streams are prepared when the command starts."""
    env = dict(os.environ, PYTHONPATH=str(ROOT), PYTHONIOENCODING=encoding, COLUMNS='80', OMP_NUM_THREADS='1')
    return subprocess.Popen([sys.executable, '-m', 'fgvc_zoo_cli', *map(str, args)], env=env, stderr=subprocess.PIPE, **options)


def run(*args, encoding='utf-8:strict'):
    with start(*args, encoding=encoding, stdout=subprocess.PIPE) as process:
        out, err = process.communicate(timeout=200)
    return process.returncode, out, err


@pytest.fixture(scope='module')
def odd_photos(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp('odd')
    source = next((photos / 'test').rglob('*.jpg'))
    for name in ODD:
        try:
            shutil.copy(source, os.fsencode(folder) + b'/' + name)
        except OSError:
            pytest.skip(f'this file system refuses the name {name!r}')
    (folder / 'bad\x1b]0;title\x07.jpg').write_text('no image')
    return folder


def test_odd_names_are_printed_as_escapes(odd_photos, run_folder):
    status, out, err = run('predict', odd_photos, '--model', run_folder)
    assert status == 1  # one photograph cannot be read
    assert b'\x1b' not in out + err and b'\x07' not in out + err
    for name in (rb'x\udcff.jpg', rb'\x1b[31mred\nline.jpg', b':apple: [bold].jpg', 'é李.jpg'.encode()):
        assert name in out
    assert rb'bad\x1b]0;title\x07.jpg' in err


@pytest.mark.parametrize('encoding', ['utf-8:strict', 'ascii', 'cp1252'])
def test_json_is_read_back_whole_whatever_the_encoding(odd_photos, run_folder, encoding):
    status, out, err = run('predict', odd_photos, '--model', run_folder, '--json', encoding=encoding)
    assert status == 1, err
    names = {Path(item['path']).name for item in json.loads(out.decode(encoding.partition(':')[0]))}
    assert {os.fsdecode(name) for name in ODD} <= names


@pytest.mark.parametrize('encoding', ['ascii', 'cp1252'])
def test_bars_in_encodings_without_block_characters(photos, run_folder, encoding):
    status, out, err = run('predict', photos / 'test', '--model', run_folder, encoding=encoding)
    assert status == 0, err
    assert b'#' in out and b'\\u' not in out


@pytest.mark.parametrize('args', [['models'], ['models', '--json'], ['predict', '{photos}', '--model', '{run}']])
def test_a_reader_that_exits_early_is_no_error(photos, run_folder, args):
    with start(*[arg.format(photos=photos, run=run_folder) for arg in args], stdout=subprocess.PIPE) as process:
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == 0, err
    assert b'Traceback' not in err and b'Exception' not in err


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='there is no /dev/full')
def test_a_full_disk_behind_the_output_is_one_sentence():
    with open('/dev/full', 'wb') as full, start('models', '--json', stdout=full) as process:
        err = process.stderr.read().decode()
    assert process.returncode == 2
    assert err.startswith('fgvc-zoo: error: ') and err.count('\n') == 1
    assert 'No space left' in err


def test_class_names_of_a_model_do_not_act_on_the_terminal(call, photos, run_folder, tmp_path):
    copy = tmp_path / 'copy'
    shutil.copytree(run_folder, copy)
    config = json.loads((copy / 'config.json').read_text(encoding='utf-8'))
    config['label_names'] = ['[red]:apple:', '\x1b[31mkiwi', 'le\u202eek']
    (copy / 'config.json').write_text(json.dumps(config), encoding='utf-8')
    status, out, _ = call('predict', photos / 'test', '--model', copy)
    assert status == 0
    assert '[red]:apple:' in out and r'\x1b[31mkiwi' in out and r'le\u202eek' in out
    assert '\x1b' not in out and '\u202e' not in out


@pytest.mark.parametrize(('error', 'says'), [
    (OSError(errno.ENOMEM, 'Cannot allocate memory'), 'fgvc-zoo: error: Cannot allocate memory\n'),
    (OSError(errno.ENOSPC, 'No space left on device'), 'fgvc-zoo: error: the output cannot be read or written: No space left on device\n'),
    (OSError(errno.EACCES, 'Permission denied', 'a.txt'), 'fgvc-zoo: error: a.txt cannot be read or written: Permission denied\n')])
def test_errors_of_the_system_name_a_file_if_there_is_one(call, error, says, monkeypatch):
    import fgvc_zoo_cli

    def refuse():
        raise error

    monkeypatch.setattr(fgvc_zoo_cli, 'forget_output', lambda: None)
    monkeypatch.setattr(fgvc_zoo_cli, 'app', refuse)
    assert call() == (2, '', says)
