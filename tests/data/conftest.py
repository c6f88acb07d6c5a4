"""Tiny data sets of each layout, written with generated pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CUB_CLASSES = ('001.Black_footed_Albatross', '002.Laysan_Albatross', '003.Sooty_Albatross')
GROCERY_CLASSES = ('Golden-Delicious', 'Milk', 'Red-Beet')


def write_image(path: Path, size: tuple[int, int] = (40, 30), seed: int = 0) -> None:
    """A JPEG of smooth colours that differ by seed; size is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    Image.fromarray(colours).resize(size).save(path)


@pytest.fixture
def cub(tmp_path: Path) -> Callable[..., Path]:
    """Writes the CUB layout: `train` and `test` images in each class; returns its folder."""
    def write(train: tuple[int, ...] = (6, 6, 6), test: int = 2) -> Path:
        root = tmp_path / 'birds'
        images: list[str] = []
        labels, flags, boxes = [], [], []
        for target, (name, count) in enumerate(zip(CUB_CLASSES, train, strict=True), start=1):
            for number in range(count + test):
                image = len(images) + 1
                key = f'{name}/bird {number}.jpg'
                write_image(root / 'images' / key, seed=image)
                images.append(f'{image} {key}')
                labels.append(f'{image} {target}')
                flags.append(f'{image} {int(number < count)}')
                boxes.append(f'{image} 4.0 3.0 20.0 {10 + image / 10}')
        classes = [f'{number} {name}' for number, name in enumerate(CUB_CLASSES, start=1)]
        files = {'images': images, 'image_class_labels': labels, 'train_test_split': flags, 'bounding_boxes': boxes,
                 'classes': classes}
        for name, lines in files.items():
            (root / f'{name}.txt').write_text('\n'.join(lines) + '\n', encoding='utf-8')
        return root
    return write


@pytest.fixture
def grocery(tmp_path: Path) -> Path:
    """The Grocery layout: for each of 3 classes 5 train, 2 val and 3 test images."""
    root = tmp_path / 'shop'
    for split, count in (('train', 5), ('val', 2), ('test', 3)):
        lines = []
        for target, name in enumerate(GROCERY_CLASSES):
            for number in range(count):
                key = f'{split}/Food, fresh/{name}/{name}_{number}.jpg'
                write_image(root / key, seed=10 * target + number)
                lines.append(f'{key}, {target}, 0')
        (root / f'{split}.txt').write_text('\n'.join(lines) + '\n', encoding='utf-8')
    header = 'Class Name (str),Class ID (int),Coarse Class Name (str),Coarse Class ID (int)'
    rows = [f'{name},{target},Food,0' for target, name in enumerate(GROCERY_CLASSES)]
    (root / 'classes.csv').write_text('\n'.join([header, *rows]) + '\n', encoding='utf-8')
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes folders of classes: folder(train=dict(cat=3), test=dict(cat=1)), or folder(cat=3) without splits."""
    def write(**contents: int | dict[str, int]) -> Path:
        root = tmp_path / 'zoo'
        for name, content in contents.items():
            classes = content if isinstance(content, dict) else {'': content}
            for child, count in classes.items():
                (root / name / child).mkdir(parents=True, exist_ok=True)
                for number in range(count):
                    write_image(root / name / child / f'{number}.jpg', seed=number)
        return root
    return write
