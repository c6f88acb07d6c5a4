"""Decoded images in memory, so that a small data set is read and decoded once."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from fgvc_zoo.data.images import ImageError

_PROBES = 64


def decode_all(
        count: int, load: Callable[[int], Image.Image], size: int,
        progress: Callable[[int, int], None] | None = None) -> list[np.ndarray | ImageError]:
    """Decode every image, on several threads (Pillow releases the GIL while decoding).

    Args:
        count: Number of images.
        load: Decodes the image of an index.
        size: Images whose short side is longer are scaled down to it, in pixels.
        progress: Called with (done, total) after each image.

    Returns:
        A (H, W, 3) uint8 array for each image; for one that cannot be read, the error that names it.
    """
    def decode(index: int) -> np.ndarray | ImageError:
        try:
            image = load(index)
        except ImageError as error:
            return error
        return np.array(shrink(image, size))

    arrays: list[np.ndarray | ImageError] = []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for array in pool.map(decode, range(count)):
            arrays.append(array)
            if progress is not None:
                progress(len(arrays), count)
    return arrays


def shrink(image: Image.Image, short_side: int) -> Image.Image:
    """An image whose short side has at most `short_side` pixels: scaled down where it is longer."""
    target = shrunk_size(image.size, short_side)
    return image if target == image.size else image.resize(target, Image.Resampling.BICUBIC)


def shrunk_size(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    """(width, height) with the short side scaled down to `short_side`, the aspect ratio kept; never enlarged."""
    scale = short_side / min(size)
    if scale >= 1:
        return size
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def cache_bytes(count: int, image_size: Callable[[int], tuple[int, int]], size: int) -> int:
    """Estimate the memory that `decode_all` will need for as many images, in bytes.

    Extrapolates from the sizes of about 64 images spread evenly. Those that cannot be read need none.
    """
    probes = range(0, count, max(1, count // _PROBES))
    pixels = 0
    for index in probes:
        with suppress(ImageError):
            width, height = shrunk_size(image_size(index), size)
            pixels += width * height
    return round(count * 3 * pixels / len(probes))


def fits_in_memory(nbytes: int) -> bool:
    """Whether `nbytes` is at most a quarter of the available memory; False if that is unknown."""
    return nbytes <= _available_bytes() // 4


def _available_bytes() -> int:
    try:
        # MemAvailable includes the file cache, which the kernel frees on demand; MemFree does not
        for line in Path('/proc/meminfo').read_text(encoding='ascii').splitlines():
            if line.startswith('MemAvailable:'):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf, macOS not this name
        return -1
