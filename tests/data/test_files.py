"""One list of formats, one walk over folders, and new names that no other file has."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image, features

from fgvc_zoo._errors import UserError
from fgvc_zoo.data import IMAGE_EXTENSIONS, ImageError, find_images, free_names, is_url, load_image
from fgvc_zoo.data.files import IMAGE_FORMATS, describe_left_out, walk_images


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_formats_are_those_that_pillow_reads() -> None:
    for ending in ('.jpg', '.jpeg', '.jfif', '.jpe', '.png', '.gif', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm', '.pbm'):
        assert ending in IMAGE_EXTENSIONS
    assert ('.avif' in IMAGE_EXTENSIONS) == features.check('avif')
    # their readers start programs or open other files
    assert not {'EPS', 'WMF', 'FPX', 'GBR', 'IMT'} & set(IMAGE_FORMATS) and '.eps' not in IMAGE_EXTENSIONS


@pytest.mark.skipif(not features.check('avif'), reason='this Pillow has no AVIF')
def test_avif_is_read(tmp_path: Path) -> None:
    Image.new('RGB', (8, 6), 'red').save(tmp_path / 'a.avif')
    assert load_image(tmp_path / 'a.avif').size == (8, 6)
    assert find_images([tmp_path]) == [tmp_path / 'a.avif']


def test_walk_counts_what_is_no_image(tmp_path: Path) -> None:
    touch(tmp_path, 'b/2.JPG', 'b/10.png', 'b/deep/1.webp', 'b/notes.txt', 'b/._2.jpg', 'a.gif', 'x.heic', 'y.HEIC', 'plain',
          '.thumbnails/a.jpg', 'b/.ipynb_checkpoints/2.jpg')
    content = walk_images(tmp_path)
    assert content.images == [tmp_path / name for name in ('a.gif', 'b/10.png', 'b/2.JPG', 'b/deep/1.webp')]
    left_out = content.left_out + Counter()
    if '.heic' in IMAGE_EXTENSIONS:
        pytest.skip('pillow-heif is installed')
    assert left_out == {'.heic': 2, '.txt': 1, '': 1}
    assert describe_left_out(left_out).startswith('2 .heic (pip install pillow-heif to read them), 1 ')


def test_links_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, 'photos/a.jpg', 'photos/deep/b.jpg', 'elsewhere/c.jpg')
    photos = tmp_path / 'photos'
    for name, target in (('again', photos), ('up', tmp_path), ('deep/self', photos / 'deep'), ('linked', tmp_path / 'elsewhere'),
                         ('linked2', tmp_path / 'elsewhere')):
        os.symlink(target, photos / name)
    assert walk_images(photos).images == [photos / 'a.jpg', photos / 'deep' / 'b.jpg', photos / 'linked' / 'c.jpg']


def test_find_images(tmp_path: Path) -> None:
    touch(tmp_path, 'b/2.jpg', 'b/notes.txt', 'a.gif')
    missing, text = tmp_path / 'missing.jpg', tmp_path / 'b' / 'notes.txt'
    with pytest.warns(UserWarning, match='not read: 1 .txt'):
        assert find_images([missing, str(tmp_path / 'b'), text]) == [missing, tmp_path / 'b' / '2.jpg', text]
    long = tmp_path / ('x' * 300 + '.jpg')
    assert find_images([long]) == [long]


def test_a_folder_without_images(tmp_path: Path) -> None:
    touch(tmp_path, 'good/a.jpg')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match='holds no images'):
        find_images([tmp_path / 'empty'])
    assert find_images([tmp_path / 'empty', tmp_path / 'good']) == [tmp_path / 'empty', tmp_path / 'good' / 'a.jpg']


def test_free_names(tmp_path: Path) -> None:
    touch(tmp_path, 'p.png', 'Gala.explained.png')
    paths = [Path(name) for name in ('x/a.jpg', 'y/a.jpg', 'y/a_2.jpg', 'z/p.png', 'z/A.jpg', 'gala.jpg', '🍎' * 60 + '.jpg')]
    names = [path.name for path in free_names(paths, tmp_path, '.explained.png')]
    assert names[:6] == ['a.explained.png', 'a_2.explained.png', 'a_2_2.explained.png', 'p.explained.png', 'A_3.explained.png',
                         'gala_2.explained.png']
    assert len(os.fsencode(names[6])) < 256
    nameless, = free_names([Path(os.fsdecode(b'\xff\xfe.jpg'))], tmp_path, '.explained.png')
    assert nameless.name == 'photograph.explained.png'  # a name that begins with a dot would hide it
    assert free_names(paths[:1], tmp_path / 'new', '.png') == [tmp_path / 'new' / 'a.png']


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, 'a.jpg', 'locked/b.jpg')
    scandir = os.scandir

    def refuse(path: str) -> object:
        if Path(path).name == 'locked':
            raise PermissionError(13, 'Permission denied', str(path))
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    with pytest.warns(UserWarning, match=r"locked' cannot be read and is left out: Permission denied"):
        assert walk_images(tmp_path).images == [tmp_path / 'a.jpg']


@pytest.mark.parametrize(('text', 'url'), [
    ('https://host/photo.jpg', True), ('HTTP://host', True), ('https:/host/photo.jpg', True), ('s3://bucket/key', True),
    ('file:///home/photo.jpg', True), ('photo.jpg', False), ('/data/https/photo.jpg', False), ('C:/photos', False), ('C:\\photos', False),
    ('folder:/data', False), ('cub200:PATH', False), ('https:', False), ('https', False), ('./https://x', False)])
def test_urls(text: str, url: bool) -> None:
    assert is_url(text) == url
    assert is_url(Path(text)) == (url or text == './https://x')  # pathlib drops the './'


def test_a_file_whose_name_looks_like_a_url_is_read(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'https:' / 'host').mkdir(parents=True)
    shutil.copy(next(photos.rglob('*.jpg')), tmp_path / 'https:' / 'host' / 'a.jpg')
    assert load_image('https://host/a.jpg').size == (90, 72)
    with pytest.raises(ImageError, match="'https://host/b.jpg' is a URL, and URLs are not read: download"):
        load_image(Path('https://host/b.jpg'))
