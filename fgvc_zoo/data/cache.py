"""Decoded images in memory, so that a small data set is read and decoded once."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path, PurePosixPath

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


def _available_bytes() -> float:
    """Memory that this process may still take, in bytes; -1 if it is unknown."""
    return min(_machine_bytes(), _group_bytes())


def _machine_bytes() -> int:
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


def _group_bytes() -> float:
    """What the control group of this process may still take, in bytes; infinite without a limit.

    Containers and batch systems limit memory so; the machine's own figures do not show it.
    """
    with suppress(OSError):
        for line in Path('/proc/self/cgroup').read_text(encoding='ascii').splitlines():
            _, controllers, path = line.split(':', 2)
            if controllers in ('', 'memory'):
                return min(map(_left_in, _group_folders(controllers, path)), default=math.inf)
    return math.inf


def _group_folders(controllers: str, path: str) -> list[Path]:
    """The folder of a control group and of those above it. In a container its path may begin outside; the root is its own then."""
    root = Path('/sys/fs/cgroup') / controllers
    below = PurePosixPath(path).relative_to('/').parts
    return [root.joinpath(*below[:count]) for count in range(len(below) + 1)]


def _left_in(folder: Path) -> float:
    """What one control group may still take. Files in its memory do not count: the kernel drops them."""
    for limit, usage, key in (('memory.max', 'memory.current', 'inactive_file'),
                              ('memory.limit_in_bytes', 'memory.usage_in_bytes', 'total_inactive_file')):
        with suppress(OSError, ValueError, KeyError):  # there is no such file, or the limit is 'max'
            largest = int((folder / limit).read_text(encoding='ascii'))
            used = int((folder / usage).read_text(encoding='ascii'))
            files = dict(line.split() for line in (folder / 'memory.stat').read_text(encoding='ascii').splitlines())[key]
            return largest - used + int(files)
    return math.inf
