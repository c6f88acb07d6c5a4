"""`fgvc-zoo predict`: files, folders, pictures, and images that cannot be read."""

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fgvc_zoo.data

ROOT = Path(__file__).parents[2]


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
    assert sorted(path.name for path in (tmp_path / 'pictures').iterdir()) == ['0.explained.png', '1.explained.png']


def test_pictures_of_equal_names_do_not_overwrite_each_other(call, run_folder, photos, tmp_path):
    assert call('predict', photos / 'test', '--model', run_folder, '--save', tmp_path)[0] == 0
    assert len(list(tmp_path.iterdir())) == 6


def test_pictures_never_replace_a_photograph(call, run_folder, photos, tmp_path):
    photo = tmp_path / 'p.png'
    Image.open(next((photos / 'test').rglob('*.jpg'))).save(photo)
    before = photo.read_bytes()
    for count in (1, 2):
        assert call('predict', photo, '--model', run_folder, '--save', tmp_path)[0] == 0
        assert photo.read_bytes() == before
        assert len(list(tmp_path.iterdir())) == 1 + count


def test_a_picture_does_not_replace_a_file_that_appeared_meanwhile(call, run_folder, photos, tmp_path, monkeypatch):
    other = tmp_path / 'p.explained.png'
    other.write_text('of another program')
    monkeypatch.setattr(fgvc_zoo.data, 'free_names', lambda paths, folder, ending: [other])
    status, _, err = call('predict', photos / 'test' / 'kiwi' / '0.jpg', '--model', run_folder, '--save', tmp_path)
    assert status == 2 and 'p.explained.png' in err and 'Traceback' not in err
    assert other.read_text() == 'of another program'


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


@pytest.mark.parametrize('words', [['--classes', 'gala,leek'], ['--classes', 'gala', '--classes', ' Leek']])
def test_only_the_classes_that_come_into_question_are_answered(call, run_folder, photos, words):
    status, out, _ = call('predict', photos / 'test', '--model', run_folder, '--json', *words)
    assert status == 0
    for answer in json.loads(out):
        assert sorted(item['name'] for item in answer['predictions']) == ['gala', 'leek']
        assert sum(item['probability'] for item in answer['predictions']) == pytest.approx(1, abs=1e-4)
    status, _, err = call('predict', photos / 'test', '--model', run_folder, '--classes', 'gala,leak')
    assert status == 2 and "does not know the class 'leak', did you mean 'leek'" in err


def test_a_class_name_may_have_a_comma():
    from fgvc_zoo_cli.predict import _names

    assert _names(['Juice, orange', 'a,b'], ['Juice, orange', 'a', 'b']) == ['Juice, orange', 'a', 'b']


def start(*args, **options):
    """`fgvc-zoo predict` in a process of its own."""
    env = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    command = [sys.executable, '-m', 'fgvc_zoo_cli', 'predict', *map(str, args)]
    return subprocess.Popen(
        command, env=env, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **options)  # a shell's background jobs ignore it


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text, newline='')))


@pytest.mark.parametrize('workers', [0, 2])
def test_csv_json_lines_and_json_have_the_same_answers(call, run_folder, photos, tmp_path, workers):
    bad = tmp_path / 'bad, "very".jpg'
    bad.write_bytes(b'')
    args = ['predict', photos / 'test', bad, photos / 'train', '--model', run_folder, '--batch-size', 4, '--workers', workers, '--top', 2]
    status, out, err = call(*args, '--json', '--csv', tmp_path / 'a.csv', '--jsonl', tmp_path / 'a.jsonl')
    assert status == 1 and '1 of 16 images could not be read' in err
    answers = json.loads(out)
    assert [answer['path'] for answer in answers] == [
        *map(str, sorted((photos / 'test').rglob('*.jpg'))), str(bad), *map(str, sorted((photos / 'train').rglob('*.jpg')))]
    assert [json.loads(line) for line in (tmp_path / 'a.jsonl').read_text(encoding='utf-8').splitlines()] == answers
    for row, answer in zip(rows_of((tmp_path / 'a.csv').read_text(encoding='utf-8')), answers, strict=True):
        assert row['path'] == answer['path'] and row['error'] == answer.get('error', '')
        for rank, best in enumerate(answer.get('predictions', []), 1):
            assert (row[f'name_{rank}'], float(row[f'probability_{rank}'])) == (best['name'], best['probability'])
    assert call(*args, '--csv', '-')[1] == (tmp_path / 'a.csv').read_text(encoding='utf-8')
    assert call(*args, '--jsonl', '-')[1] == (tmp_path / 'a.jsonl').read_text(encoding='utf-8')


def test_the_model_is_named_above_the_answers_and_never_between_rows(call, run_folder, photos, tmp_path):
    status, out, err = call('predict', photos / 'test', '--model', run_folder)
    assert status == 0
    assert err.splitlines()[0].startswith(f'{run_folder}: 3 classes; `fgvc-zoo models` lists other models, --model chooses one')
    status, out, err = call('predict', ROOT / 'examples' / 'kiwi_023.jpg', '--csv', tmp_path / 'a.csv')
    assert status == 0 and out == ''
    assert err.startswith('wsdan_tf_efficientnet_lite0.grocery81: 81 classes of groceries; ')
    assert call('predict', photos / 'test', '--model', run_folder, '--json')[2] == ''


def test_a_file_of_another_kind_is_not_overwritten(call, run_folder, photos, tmp_path):
    photo = tmp_path / 'photo.jpg'
    photo.write_bytes(b'precious')
    for option in ('--csv', '--jsonl'):
        status, _, err = call('predict', photos / 'test', '--model', run_folder, option, photo)
        assert status == 2 and 'is not overwritten' in err
        assert photo.read_bytes() == b'precious'
    for options in (['--json', '--jsonl', '-'], ['--csv', tmp_path / 'a', '--jsonl', tmp_path / 'a'],
                    ['--csv', tmp_path / 'a', '--jsonl', tmp_path / 'b' / '..' / 'a']):
        status, _, err = call('predict', photos / 'test', '--model', run_folder, *options)
        assert status == 2 and 'cannot write to the same place' in err


def test_improbable_classes_are_left_out(call, run_folder, photos):
    args = ['predict', photos / 'test', '--model', run_folder]
    least = json.loads(call(*args, '--json')[1])[0]['predictions'][0]['probability'] - 1e-6
    for answer, whole in zip(json.loads(call(*args, '--json', '--min-probability', least)[1]), json.loads(call(*args, '--json')[1]),
                             strict=True):
        assert answer['predictions'] == [best for best in whole['predictions'] if best['probability'] >= least]
    status, out, _ = call(*args, '--min-probability', 1)
    assert status == 0 and out.count('no class is probable enough') == 6


def test_another_input_size(call, run_folder, photos):
    args = ['predict', photos / 'test', '--model', run_folder, '--json']
    assert call(*args, '--input-size', 64)[1] == call(*args)[1]
    assert call(*args, '--input-size', 96)[1] != call(*args)[1]
    status, _, err = call(*args, '--input-size', 5)
    assert status == 2 and 'input size must be in' in err


@pytest.mark.parametrize('option', ['--stdin', '--null'])
def test_paths_from_standard_input_are_answered_as_they_come(run_folder, photos, tmp_path, option):
    """Each path is written only after the answer to the one before has come."""
    end = b'\n' if option == '--stdin' else b'\0'
    odd = tmp_path / ('odd,name.jpg' if option == '--stdin' else 'line\nbreak.jpg')
    shutil.copy(photos / 'test' / 'kiwi' / '0.jpg', odd)
    paths = [*sorted((photos / 'test').rglob('*.jpg')), tmp_path / 'missing.jpg', odd]
    with start(option, '--model', run_folder, '--jsonl', '-', stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        for path in paths:
            process.stdin.write(bytes(path) + end)
            process.stdin.flush()
            assert json.loads(process.stdout.readline())['path'] == str(path)
        process.stdin.close()
        assert process.stdout.read() == b''
        err = process.stderr.read().decode()
    assert process.returncode == 1
    assert '1 of 8 images could not be read' in err and 'Traceback' not in err


@pytest.mark.parametrize('args', [[], ['--stdin', '{photos}'], ['--stdin', '--save', '{photos}']])
def test_photographs_come_from_one_place(call, photos, args):
    status, _, err = call('predict', *[arg.format(photos=photos) for arg in args])
    assert status == 2 and err.startswith('fgvc-zoo: error: ') and '--stdin' in err and err.count('\n') == 1


@pytest.fixture(scope='module')
def many(photos, tmp_path_factory):
    """2,000 photographs: links to a few."""
    folder = tmp_path_factory.mktemp('many')
    sources = sorted(photos.rglob('*.jpg'))
    for index in range(2000):
        os.link(sources[index % len(sources)], folder / f'{index:04}.jpg')
    return folder


@pytest.mark.parametrize(('how', 'status'), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_an_interrupted_run_leaves_whole_rows_and_one_sentence(run_folder, many, tmp_path, how, status):
    table, lines = tmp_path / 'a.csv', tmp_path / 'a.jsonl'
    with start(many, '--model', run_folder, '--csv', table, '--jsonl', lines, '--batch-size', 8, start_new_session=True) as process:
        while not table.exists() or table.read_bytes().count(b'\n') < 20:
            time.sleep(0.01)
            assert process.poll() is None
        # Ctrl-C reaches all processes of the terminal; a killed one cannot tell the others, which notice it themselves
        os.killpg(process.pid, how)
        err = process.stderr.read().decode()
    assert process.returncode == status
    expected = [str(path) for path in sorted(many.iterdir())]
    text = table.read_text(encoding='utf-8')
    assert text.endswith(',\n')
    rows = rows_of(text)
    assert 19 <= len(rows) < 2000
    assert [row['path'] for row in rows] == expected[:len(rows)]
    assert all(row['name_3'] and row['error'] == '' for row in rows)
    written = [json.loads(line)['path'] for line in lines.read_text(encoding='utf-8').splitlines()]
    assert written == expected[:len(written)] and abs(len(written) - len(rows)) <= 1
    if how == signal.SIGINT:
        first, *rest = err.splitlines()[1:]
        assert re.fullmatch(r'fgvc-zoo: stopped after \d+ of 2000 images', first) and not rest, err


def test_progress_on_a_terminal(run_folder, many, tmp_path):
    """With rows in a file, the bar on the terminal shows the count, the images a second and the time left."""
    pty = pytest.importorskip('pty')
    reading, writing = pty.openpty()
    env = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1', COLUMNS='120', TERM='xterm')
    command = [sys.executable, '-m', 'fgvc_zoo_cli', 'predict', str(many), '--model', str(run_folder), '--csv', str(tmp_path / 'a.csv')]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=writing) as process:
        os.close(writing)
        seen = b''
        while True:
            try:
                seen += os.read(reading, 1 << 16)
            except OSError:  # the other end is closed
                break
        assert process.stdout.read() == b''
    os.close(reading)
    assert process.returncode == 0
    text = re.sub(rb'\x1b\[[0-9;?]*[a-zA-Z]', b'', seen)  # without colours
    assert re.search(rb'predicting .* \d+/2000 \d:\d\d:\d\d \d+\.\d images/s', text), text[-2000:]
    assert len(rows_of((tmp_path / 'a.csv').read_text(encoding='utf-8'))) == 2000


def test_urls_are_told_from_files(call, run_folder, photos):
    status, out, err = call('predict', 'https://example.org/a//b.jpg', photos / 'test', '--model', run_folder, '--json')
    assert status == 1
    assert json.loads(out)[0]['error'].startswith("'https://example.org/a") and 'predictions' in json.loads(out)[1]
    assert 'is a URL, and URLs are not read: download the image' in err
