"""`fgvc-zoo data`: what is known, where to get it, and what is wrong with a folder."""

import json

import numpy as np
import pytest
from PIL import Image

from fgvc_zoo.data import LAYOUTS


@pytest.fixture
def photos(tmp_path):
    for split in ('train', 'test'):
        for name in ('kiwi', 'plum'):
            folder = tmp_path / 'photos' / split / name
            folder.mkdir(parents=True)
            for index in range(2):
                coarse = np.random.default_rng([len(split), len(name), ord(name[0]), index]).integers(0, 256, (9, 9, 3)).astype('uint8')
                Image.fromarray(coarse).resize((90, 90)).save(folder / f'{index}.png')
    return tmp_path / 'photos'


def test_all_data_sets(call):
    status, out, _ = call('data')
    assert status == 0
    for name, layout in LAYOUTS.items():
        assert f'{name}:PATH' in out
        assert all(f'{count:,}' in out for split, count in layout.info.images.items() if split in ('train', 'test'))
    facts = json.loads(call('data', '--json')[1])
    assert facts['aircraft100']['images']['train'] == 6667 and set(facts) == set(LAYOUTS)


@pytest.mark.parametrize('name', LAYOUTS)
def test_one_data_set(call, name):
    status, out, _ = call('data', name)
    assert status == 0 and out.startswith(f'{name}: {LAYOUTS[name].info.title}')
    for line in (*LAYOUTS[name].info.folder.splitlines(), LAYOUTS[name].info.citation, LAYOUTS[name].info.home):
        assert line in out


def test_a_folder(call, photos, tmp_path):
    status, out, _ = call('data', photos, '--output', tmp_path / 'report')
    assert status == 0 and "train: 4 images; 2 classes of 2 ('kiwi') to 2 ('plum')" in out and out.endswith('nothing is wrong\n')
    report = json.loads((tmp_path / 'report' / 'report.json').read_text())
    assert report['images'] == dict(train=4, test=4) and report['problems'] == []
    with Image.open(tmp_path / 'report' / 'classes.png') as picture:
        assert picture.size[0] > 500


def test_what_is_wrong(call, photos):
    (photos / 'train' / 'kiwi' / '[bold]\x1b.png').write_bytes((photos / 'test' / 'kiwi' / '0.png').read_bytes())
    (photos / 'train' / 'plum' / '1.png').write_text('no image')
    status, out, _ = call('data', f'folder:{photos}')
    assert status == 1
    assert 'the same file: train/kiwi/[bold]\\x1b.png and test/kiwi/0.png' in out and '\x1b' not in out
    assert 'wrong: 1 images cannot be read' in out and 'wrong: 1 files are in two splits' in out
    status, out, _ = call('data', f'folder:{photos}', '--json')
    assert status == 1 and len(json.loads(out)['problems']) == 2


@pytest.mark.parametrize(('words', 'says'), [
    (['cub20'], "data set 'cub20' is not known, did you mean 'cub200'"),
    (['cub20:/x'], "data layout 'cub20' is not known"),
    (['pets37:/no/such'], "'/no/such' does not exist"),
    (['pets37', '--output', 'x'], '--output takes the report on a folder'),
])
def test_mistakes(call, words, says):
    status, _, err = call('data', *words)
    assert status == 2 and says in err


def test_imagehash_is_named_where_it_is_missing(call, photos, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, 'imagehash', None)
    status, _, err = call('data', photos)
    assert status == 2 and "pip install 'fgvc-zoo[data]'" in err


def test_a_report_among_the_photographs_would_be_a_class(call, photos):
    for place in (photos / 'train' / 'report', photos / 'train' / 'kiwi' / 'report'):
        status, _, err = call('data', photos, '--output', place)
        assert status == 2 and 'would be a class of the photographs' in err and not place.exists()
