"""The official layouts of published data sets, and `open_dataset`, which finds the layout of a folder."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from fgvc_zoo._errors import UserError, check_choice
from fgvc_zoo.data._base import ImageDataset, Sample
from fgvc_zoo.data.folder import ImageFolder


class CUB200(ImageDataset):
    """The official layout of CUB-200-2011, with any number of classes. Splits: 'train', 'test', 'fit', 'holdout'.

    Below the root: `images/`, `images.txt`, `image_class_labels.txt`, `train_test_split.txt`, `classes.txt` and, for
    localisation only, `bounding_boxes.txt`; all numbers in them count from 1.
    """

    name = 'cub200'

    def _official_splits(self) -> tuple[str, ...]:
        return ('train', 'test')

    def _read(self, split: str) -> tuple[list[str], list[Sample]]:
        classes = _read_table(self.root / 'classes.txt')
        if sorted(classes) != list(range(1, len(classes) + 1)):
            raise UserError(f"{self.root / 'classes.txt'}: the classes must be numbered from 1 to {len(classes)}")
        images = _read_table(self.root / 'images.txt')
        labels = _read_table(self.root / 'image_class_labels.txt')
        flags = _read_table(self.root / 'train_test_split.txt')
        boxes_file = self.root / 'bounding_boxes.txt'
        boxes = _read_table(boxes_file) if boxes_file.exists() else None

        samples = []
        for number, (_, key) in images.items():
            flag = self._value(flags, number, 'train_test_split.txt', lambda text: ('0', '1').index(text), '0 or 1')
            target = self._value(labels, number, 'image_class_labels.txt', int, 'a class number') - 1
            if not 0 <= target < len(classes):
                raise UserError(
                    f"{self.root / 'image_class_labels.txt'}, line {labels[number][0]}: class {target + 1} is not one "
                    f'of the {len(classes)} in classes.txt')
            if flag != (split == 'train'):
                continue
            box = None
            if boxes is not None:
                box = self._value(boxes, number, boxes_file.name, _parse_box, 'left top width height')
            samples.append(Sample(key, self.root / 'images' / key, target, box))
        return [_readable(classes[number][1]) for number in sorted(classes)], samples

    def _value(
            self, table: dict[int, tuple[int, str]], number: int, file: str, parse: Callable[[str], Any],
            expected: str) -> Any:
        """The parsed value of one image in a file; `expected` describes it in the error message."""
        if number not in table:
            raise UserError(f'{self.root / file} has no line for image {number} of images.txt')
        line, text = table[number]
        try:
            return parse(text)
        except ValueError:
            raise UserError(
                f"{self.root / file}, line {line}: expected {expected} after the image's number, not '{text}'") from None


class Grocery(ImageDataset):
    """The official layout of the Grocery Store Dataset, with its fine classes (Klasson et al., WACV 2019).

    Splits: 'train' is `train.txt` and `val.txt` together; 'train_only' and 'val' are one file each; 'test', 'fit', 'holdout'. Below the
    root: `classes.csv`, and text files with lines 'path, fine class, coarse class', whose classes are numbered from 0.
    """

    name = 'grocery'

    def _official_splits(self) -> tuple[str, ...]:
        return ('train', 'train_only', 'val', 'test')

    def _read(self, split: str) -> tuple[list[str], list[Sample]]:
        class_names = self._read_classes(self.root / 'classes.csv')
        samples = []
        for file in {'train': ('train.txt', 'val.txt'), 'train_only': ('train.txt',)}.get(split, (f'{split}.txt',)):
            for line, text in _read_lines(self.root / file):
                key, *labels = (part.strip() for part in text.rsplit(',', 2))
                if len(labels) != 2 or not key or not all(label.isdecimal() for label in labels):
                    raise UserError(
                        f"{self.root / file}, line {line}: expected 'path, fine class, coarse class', not '{text}'")
                target = int(labels[0])
                if target >= len(class_names):
                    raise UserError(
                        f'{self.root / file}, line {line}: class {target} is not one of the {len(class_names)} '
                        'in classes.csv, which count from 0')
                samples.append(Sample(key, self.root / key, target))
        return class_names, samples

    @staticmethod
    def _read_classes(path: Path) -> list[str]:
        lines = _read_lines(path)
        names: dict[int, str] = {}
        for line, text in lines[1:]:  # after the header
            row = next(csv.reader([text]))
            if len(row) < 2 or not row[0].strip() or not row[1].strip().isdecimal():
                raise UserError(f"{path}, line {line}: expected 'class name,class number,...', not '{text}'")
            names[int(row[1])] = row[0].strip().replace('-', ' ')
        if not names or sorted(names) != list(range(len(lines) - 1)):
            raise UserError(f'{path}: after the header, the classes must be numbered from 0 without gaps')
        return [names[number] for number in sorted(names)]


LAYOUTS: dict[str, type[ImageDataset]] = {layout.name: layout for layout in (CUB200, Grocery, ImageFolder)}


def open_dataset(
        spec: str, split: str, transform: Callable[[Image.Image], Any] | None = None, seed: int = 0) -> ImageDataset:
    """Open a data set by its description.

    Args:
        spec: 'cub200:PATH', 'grocery:PATH', 'folder:PATH', or a path whose layout is recognised by its files.
        split: See the class of the layout.
        transform: Applied to the RGB image; None returns the image.
        seed: Seed of the transform's randomness.

    Raises:
        UserError: The layout is not known, or the data set cannot be read (see `ImageDataset`).
    """
    layout, colon, path = spec.partition(':')
    if colon and layout in LAYOUTS:
        return LAYOUTS[layout](path, split, transform, seed)
    # a colon also occurs in paths ('C:\\birds', './a:b'); a layout's name has no separators and more than one letter
    if colon and len(layout) > 1 and not {'/', '\\'} & set(layout) and not Path(spec).exists():
        check_choice('data layout', layout, LAYOUTS)
    root = Path(spec).expanduser()
    if (root / 'images.txt').is_file():
        return CUB200(root, split, transform, seed)
    if (root / 'classes.csv').is_file() and any((root / f'{name}.txt').is_file() for name in ('train', 'val', 'test')):
        return Grocery(root, split, transform, seed)
    return ImageFolder(root, split, transform, seed)


def _read_lines(path: Path) -> list[tuple[int, str]]:
    """The lines that are not blank, as (line number from 1, stripped text)."""
    try:
        text = path.read_text(encoding='utf-8-sig')
    except FileNotFoundError:
        raise UserError(f"the data set's file '{path}' is missing") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the data set's file '{path}' cannot be read as text: {error}") from error
    return [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]


def _read_table(path: Path) -> dict[int, tuple[int, str]]:
    """Lines 'number rest' as {number: (line number, rest)}."""
    table: dict[int, tuple[int, str]] = {}
    for line, text in _read_lines(path):
        number, _, rest = text.partition(' ')
        if not number.isdecimal() or not rest.strip():
            raise UserError(f"{path}, line {line}: expected a number and a value, not '{text}'")
        if int(number) in table:
            raise UserError(f'{path}, line {line}: number {number} occurs twice')
        table[int(number)] = (line, rest.strip())
    return table


def _parse_box(text: str) -> tuple[float, float, float, float]:
    left, top, width, height = (float(part) for part in text.split())
    return left, top, width, height


def _readable(name: str) -> str:
    """'001.Black_footed_Albatross' is 'Black footed Albatross'."""
    number, _, rest = name.partition('.')
    return (rest if number.isdecimal() and rest else name).replace('_', ' ')
