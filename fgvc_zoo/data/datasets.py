"""Labelled pictures on disk: one class for each layout, all with the same attributes and the same splits for tuning."""

from __future__ import annotations

import csv
import hashlib
import warnings
from collections import Counter
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.datasets.folder import find_classes, make_dataset

from fgvc_zoo._errors import UserError, nearest
from fgvc_zoo.data.cache import decode_all
from fgvc_zoo.data.images import IMAGE_EXTENSIONS, image_size, load_image
from fgvc_zoo.data.seeding import derive_seed, seeded

TUNING_SPLITS = ('fit', 'holdout')


class Sample(NamedTuple):
    """One labelled image.

    Attributes:
        key: The path as the data set writes it, the same on every machine.
        path: Where the file is.
        target: Class index, from 0.
        box: (left, top, width, height) of the object in pixels, where it is known.
    """

    key: str
    path: Path
    target: int
    box: tuple[float, float, float, float] | None = None


class ImageDataset(Dataset[tuple[Any, int]]):
    """Base of the layouts.

    Beside its official splits every layout has two for tuning: 'fit' and 'holdout', a fixed stratified 4/5 and 1/5 of the 'train' split.
    In each class of n images the max(1, n // 5) whose paths have the smallest SHA-1 are held out (none of a single one); no seed and no
    file order enters. Settings are chosen here, never on 'test'.

    Args:
        root: Folder of the data set.
        split: One of the layout's splits, or 'fit' or 'holdout'.
        transform: Applied to the RGB picture; None returns the picture.
        seed: Of the transform's randomness.

    Attributes:
        name: Of the layout.
        split: As asked for.
        paths: The image files.
        targets: Class indices, from 0.
        class_names: Readable.

    Raises:
        UserError: A folder, file or split is missing, a line is malformed, a label is out of range, or a class has no training image.

    Warns:
        UserWarning: A class has a single training image.
    """

    name = ''

    def __init__(
            self, root: str | Path, split: str, transform: Callable[[Image.Image], Any] | None = None, seed: int = 0) -> None:
        self.root = Path(root).expanduser()
        self.split, self.transform, self.seed = split, transform, seed
        if not self.root.is_dir():
            raise UserError(f"the data folder '{root}' " + ('is not a folder' if self.root.exists() else 'does not exist'))
        known = (*self._official_splits(), *TUNING_SPLITS)
        if split not in known:
            raise UserError(f"there is no split '{split}' in '{root}'{nearest(split, known)} (choose from {', '.join(known)})")
        official = 'train' if split in TUNING_SPLITS else split
        self.class_names, samples = self._read(official)
        if official.startswith('train'):
            self._check_training_classes(samples)
        if split in TUNING_SPLITS:
            held_out = _holdout(samples)
            samples = [sample for sample in samples if (sample.key in held_out) == (split == 'holdout')]
        if not samples:
            raise UserError(f"the split '{split}' of '{root}' has no images")
        self.paths = [sample.path for sample in samples]
        self.targets = [sample.target for sample in samples]
        self._pixel_boxes = [sample.box for sample in samples]
        self._cache: list[np.ndarray] | None = None

    def _official_splits(self) -> tuple[str, ...]:
        raise NotImplementedError

    def _read(self, split: str) -> tuple[list[str], list[Sample]]:
        """Class names and the images of one official split."""
        raise NotImplementedError

    @property
    def num_classes(self) -> int:
        """Number of classes, whether or not the split has images of all of them."""
        return len(self.class_names)

    @cached_property
    def boxes(self) -> Tensor | None:
        """(N, 4) float32 boxes of the objects, xyxy in unit coordinates of the image; None where the data set has none.

        The first use reads the header of every image, for its size.
        """
        if None in self._pixel_boxes:
            return None
        return torch.stack([self.unit_box(index) for index in range(len(self))])

    def unit_box(self, index: int) -> Tensor:
        """The object's box in one image: (4,) float32, xyxy in unit coordinates, clipped to [0, 1].

        Raises:
            UserError: The data set has no boxes, or the image cannot be read.
        """
        box = self._pixel_boxes[index]
        if box is None:
            raise UserError(f"the data set '{self.root}' has no bounding boxes")
        left, top, width, height = box
        size = image_size(self.paths[index])
        corners = torch.tensor([left, top, left + width, top + height], dtype=torch.float64)
        return (corners / torch.tensor([*size, *size])).clamp(0, 1).float()

    def load(self, index: int) -> Image.Image:
        """The RGB picture before the transform: the file's, or the cached one.

        Raises:
            UserError: The file cannot be read; it is named.
        """
        if self._cache is not None:
            return Image.fromarray(self._cache[index])
        return load_image(self.paths[index])

    def cache(self, size: int, progress: Callable[[int, int], None] | None = None) -> None:
        """Decode all images now and keep them in memory, which forked workers share.

        Args:
            size: Images whose short side is longer are scaled down to it, in pixels.
            progress: Called with (done, total) after each image.

        Raises:
            UserError: A file cannot be read; it is named.
        """
        self._cache = decode_all(self.paths, size, progress)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Any, int]:
        """One transformed image and its class.

        Args:
            key: The index; or (epoch, index), and then all that the transform draws is a function of (seed, epoch, index) alone.

        Raises:
            UserError: The file cannot be read; it is named.
        """
        epoch, index = key if isinstance(key, tuple) else (None, key)
        image: Any = self.load(index)
        if self.transform is None:
            return image, self.targets[index]
        if epoch is None:
            return self.transform(image), self.targets[index]
        with seeded(derive_seed(self.seed, epoch, index)):
            return self.transform(image), self.targets[index]

    def _check_training_classes(self, samples: list[Sample]) -> None:
        counts = Counter(sample.target for sample in samples)
        missing = [name for index, name in enumerate(self.class_names) if counts[index] == 0]
        if missing:
            raise UserError(f"'{self.root}' has no training image of {_listed(missing)}; add some or remove the class")
        single = [name for index, name in enumerate(self.class_names) if counts[index] == 1]
        if single:
            warnings.warn(f"'{self.root}' has a single training image of {_listed(single)}", UserWarning, stacklevel=4)


class CUB200(ImageDataset):
    """The official layout of CUB-200-2011, with any number of classes. Splits: 'train', 'test', 'fit', 'holdout'.

    Below the root: `images/`, `images.txt`, `image_class_labels.txt`, `train_test_split.txt`, `classes.txt` and, for localisation only,
    `bounding_boxes.txt`; all numbers in them count from 1.
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
                raise UserError(f"{self.root / 'image_class_labels.txt'}, line {labels[number][0]}: class {target + 1} is not one of the "
                                f'{len(classes)} in classes.txt')
            if flag != (split == 'train'):
                continue
            box = None if boxes is None else self._value(boxes, number, boxes_file.name, _parse_box, 'left top width height')
            samples.append(Sample(key, self.root / 'images' / key, target, box))
        # '001.Black_footed_Albatross' is 'Black footed Albatross'
        names = [classes[number][1] for number in sorted(classes)]
        return [(name.partition('.')[2] or name).replace('_', ' ') for name in names], samples

    def _value(self, table: dict[int, tuple[int, str]], number: int, file: str, parse: Callable[[str], Any], wanted: str) -> Any:
        """What a file says about one image."""
        if number not in table:
            raise UserError(f'{self.root / file} has no line for image {number} of images.txt')
        line, text = table[number]
        try:
            return parse(text)
        except ValueError:
            raise UserError(f"{self.root / file}, line {line}: expected {wanted} after the image's number, not '{text}'") from None


class Grocery(ImageDataset):
    """The official layout of the Grocery Store Dataset, with its fine classes (Klasson et al., WACV 2019).

    Splits: 'train' is `train.txt` and `val.txt` together, as is usual when the result on the test set is final; 'train_only' and 'val' are
    the two alone; 'test', 'fit', 'holdout'. Below the root: `classes.csv`, and text files of lines 'path, fine class, coarse class' that
    count from 0.
    """

    name = 'grocery'

    def _official_splits(self) -> tuple[str, ...]:
        return ('train', 'train_only', 'val', 'test')

    def _read(self, split: str) -> tuple[list[str], list[Sample]]:
        class_names = self._read_classes(self.root / 'classes.csv')
        files = {'train': ('train.txt', 'val.txt'), 'train_only': ('train.txt',), 'val': ('val.txt',), 'test': ('test.txt',)}[split]
        samples = []
        for file in files:
            for line, text in _read_lines(self.root / file):
                key, *labels = (part.strip() for part in text.rsplit(',', 2))
                if len(labels) != 2 or not key or not all(label.isdecimal() for label in labels):
                    raise UserError(f"{self.root / file}, line {line}: expected 'path, fine class, coarse class', not '{text}'")
                target = int(labels[0])
                if target >= len(class_names):
                    raise UserError(f'{self.root / file}, line {line}: class {target} is not one of the {len(class_names)} in classes.csv')
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


class ImageFolder(ImageDataset):
    """A folder for each class, its name the class's name.

    Either below `train/` and one of `test/`, `val/`, `valid/`, or right below the root, and then all images are the train split.
    Splits: 'train'; 'val' is `val/` or `valid/`; 'test' is `test/`, or else what 'val' is; 'fit', 'holdout'. Files and folders whose names
    begin with a dot are left out.
    """

    name = 'folder'

    def _folders(self) -> dict[str, Path]:
        """The folder of each official split."""
        if not (self.root / 'train').is_dir():
            return {'train': self.root}
        candidates = {'train': ('train',), 'test': ('test', 'val', 'valid'), 'val': ('val', 'valid')}
        folders = {split: [self.root / name for name in names if (self.root / name).is_dir()] for split, names in candidates.items()}
        return {split: found[0] for split, found in folders.items() if found}

    def _official_splits(self) -> tuple[str, ...]:
        folders = self._folders()
        if self.split in ('test', 'val') and self.split not in folders:
            raise UserError(f"'{self.root}' has no '{self.split}' split: arrange the images as train/CLASS/ and {self.split}/CLASS/, "
                            "or use the split 'holdout', a fixed fifth of the training images (train on 'fit' then)")
        return tuple(folders)

    def _read(self, split: str) -> tuple[list[str], list[Sample]]:
        folders = self._folders()
        class_names = _class_folders(folders['train'])
        if set(class_names) <= {'test', 'val', 'valid'}:
            raise UserError(f"the folder '{self.root / 'train'}' is missing: training images belong into train/CLASS/")
        unknown = [name for name in _class_folders(folders[split]) if name not in class_names]
        if unknown:
            raise UserError(f"'{folders[split]}' has images of {_listed(unknown)}, which '{folders['train']}' does not have")
        class_to_index = {name: index for index, name in enumerate(class_names)}
        found = make_dataset(str(folders[split]), class_to_index, extensions=IMAGE_EXTENSIONS, allow_empty=True)
        samples = []
        for file, target in found:
            key = Path(file).relative_to(folders[split])
            if not any(part.startswith('.') for part in key.parts):
                samples.append(Sample(key.as_posix(), Path(file), target))
        return class_names, samples


LAYOUTS: dict[str, type[ImageDataset]] = {layout.name: layout for layout in (CUB200, Grocery, ImageFolder)}


def open_dataset(
        spec: str, split: str, transform: Callable[[Image.Image], Any] | None = None, seed: int = 0) -> ImageDataset:
    """Open a data set by its description.

    Args:
        spec: 'cub200:PATH', 'grocery:PATH', 'folder:PATH', or a path whose layout is recognised by its files.
        split: See the classes of the layouts.
        transform: Applied to the RGB picture; None returns the picture.
        seed: Of the transform's randomness.

    Raises:
        UserError: The layout is not known, or the data set cannot be read (see `ImageDataset`).
    """
    layout, colon, path = spec.partition(':')
    if colon and layout in LAYOUTS:
        return LAYOUTS[layout](path, split, transform, seed)
    # a colon also occurs in paths ('C:\\birds', './a:b'), a layout's name has neither separators nor one letter
    if colon and len(layout) > 1 and not {'/', '\\'} & set(layout) and not Path(spec).exists():
        raise UserError(f"data layout '{layout}' is not known{nearest(layout, LAYOUTS)} (choose from {', '.join(LAYOUTS)})")
    root = Path(spec).expanduser()
    if (root / 'images.txt').is_file():
        return CUB200(root, split, transform, seed)
    if (root / 'classes.csv').is_file() and any((root / f'{name}.txt').is_file() for name in ('train', 'val', 'test')):
        return Grocery(root, split, transform, seed)
    return ImageFolder(root, split, transform, seed)


def _holdout(samples: list[Sample]) -> set[str]:
    """Keys of the held-out images: in each class, the fifth with the smallest SHA-1 of the key."""
    by_class: dict[int, list[str]] = {}
    for sample in samples:
        by_class.setdefault(sample.target, []).append(sample.key)
    held_out: set[str] = set()
    for keys in by_class.values():
        keys.sort(key=lambda key: hashlib.sha1(key.encode(), usedforsecurity=False).hexdigest())
        held_out.update(keys[:max(1, len(keys) // 5)] if len(keys) > 1 else ())
    return held_out


def _read_lines(path: Path) -> list[tuple[int, str]]:
    """(line number from 1, stripped text) of the lines that are not blank."""
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


def _class_folders(folder: Path) -> list[str]:
    try:
        names = [name for name in find_classes(folder)[0] if not name.startswith('.')]
    except FileNotFoundError:
        names = []
    if not names:
        raise UserError(f"the folder '{folder}' has no folders below it, one for each class is needed")
    return names


def _listed(names: list[str]) -> str:
    """'a', 'b', 'c' and 4 more."""
    shown = ', '.join(f"'{name}'" for name in names[:3])
    return shown if len(names) <= 3 else f'{shown} and {len(names) - 3} more classes'
