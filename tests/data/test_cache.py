from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fgvc_zoo.data import ImageError, ImageFolder, cache, fits_in_memory, image_size, load_image


@pytest.mark.parametrize(('size', 'short_side', 'expected'), [
    ((400, 200), 100, (200, 100)), ((200, 400), 100, (100, 200)), ((301, 200), 100, (150, 100)),
    ((100, 100), 100, (100, 100)), ((99, 500), 100, (99, 500)), ((1, 1), 5, (1, 1)), ((3, 1000), 2, (2, 667)),
])
def test_shrunk_size(size: tuple[int, int], short_side: int, expected: tuple[int, int]) -> None:
    assert cache.shrunk_size(size, short_side) == expected


def test_decode_all_keeps_order_and_reports(tmp_path: Path) -> None:
    paths = [tmp_path / f'{level}.png' for level in range(6)]
    for level, path in enumerate(paths):
        Image.new('RGB', (40, 30 + level), (level, 2 * level, 3 * level)).save(path)
    reports: list[tuple[int, int]] = []
    arrays = cache.decode_all(6, lambda index: load_image(paths[index]), 15, lambda done, total: reports.append((done, total)))
    assert reports == [(done, 6) for done in range(1, 7)]
    for level, array in enumerate(arrays):
        assert array.shape[0] == 15 and array.dtype == np.uint8
        assert (array == [level, 2 * level, 3 * level]).all()


def test_small_images_are_cached_as_they_are(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'a.png')
    [array] = cache.decode_all(1, lambda _: load_image(tmp_path / 'a.png'), 9)
    np.testing.assert_array_equal(array, pixels)


def test_decode_all_keeps_the_error_of_a_bad_file(tmp_path: Path) -> None:
    Image.new('RGB', (4, 4)).save(tmp_path / 'good.png')
    (tmp_path / 'bad.png').write_text('text')
    paths = [tmp_path / 'good.png', tmp_path / 'bad.png', tmp_path / 'missing.png']
    good, bad, missing = cache.decode_all(3, lambda index: load_image(paths[index]), 4)
    assert good.shape == (4, 4, 3)
    assert isinstance(bad, ImageError) and 'bad.png' in str(bad)
    assert isinstance(missing, ImageError) and 'missing.png' in str(missing)
    assert cache.cache_bytes(3, lambda index: image_size(paths[index]), 4) == 4 * 4 * 3


def test_cache_bytes(tmp_path: Path) -> None:
    for number in range(150):  # more than are probed, the wide ones all at the end
        path = tmp_path / 'zoo' / 'cat' / f'{number:03}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('1', (40 if number < 76 else 80, 20)).save(path)
    shutil.copytree(tmp_path / 'zoo' / 'cat', tmp_path / 'zoo' / 'dog')
    dataset = ImageFolder(tmp_path / 'zoo', 'train')
    dataset.paths = dataset.paths[:150]
    assert dataset.cache_bytes(10) == (76 * 20 + 74 * 40) * 10 * 3
    assert dataset.cache_bytes(50) == (76 * 40 + 74 * 80) * 20 * 3
    dataset.cache(10)
    assert dataset._cache is not None and sum(array.nbytes for array in dataset._cache) == dataset.cache_bytes(10)


def test_a_quarter_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, '_available_bytes', lambda: 4000)
    assert fits_in_memory(1000) and not fits_in_memory(1001)


def test_memory_of_this_machine() -> None:
    assert not fits_in_memory(10**18)


def test_memory_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> str:
        raise FileNotFoundError
    monkeypatch.setattr(Path, 'read_text', missing)
    monkeypatch.setattr(os, 'sysconf', {'SC_AVPHYS_PAGES': 10, 'SC_PAGE_SIZE': 100}.__getitem__, raising=False)
    assert fits_in_memory(250) and not fits_in_memory(251)
    monkeypatch.delattr(os, 'sysconf')
    assert not fits_in_memory(0)


@pytest.mark.parametrize(('names', 'limit', 'left'), [
    (('memory.max', 'memory.current', 'inactive_file'), '1000', 700),
    (('memory.limit_in_bytes', 'memory.usage_in_bytes', 'total_inactive_file'), '1000', 700),
    (('memory.max', 'memory.current', 'inactive_file'), 'max', math.inf),
    (('other', 'other', 'other'), '1000', math.inf)])
def test_the_limit_of_a_container_counts(
        names: tuple[str, str, str], limit: str, left: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that the kernel drops on demand are free."""
    (tmp_path / names[0]).write_text(limit + '\n')
    (tmp_path / names[1]).write_text('400\n')
    (tmp_path / 'memory.stat').write_text(f'anon 300\n{names[2]} 100\n')
    if names[0] == 'other':
        (tmp_path / 'other').unlink()
    assert cache._left_in(tmp_path) == left
    monkeypatch.setattr(cache, '_group_bytes', lambda: left)
    monkeypatch.setattr(cache, '_machine_bytes', lambda: 10_000)
    assert cache.fits_in_memory(175) and cache.fits_in_memory(176) == (left > 1000)


def test_the_groups_above_count_too() -> None:
    root = Path('/sys/fs/cgroup')
    assert cache._group_folders('', '/job/step') == [root, root / 'job', root / 'job' / 'step']
    assert cache._group_folders('memory', '/') == [root / 'memory']
