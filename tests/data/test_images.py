from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from fgvc_zoo._errors import UserError
from fgvc_zoo.data import ImageError, image_size, load_image
from fgvc_zoo.data.files import IMAGE_FORMATS

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)

def decoded(path: Path) -> np.ndarray:
    image = load_image(path)
    assert image.mode == 'RGB'
    return np.asarray(image)


@pytest.mark.parametrize('suffix', ['.png', '.bmp', '.tiff', '.ppm'])
def test_lossless_rgb_is_exact(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f'a{suffix}'
    Image.fromarray(COLOURS).save(path)
    np.testing.assert_array_equal(decoded(path), COLOURS)


@pytest.mark.parametrize('suffix', ['.jpg', '.webp'])
def test_lossy_rgb_is_close(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f'a{suffix}'
    Image.new('RGB', (20, 10), (200, 100, 50)).save(path, quality=95)
    np.testing.assert_allclose(decoded(path), np.broadcast_to([200, 100, 50], (10, 20, 3)), atol=5)


def test_the_extension_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / 'really_a_png.jpg'
    Image.fromarray(COLOURS).save(path, format='PNG')
    np.testing.assert_array_equal(decoded(path), COLOURS)


def test_one_pixel(tmp_path: Path) -> None:
    path = tmp_path / 'dot.png'
    Image.new('RGB', (1, 1), (1, 2, 3)).save(path)
    assert decoded(path).tolist() == [[[1, 2, 3]]]


def test_animation_gives_first_frame(tmp_path: Path) -> None:
    path = tmp_path / 'moving.gif'
    frames = [Image.new('RGB', (4, 3), colour) for colour in ('red', 'blue', 'green')]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert (decoded(path) == [255, 0, 0]).all()


def test_phone_picture_of_several_parts_gives_the_first(tmp_path: Path) -> None:
    path = tmp_path / 'phone.jpg'
    parts = [Image.new('RGB', (16, 16), colour) for colour in ((200, 100, 50), (0, 0, 0))]
    parts[0].save(path, format='MPO', save_all=True, append_images=parts[1:])
    np.testing.assert_allclose(decoded(path), np.broadcast_to([200, 100, 50], (16, 16, 3)), atol=5)


def test_cmyk(tmp_path: Path) -> None:
    path = tmp_path / 'print.tiff'
    inks = RNG.integers(0, 256, (4, 6, 4), dtype=np.uint8)
    Image.frombytes('CMYK', (6, 4), inks.tobytes()).save(path)
    cyan_magenta_yellow, black = inks[..., :3].astype(float), inks[..., 3:].astype(float)
    np.testing.assert_allclose(decoded(path), (255 - cyan_magenta_yellow) * (255 - black) / 255, atol=1)


def test_cmyk_jpeg(tmp_path: Path) -> None:
    path = tmp_path / 'print.jpg'
    Image.new('CMYK', (16, 16), (0, 255, 255, 0)).save(path, quality=95)
    np.testing.assert_allclose(decoded(path), np.broadcast_to([255, 0, 0], (16, 16, 3)), atol=5)


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    path = tmp_path / 'glass.png'
    pixels = RNG.integers(0, 256, (5, 6, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    alpha = pixels[..., 3:] / 255
    np.testing.assert_allclose(decoded(path), pixels[..., :3] * alpha + 255 * (1 - alpha), atol=1)


def test_grey_transparency_is_laid_on_white(tmp_path: Path) -> None:
    path = tmp_path / 'fog.png'
    Image.frombytes('LA', (2, 1), bytes([10, 255, 10, 0])).save(path)
    assert decoded(path).tolist() == [[[10] * 3, [255] * 3]]


@pytest.mark.parametrize('transparency', [0, b'\x00\xff'], ids=['index', 'alphas'])
def test_palette_with_transparency(tmp_path: Path, transparency: int | bytes) -> None:
    path = tmp_path / 'icon.png'
    image = Image.new('P', (2, 1))
    image.putpalette([9, 9, 9, 200, 100, 50])
    image.putpixel((1, 0), 1)
    image.save(path, transparency=transparency)
    assert decoded(path).tolist() == [[[255, 255, 255], [200, 100, 50]]]


def test_transparent_key_colour(tmp_path: Path) -> None:
    path = tmp_path / 'key.png'
    Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)).save(path, transparency=(1, 2, 3))
    assert decoded(path).tolist() == [[[255, 255, 255], [4, 5, 6]]]


def test_one_bit(tmp_path: Path) -> None:
    path = tmp_path / 'fax.png'
    image = Image.new('1', (2, 1))
    image.putpixel((1, 0), 1)
    image.save(path)
    assert decoded(path).tolist() == [[[0] * 3, [255] * 3]]


@pytest.mark.parametrize('suffix', ['.png', '.tiff', '.pgm'])
def test_sixteen_bit_grey_keeps_its_brightness(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f'scan{suffix}'
    values = np.linspace(0, 65535, 60).astype(np.uint16).reshape(6, 10)
    if suffix == '.pgm':
        path.write_bytes(b'P5 10 6 65535\n' + values.astype('>u2').tobytes())
    else:
        Image.fromarray(values).save(path)
    wanted = [[[round(int(value) * 255 / 65535)] * 3 for value in row] for row in values]
    assert decoded(path).tolist() == wanted


@pytest.mark.parametrize('values', [
    np.array([[0, 70000]], np.int32), np.array([[-1, 5]], np.int32), np.array([[0.0, 1.0]], np.float32)])
def test_unknown_brightness_range_is_refused(tmp_path: Path, values: np.ndarray) -> None:
    path = tmp_path / 'depth.tiff'
    Image.fromarray(values).save(path)
    with pytest.raises(ImageError, match=r'depth\.tiff.*8 or 16 bits') as caught:
        load_image(path)
    assert 'damaged' not in str(caught.value)


def test_open_file() -> None:
    file = io.BytesIO()
    Image.fromarray(COLOURS).save(file, 'PNG')
    file.seek(0)
    np.testing.assert_array_equal(np.asarray(load_image(file)), COLOURS)
    with pytest.raises(ImageError, match='not an image'):
        load_image(io.BytesIO(b'no picture at all'))


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Kind -> (path, what its message says)."""
    picture = Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    paths = {kind: folder / name for kind, name in (
        ('missing', 'missing.jpg'), ('empty', 'empty.jpg'), ('text', 'text.jpg'), ('folder', 'folder.jpg'),
        ('cut jpeg', 'cut.jpg'), ('cut png', 'cut.png'), ('cut gif', 'cut.gif'), ('cut webp', 'cut.webp'),
        ('damaged png', 'damaged.png'), ('header only', 'header.png'), ('postscript', 'drawing.eps'))}
    paths['empty'].write_bytes(b'')
    paths['text'].write_text('I am a picture, honestly')
    paths['folder'].mkdir()
    for kind in ('cut jpeg', 'cut png', 'cut gif', 'cut webp', 'damaged png', 'header only', 'postscript'):
        picture.save(paths[kind])
        content = paths[kind].read_bytes()
        if kind.startswith('cut'):
            paths[kind].write_bytes(content[:len(content) // 2])
        elif kind == 'damaged png':
            paths[kind].write_bytes(content[:200] + bytes(100) + content[300:])
        elif kind == 'header only':
            paths[kind].write_bytes(content[:33])
    says = {'missing': 'does not exist', 'empty': 'is empty', 'text': 'not an image', 'folder': 'is a folder',
            'header only': 'not an image', 'postscript': 'not an image', 'cut webp': ''}
    return {kind: (path, says.get(kind, 'damaged or cut off')) for kind, path in paths.items()}


@pytest.mark.parametrize('kind', [
    'missing', 'empty', 'text', 'folder', 'cut jpeg', 'cut png', 'cut gif', 'cut webp', 'damaged png', 'header only',
    'postscript'])
def test_bad_file_is_one_sentence_that_names_it(tmp_path: Path, kind: str) -> None:
    path, says = bad_files(tmp_path)[kind]
    with pytest.raises(ImageError) as caught:
        load_image(path)
    message = str(caught.value)
    assert str(path) in message and says in message and '\n' not in message
    assert isinstance(caught.value, UserError)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_impossible_name() -> None:
    with pytest.raises(ImageError, match='cannot be opened'):
        load_image('nul\0byte.png')


def test_too_many_pixels_are_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / 'bomb.png'
    Image.new('1', (30, 20)).save(path)
    assert load_image(path, max_pixels=600).size == (30, 20)
    monkeypatch.setattr(ImageFile.ImageFile, 'load', lambda self: pytest.fail('it was decoded'))
    with pytest.raises(ImageError, match=r'bomb\.png.* has 30 x 20 pixels, more than the 599 allowed'):
        load_image(path, max_pixels=599)


def test_pillows_own_limit_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / 'bomb.png'
    Image.new('1', (30, 20)).save(path)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    with pytest.raises(ImageError, match=r'bomb\.png.*far more pixels'):
        load_image(path)


def test_image_size_of_a_bad_file(tmp_path: Path) -> None:
    (tmp_path / 'text.jpg').write_text('text')
    with pytest.raises(ImageError, match=r'text\.jpg'):
        image_size(tmp_path / 'text.jpg')


def test_a_long_narrow_image_is_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PNG of a few kilobytes can have 99,999,999 rows of one pixel, which take long to decode."""
    path = tmp_path / 'bomb.png'
    header = struct.pack('>IIBBBBB', 1, 99_999_999, 8, 0, 0, 0, 0)
    chunk = b'IHDR' + header
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + struct.pack('>I', 13) + chunk + struct.pack('>I', zlib.crc32(chunk))
                     + struct.pack('>I', 4) + b'IDAT' + bytes(8))
    monkeypatch.setattr(ImageFile.ImageFile, 'load', lambda self: pytest.fail('it was decoded'))
    with pytest.raises(ImageError, match=r'bomb\.png.* a side of 99,999,999 pixels, more than the 65,535'):
        load_image(path)


@pytest.mark.parametrize('name', ['a.heic', 'a.jpg'])
def test_an_iphone_photograph_says_what_is_missing(tmp_path: Path, name: str) -> None:
    if 'HEIF' in IMAGE_FORMATS:
        pytest.skip('pillow-heif is installed')
    (tmp_path / name).write_bytes(b'\0\0\0\x18ftypheic' + bytes(40))
    with pytest.raises(ImageError, match='pip install pillow-heif'):
        load_image(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='this system has no named pipes')
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'pipe.jpg')
    with pytest.raises(ImageError, match=r"pipe\.jpg' is a pipe or a device"):
        load_image(tmp_path / 'pipe.jpg')


@pytest.mark.skipif(not os.path.exists('/dev/fd'), reason='this system has no paths of open files')
def test_a_pipe_of_the_shell_is_read() -> None:
    reader, writer = os.pipe()
    with open(reader, 'rb'):
        with open(writer, 'wb') as file:
            Image.fromarray(COLOURS).save(file, 'PPM')
        np.testing.assert_array_equal(decoded(Path(f'/dev/fd/{reader}')), COLOURS)
        with pytest.raises(ImageError, match='is empty'):
            load_image(f'/dev/fd/{reader}')
