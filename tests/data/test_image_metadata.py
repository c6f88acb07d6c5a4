"""Metadata of images: the orientation is applied, and damaged metadata do not cost the pixels."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fgvc_zoo.data import image_size, load_image

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)

# the EXIF standard: orientation -> the visual sides at which the stored 0th row and 0th column lie
EXIF_SIDES = {
    1: ('top', 'left'), 2: ('top', 'right'), 3: ('bottom', 'right'), 4: ('bottom', 'left'),
    5: ('left', 'top'), 6: ('right', 'top'), 7: ('right', 'bottom'), 8: ('left', 'bottom'),
}


def displayed(stored: np.ndarray, orientation: int) -> np.ndarray:
    """Puts every stored pixel where the standard says that it is seen."""
    height, width = stored.shape[:2]
    row_side, column_side = EXIF_SIDES[orientation]
    upright = row_side in ('top', 'bottom')
    seen = np.zeros((height, width, 3) if upright else (width, height, 3), np.uint8)
    for row in range(height):
        for column in range(width):
            down, right = (row, column) if upright else (column, row)
            vertical, horizontal = (row_side, column_side) if upright else (column_side, row_side)
            y = down if vertical == 'top' else seen.shape[0] - 1 - down
            x = right if horizontal == 'left' else seen.shape[1] - 1 - right
            seen[y, x] = stored[row, column]
    return seen


def decoded(path: Path) -> np.ndarray:
    return np.asarray(load_image(path))


@pytest.mark.parametrize('suffix', ['.png', '.tif'])  # Pillow itself turns TIFFs, and no other format
@pytest.mark.parametrize('orientation', EXIF_SIDES)
def test_exif_orientation(tmp_path: Path, orientation: int, suffix: str) -> None:
    path = tmp_path / f'turned{suffix}'
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(COLOURS).save(path, exif=exif)
    wanted = displayed(COLOURS, orientation)
    np.testing.assert_array_equal(decoded(path), wanted)
    assert image_size(path) == (wanted.shape[1], wanted.shape[0])


def exif(*entries: tuple[int, int, bytes]) -> bytes:
    """Entries (tag, type, value of at most four bytes) as EXIF, big-endian; written by hand, since Pillow would correct wrong types."""
    size = {3: 2, 7: 1}  # of a value in bytes, by its type
    body = b''.join(struct.pack('>HHI', tag, kind, len(value) // size[kind]) + value.ljust(4, b'\0') for tag, kind, value in entries)
    return b'Exif\0\0MM\0*' + struct.pack('>IH', 8, len(entries)) + body + bytes(4)


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_metadata_of_a_wrong_type_do_not_cost_the_pixels(tmp_path: Path, suffix: str) -> None:
    """XResolution is a fraction; here it is text."""
    path = tmp_path / f'odd{suffix}'
    pixels = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / f'plain{suffix}')
    Image.fromarray(pixels).save(path, exif=exif((0x0112, 3, b'\0\6'), (0x011A, 7, b'72.0')))
    np.testing.assert_array_equal(decoded(path), np.rot90(decoded(tmp_path / f'plain{suffix}'), -1))
    assert image_size(path) == (6, 9)


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.webp', '.tif'])
def test_random_metadata_do_not_cost_the_pixels(tmp_path: Path, suffix: str) -> None:
    draw = random.Random(0)
    for number in range(100):
        path = tmp_path / f'{number}{suffix}'
        if suffix == '.tif':  # its tags are the picture's own, so only foreign ones are odd
            Image.new('RGB', (6, 4)).save(path, tiffinfo={0x9C9B: draw.randbytes(7)})
        else:
            entries = [(draw.choice([0x0112, 0x011A, 0x8769, 0x8825, draw.randrange(65536)]), draw.choice([3, 7]), draw.randbytes(4))
                       for _ in range(draw.randrange(1, 5))]
            Image.new('RGB', (6, 4)).save(path, exif=exif(*entries)[:draw.randrange(12, 80)])
        size = load_image(path).size
        assert sorted(size) == [4, 6] and image_size(path) == size
