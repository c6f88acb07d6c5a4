"""`fgvc-zoo explain`."""

import numpy as np
from PIL import Image

from fgvc_zoo.explain import PAGE


def test_pictures_of_photographs_with_examples(call, run_folder, photos, tmp_path):
    folder = photos / 'test' / 'kiwi'
    status, out, err = call('explain', folder, '--model', run_folder, '--output', tmp_path / 'a')
    assert (status, out) == (0, '') and '2 photographs are in' in err
    assert sorted(path.name for path in (tmp_path / 'a').iterdir()) == ['0.explained.png', '1.explained.png']
    status, _, _ = call('explain', folder / '0.jpg', '--model', run_folder, '--output', tmp_path / 'b', '--examples', photos,
                        '--theme', 'dark', '--top', 2)
    plain, full = (Image.open(tmp_path / name / '0.explained.png') for name in ('a', 'b'))
    assert status == 0 and plain.getpixel((2, 2)) == (255, 255, 255) and max(full.getpixel((2, 2))) < 40
    assert np.asarray(full)[-200:].std() > 30  # photographs are at the end


def test_one_page_of_all(call, run_folder, photos, tmp_path):
    status, _, err = call('explain', photos / 'test', '--model', run_folder, '--output', tmp_path, '--html')
    assert status == 0 and f'6 photographs are in {tmp_path / PAGE}' in err
    assert [path.name for path in tmp_path.iterdir()] == [PAGE]
    text = (tmp_path / PAGE).read_text(encoding='utf-8')
    assert text.count('<section>') == 6 and str(run_folder) in text


def test_what_cannot_be_read_is_reported_and_the_rest_is_drawn(call, run_folder, photos, tmp_path):
    bad = tmp_path / 'bad.jpg'
    bad.write_bytes(b'no image')
    good = photos / 'test' / 'kiwi' / '0.jpg'
    for options in ((), ('--html',)):
        status, _, err = call('explain', bad, good, '--model', run_folder, '--output', tmp_path / 'out', *options)
        assert status == 1 and 'bad.jpg' in err and '1 of 2 images could not be read' in err
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['0.explained.png', PAGE]


def test_mistakes_are_found_before_the_work(call, run_folder, photos, tmp_path, monkeypatch):
    (tmp_path / PAGE).write_text('mine')
    for options, words in ((('--theme', 'pink'), "theme 'pink'"), (('--html',), 'was not written by fgvc-zoo'),
                           (('--examples', tmp_path / 'missing'), 'missing')):
        status, _, err = call('explain', photos, '--model', run_folder, '--output', tmp_path, *options)
        assert status == 2 and words in err, options
    assert [path.name for path in tmp_path.iterdir()] == [PAGE]
