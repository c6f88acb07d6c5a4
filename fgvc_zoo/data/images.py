"""Safe decoding: any image file becomes an upright 8-bit RGB image, or an error of one sentence."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from fgvc_zoo._errors import UserError
from fgvc_zoo.data.files import HEIF_EXTENSIONS, IMAGE_FORMATS, is_url

MAX_PIXELS = 100_000_000
MAX_SIDE = 65_535  # a JPEG can have no more; decoding millions of rows takes long, however narrow they are

_ORIENTATION_TAG = 0x0112
# EXIF's orientations, and what turns them upright
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90}


class ImageError(UserError):
    """A file that cannot be used as an image. The message is one sentence that names the file."""


def load_image(source: str | Path | BinaryIO, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode an image.

    Applies the EXIF orientation, takes the first frame of an animation, blends transparency with white, scales 16-bit grey to 8 bits, and
    converts CMYK, palettes and 1-bit images.

    Args:
        source: A path, or a seekable binary file opened for reading.
        max_pixels: Images with more pixels, or with a side of more than `MAX_SIDE`, are refused before they are decoded. Pillow's own
            limit of twice `PIL.Image.MAX_IMAGE_PIXELS` also applies.

    Returns:
        An image of mode RGB, at least 1x1.

    Raises:
        ImageError: The file is missing, a folder, a named pipe, a device, empty, truncated, damaged, not an image, or too large.
    """
    with _opened(source, max_pixels) as image:
        image.load()
        orientation = _orientation(image)
        return _to_rgb(image.transpose(_TURNS[orientation]) if orientation in _TURNS else image)


def image_size(source: str | Path | BinaryIO) -> tuple[int, int]:
    """(width, height) in pixels of the image as `load_image` returns it, from the file's header.

    Raises:
        ImageError: The file is missing, a folder, a named pipe, a device, empty or not an image.
    """
    with _opened(source, MAX_PIXELS) as image:
        width, height = image.size
        if isinstance(image, TiffImageFile):  # Pillow gives the stored size or the upright one, by its version
            width, height = int(image.tag_v2[IMAGEWIDTH]), int(image.tag_v2[IMAGELENGTH])
        on_its_side = _orientation(image) in (5, 6, 7, 8)
        return (height, width) if on_its_side else (width, height)


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8. Nothing else of the metadata is used, and metadata that cannot be read do not cost the pixels."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG)
    except Exception:  # Pillow raises many types on damaged metadata
        return 1
    return value if value in _TURNS else 1


@contextmanager
def _opened(source: str | Path | BinaryIO, max_pixels: int) -> Iterator[Image.Image]:
    """The image with its header read. Any error, here or in the caller's block, becomes an ImageError."""
    if isinstance(source, (str, Path)):
        name = str(source)
        with _open_file(name) as file:
            yield from _decoding(file, name, max_pixels)
    else:
        yield from _decoding(source, str(getattr(source, 'name', 'given')), max_pixels)


def _open_file(path: str) -> BinaryIO:
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISREG(mode):
            return open(path, 'rb')
        if stat.S_ISFIFO(mode) and path.startswith(('/dev/', '/proc/')):  # standard input, or a shell's <(command)
            with open(path, 'rb') as pipe:
                return io.BytesIO(pipe.read())
    except FileNotFoundError:
        if is_url(path):
            url = path if '://' in path else path.replace(':/', '://', 1)  # pathlib made one slash of two
            raise ImageError(f"'{url}' is a URL, and URLs are not read: download the image and give its file") from None
        raise ImageError(f"the image '{path}' does not exist") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise ImageError(f"the image '{path}' cannot be opened: {getattr(error, 'strerror', None) or error}") from error
    # a named pipe is not opened, since that waits until another program writes to it
    raise ImageError(f"'{path}' is {'a folder' if stat.S_ISDIR(mode) else 'a pipe or a device'}, not an image")


def _decoding(file: BinaryIO, name: str, max_pixels: int) -> Iterator[Image.Image]:
    try:
        with Image.open(file, formats=IMAGE_FORMATS) as image:
            width, height = image.size
            if max(width, height) > MAX_SIDE:
                raise ImageError(f"the image '{name}' has a side of {max(width, height):,} pixels, more than the {MAX_SIDE:,} allowed")
            if width * height > max_pixels:
                raise ImageError(
                    f"the image '{name}' has {width} x {height} pixels, more than the {max_pixels:,} allowed")
            yield image
    except ImageError:
        raise
    except _UnknownRange as error:
        raise ImageError(f"the image '{name}' has pixels of {error}, whose range is unknown: save it with 8 or 16 bits") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(f"the image '{name}' has far more pixels than the {max_pixels:,} allowed") from None
    except UnidentifiedImageError:
        empty = file.seek(0, 2) == 0
        file.seek(0)
        # such files are also found with the ending .jpg
        is_heif = name.lower().endswith(HEIF_EXTENSIONS) or file.read(12)[4:] in (b'ftypheic', b'ftypheix', b'ftypmif1')
        heif = ' (pip install pillow-heif to read it)' if is_heif and 'HEIF' not in IMAGE_FORMATS else ''
        what = f"the image '{name}' is empty" if empty else f"'{name}' is not an image that can be read{heif}"
        raise ImageError(what) from None
    except Exception as error:  # Pillow raises many types on damaged files: OSError, SyntaxError, ...
        raise ImageError(f"the image '{name}' is damaged or cut off: {error or type(error).__name__}") from error


class _UnknownRange(Exception):
    """Pixels are numbers of which nobody knows what is black and what is white."""


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any mode to RGB.

    Raises:
        _UnknownRange: It is not known which numbers are black and white.
    """
    if image.mode.startswith('I'):  # 'I;16' in either byte order, and 'I', which some readers use for 16 bits
        return _grey16_to_rgb(np.asarray(image))
    if image.mode == 'F':
        raise _UnknownRange('32-bit floats')
    if image.mode in ('RGBA', 'LA', 'PA') or 'transparency' in image.info:
        canvas = Image.new('RGBA', image.size, 'white')
        canvas.alpha_composite(image.convert('RGBA'))
        return canvas.convert('RGB')
    return image.convert('RGB')


def _grey16_to_rgb(values: np.ndarray) -> Image.Image:
    """(H, W) integers in [0, 65535] to 8 bits, rounded."""
    if values.min() < 0 or values.max() > 65535:
        raise _UnknownRange('32-bit integers')
    # 65535 * 255 + 32767 still fits into 32 bits
    grey = (values.astype(np.uint32) * 255 + 32767) // 65535
    return Image.fromarray(grey.astype(np.uint8)).convert('RGB')
