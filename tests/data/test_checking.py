from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fgvc_zoo.data import CUB200, check_data
from fgvc_zoo.data.checking import Duplicate


def photo(path: Path, seed: int, quality: int = 95, brightness: float = 1.0) -> None:
    """Smooth noise: other seeds look different, other qualities alike."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3)).astype('uint8')
    image = Image.fromarray(coarse).resize((160, 120), Image.Resampling.BICUBIC)
    image.point(lambda value: value * brightness).save(path, quality=quality)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / 'photos'
    for number, (split, count) in enumerate((('train', 6), ('test', 3))):
        for target, name in enumerate(('kiwi', 'plum')):
            for index in range(count):
                photo(root / split / name / f'{index}.jpg', 100 * number + 10 * target + index)
    return root


def test_nothing_is_wrong(photos: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = check_data(str(photos), lambda done, total: seen.append((done, total)))
    assert report.problems == [] and report.duplicates == [] and report.unreadable == [] and report.expected == {}
    assert report.images == dict(train=12, test=6) and report.classes['test'] == dict(kiwi=3, plum=3)
    assert seen == [(done, 18) for done in range(1, 19)]


def test_duplicates(photos: Path) -> None:
    """The same file in both splits and in two classes; the same picture saved again, brighter and smaller."""
    shutil.copy(photos / 'train' / 'kiwi' / '0.jpg', photos / 'test' / 'kiwi' / 'copy.jpg')
    shutil.copy(photos / 'train' / 'kiwi' / '1.jpg', photos / 'train' / 'plum' / 'wrong.jpg')
    photo(photos / 'test' / 'plum' / 'again.jpg', 12, quality=60, brightness=0.9)
    report = check_data(f'folder:{photos}')
    assert report.duplicates == [
        Duplicate('train/kiwi/0.jpg', 'test/kiwi/copy.jpg', True, True),
        Duplicate('train/plum/2.jpg', 'test/plum/again.jpg', False, True),
        Duplicate('train/kiwi/1.jpg', 'train/plum/wrong.jpg', True, False)]
    assert [problem.split(' ')[:4] for problem in report.problems] == [['1', 'files', 'are', 'in'], ['1', 'pairs', 'of', 'equal']]


@pytest.mark.parametrize('bits', range(4))
def test_hashes_that_differ_in_few_bits_are_found(bits: int) -> None:
    """Against a comparison of all pairs."""
    from fgvc_zoo.data.checking import _duplicates

    generator = np.random.default_rng(bits)
    hashes = [int(value) for value in generator.integers(0, 2**63, 60)]
    for index in range(0, 40, 2):  # every other one resembles the one before
        flipped = generator.choice(64, bits, replace=False)
        hashes[index + 1] = hashes[index] ^ sum(1 << int(bit) for bit in flipped)
    pairs = _duplicates([(str(index), value, f'a/{index}', 0) for index, value in enumerate(hashes)])
    found = {(pair.first, pair.second) for pair in pairs}
    naive = {(f'a/{i}', f'a/{j}') for i in range(60) for j in range(i + 1, 60) if (hashes[i] ^ hashes[j]).bit_count() <= 2}
    assert found == naive and len(naive) >= (20 if bits < 3 else 0)


def test_unreadable(photos: Path) -> None:
    (photos / 'train' / 'plum' / '3.jpg').write_text('no image')
    report = check_data(str(photos))
    assert len(report.unreadable) == 1 and 'plum' in report.unreadable[0] and report.problems == ['1 images cannot be read']


def test_official_numbers_are_compared_for_a_whole_data_set_only(cub: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    root = cub()
    assert check_data(f'cub200:{root}').expected == {}  # three classes of 200
    info = CUB200.info
    monkeypatch.setattr(CUB200, 'info', type(info)(info.title, info.home, info.folder, 3, dict(train=18, test=7)))
    report = check_data(f'cub200:{root}')
    assert report.expected == dict(train=18, test=7)
    assert report.problems[0] == "the split 'test' has 6 images instead of the official 7"


def test_a_folder_without_a_test_split(photos: Path) -> None:
    report = check_data(str(photos / 'train'))
    assert report.images == dict(train=12)


def test_many_copies_of_one_file_make_as_many_pairs(photos: Path) -> None:
    from fgvc_zoo.data.checking import _duplicates

    prints = [('same', 0, f'train/{index}', index % 2) for index in range(3000)] + [
        (f'other {index}', 7 << 40, f'test/{index}', 0) for index in range(3000)]
    found = _duplicates(prints)
    assert len(found) == 2 * 2999
    assert {pair.first for pair in found} == {'train/0', 'test/0'} and sum(pair.exact for pair in found) == 2999
