"""`fgvc-zoo predict`: files, folders, pictures, and images that cannot be read."""

import json
import os
import subprocess
import sys
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
