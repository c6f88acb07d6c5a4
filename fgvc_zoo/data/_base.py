"""Base class of the data sets: attributes, splits for tuning, seeded transforms, the cache."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from fgvc_zoo._errors import UserError, nearest
from fgvc_zoo.data.cache import cache_bytes, decode_all, shrink
from fgvc_zoo.data.images import ImageError, image_size, load_image
from fgvc_zoo.data.info import DataInfo
from fgvc_zoo.data.seeding import derive_seed, seeded

TUNING_SPLITS = ('fit', 'holdout')


class Sample(NamedTuple):
    """One labelled image.

    Attributes:
        key: Path relative to the data set, as its files write it; the same on every machine.
        path: The image file on this machine.
        target: Class index, from 0.
        box: (left, top, width, height) of the object in pixels, if known.
    """

    key: str
    path: Path
    target: int
    box: tuple[float, float, float, float] | None = None


class ImageDataset(Dataset[tuple[Any, int]]):
    """Base class of the data sets.

    Beside its official splits every data set has two for choosing settings: 'fit' and 'holdout', a fixed stratified 4/5 and 1/5 of the
    'train' split. In each class of n images the max(1, n // 5) whose paths have the smallest SHA-1 are held out (none if n = 1). The
    split does not depend on a seed or on the order of files. Choose settings here, never on 'test'.

    Args:
        root: Folder of the data set.
        split: An official split, 'fit' or 'holdout'.
        transform: Applied to the RGB image; None returns the image.
        seed: Seed of the transform's randomness.

    Attributes:
        early_transform: Takes the place of `transform` in the first `early_epochs` epochs of training.
        decoded_side: Images whose short side is longer are scaled down to it, in pixels, before the transform; None leaves them.
        name: Name of the layout, as in 'cub200:PATH'.
        info: What is known of the data set beside its files.
        marks: Patterns of files by which a folder of this layout is recognised, all of which it has; empty if it has none.
        banner: Height in pixels of what is cut off below each image.
        is_folder: Whether `root` must be a folder.
        split: The split.
        keys: The images' paths relative to the data set; the same on every machine.
        paths: The image files.
        targets: Class indices, from 0.
        class_names: Names for people.

    Raises:
        UserError: A folder, file or split is missing, a line is malformed, a label is out of range, or a class has no
            training image.

    Warns:
        UserWarning: A class has a single training image.
    """

    name = ''
    info: DataInfo
    marks: tuple[str, ...] = ()
    banner = 0
    is_folder = True

    def __init__(
            self, root: str | Path, split: str, transform: Callable[[Image.Image], Any] | None = None,
            seed: int = 0) -> None:
        self.root = Path(root).expanduser()
        self.split, self.transform, self.seed = split, transform, seed
        if self.is_folder and not self.root.is_dir():
            raise UserError(f"the data folder '{root}' {'is not a folder' if self.root.exists() else 'does not exist'}")
        known = (*self.official_splits(), *TUNING_SPLITS)
        if split not in known:
            raise UserError(
                f"there is no split '{split}' in '{root}'{nearest(split, known)} (choose from {', '.join(known)})")
        official = 'train' if split in TUNING_SPLITS else split
        self.class_names, samples = self._read(official)
        if official.startswith('train'):
            self._check_training_classes(samples)
        if split in TUNING_SPLITS:
            held_out = _holdout(samples)
            samples = [sample for sample in samples if (sample.key in held_out) == (split == 'holdout')]
        if not samples:
            raise UserError(f"the split '{split}' of '{root}' has no images")
        self.keys = [sample.key for sample in samples]
        self.paths = [sample.path for sample in samples]
        self.targets = [sample.target for sample in samples]
        self._pixel_boxes = [sample.box for sample in samples]
        self.early_transform: Callable[[Image.Image], Any] | None = None
        self.early_epochs = 0
        self.decoded_side: int | None = None
        self._cache: list[np.ndarray | ImageError] | None = None
        self._unreadable = torch.zeros(len(samples), dtype=torch.bool).share_memory_()  # worker processes share it

    def official_splits(self) -> tuple[str, ...]:
        """The splits that the data set has, beside 'fit' and 'holdout'."""
        raise NotImplementedError

    def _read(self, split: str) -> tuple[list[str], list[Sample]]:
        """Class names and the images of one official split."""
        raise NotImplementedError

    def below(self, name: str) -> Path:
        """The folder `name` below the root, as archives and torchvision have it, or else the root."""
        return self.root / name if (self.root / name).is_dir() else self.root

    @property
    def num_classes(self) -> int:
        """Number of classes of the data set; a split may lack images of some."""
        return len(self.class_names)

    @cached_property
    def boxes(self) -> Tensor | None:
        """(N, 4) float32 boxes of the objects, xyxy in unit coordinates of the image; None if the data set has none.

        The first access reads the header of every image to get its size.
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
        size = self.image_size(index)
        corners = torch.tensor([left, top, left + width, top + height], dtype=torch.float64)
        return (corners / torch.tensor([*size, *size])).clamp(0, 1).float()

    def describe(self) -> str:
        """What was understood, in one line: the split, its classes and images, and the other splits."""
        counts = sorted(Counter(self.targets).values())
        per_class = f'{counts[0]} to {counts[-1]}' if counts[0] != counts[-1] else str(counts[0])
        others = ', '.join(f"'{name}'" for name in self.official_splits() if name != self.split) or 'none'
        return (f"'{self.root}', split '{self.split}': {self.num_classes} classes, {len(self)} images, {per_class} in a class "
                f'(median {counts[len(counts) // 2]}); other splits: {others}')

    def load(self, index: int) -> Image.Image:
        """The RGB image before the transform, from the cache if there is one, else from the file.

        Raises:
            UserError: The file cannot be read; it is named.
        """
        if self._cache is None:
            return self._decode(index)
        cached = self._cache[index]
        if isinstance(cached, ImageError):
            raise cached
        return Image.fromarray(cached)

    def image_size(self, index: int) -> tuple[int, int]:
        """(width, height) in pixels of the image as `load` returns it without a cache, from the file's header.

        Raises:
            UserError: The file cannot be read; it is named.
        """
        width, height = image_size(self.file(index))
        return width, max(1, height - self.banner)

    def file(self, index: int) -> Path | BinaryIO:
        """What an image is decoded from: a path, or a file that is open for reading."""
        return self.paths[index]

    def _decode(self, index: int) -> Image.Image:
        image = load_image(self.file(index))
        if self.banner:
            image = image.crop((0, 0, image.width, max(1, image.height - self.banner)))
        return image if self.decoded_side is None else shrink(image, self.decoded_side)

    def shared(self, other: ImageDataset) -> int:
        """How many photographs of another split of the same data this one has too."""
        return len(set(self._identities()) & set(other._identities()))

    def _identities(self) -> Iterable[tuple[Path, str]]:
        """What tells each image from all others, whatever the split."""
        return zip(self.paths, self.keys, strict=True)

    @property
    def unreadable(self) -> list[Path]:
        """The photographs that training could not read and replaced by others."""
        return [self.paths[index] for index in self._unreadable.nonzero().flatten().tolist()]

    def _load_for_training(self, index: int) -> Image.Image:
        """The image, or another one of its class if it cannot be read: a long run does not end for one damaged file.

        Raises:
            UserError: A tenth of the images (at most 10), or a hundredth of many, cannot be read, or no image of the class can.
        """
        target = self.targets[index]
        following = ((index + step) % len(self) for step in range(len(self)))
        for candidate in following:
            if self.targets[candidate] == target and not self._unreadable[candidate]:
                try:
                    return self.load(candidate)
                except ImageError as error:
                    self._unreadable[candidate] = True
                    count, bound = int(self._unreadable.sum()), max(1, min(10, len(self) // 10), len(self) // 100)
                    if count > bound:
                        raise UserError(
                            f"{count} of the {len(self)} images in '{self.root}' cannot be read; the last one: {error}") from None
                    warnings.warn(f'{error}; another image of its class takes its place', UserWarning, stacklevel=1)
        raise UserError(f"no image of the class '{self.class_names[target]}' in '{self.root}' can be read")

    def cache(self, size: int, progress: Callable[[int, int], None] | None = None) -> None:
        """Decode all images now and keep them in memory. Forked worker processes share it.

        Args:
            size: Images whose short side is longer are scaled down to it, in pixels.
            progress: Called with (done, total) after each image.
        """
        self._cache = decode_all(len(self), self._decode, size, progress)

    @property
    def in_memory(self) -> bool:
        """Whether `cache` decoded the images."""
        return self._cache is not None

    def cache_bytes(self, size: int) -> int:
        """Estimate the memory that `cache(size)` will need, in bytes."""
        return cache_bytes(len(self), self.image_size, size)

    def relabel(self, classes: Sequence[int | None], class_names: list[str]) -> None:
        """Give the images other classes, and leave some out.

        Args:
            classes: The new class of each class; None leaves its images out.
            class_names: The names of all new classes.
        """
        new = [(index, classes[target]) for index, target in enumerate(self.targets)]
        kept = [index for index, target in new if target is not None]
        self.targets = [target for _, target in new if target is not None]
        self.keys = [self.keys[index] for index in kept]
        self.paths = [self.paths[index] for index in kept]
        self._pixel_boxes = [self._pixel_boxes[index] for index in kept]
        self._cache = [self._cache[index] for index in kept] if self._cache is not None else None
        self._unreadable = self._unreadable[kept]
        self.__dict__.pop('boxes', None)  # computed again from those that are left
        self.class_names = class_names

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: int | tuple[int, int, int]) -> tuple[Any, int]:
        """One transformed image and its class.

        Args:
            key: The index, or a sampler's (epoch, index, repeat). With the latter the transform's random numbers depend only on the
                seed and the key, and another image of the class takes the place of one that cannot be read.

        Raises:
            UserError: The file cannot be read, or with a sampler's key too many cannot; it is named.
        """
        epoch, index, repeat = key if isinstance(key, tuple) else (None, key, 0)
        image: Any = self.load(index) if epoch is None else self._load_for_training(index)
        if self.transform is None:
            return image, self.targets[index]
        if epoch is None:
            return self.transform(image), self.targets[index]
        transform = self.early_transform if self.early_transform is not None and epoch < self.early_epochs else self.transform
        # repeat 0 does not enter the seed, so recorded runs reproduce
        with seeded(derive_seed(self.seed, epoch, index, *([repeat] if repeat else []))):
            return transform(image), self.targets[index]

    def _check_training_classes(self, samples: list[Sample]) -> None:
        if len(self.class_names) == 1:
            raise UserError(f"'{self.root}' has a single class, '{self.class_names[0]}': training needs two or more")
        counts = Counter(sample.target for sample in samples)
        missing = [name for index, name in enumerate(self.class_names) if counts[index] == 0]
        if missing:
            raise UserError(f"'{self.root}' has no training image of {listed(missing)}: add some or remove the class")
        single = [name for index, name in enumerate(self.class_names) if counts[index] == 1]
        if single:
            warnings.warn(f"'{self.root}' has a single training image of {listed(single)}", UserWarning, stacklevel=1)


def _holdout(samples: list[Sample]) -> set[str]:
    """Keys of the held-out images: in each class, the fifth with the smallest SHA-1 of the key."""
    by_class: dict[int, set[str]] = {}  # sets, since files whose names differ in the Unicode form only have one key
    for sample in samples:
        by_class.setdefault(sample.target, set()).add(sample.key)
    held_out: set[str] = set()
    for names in by_class.values():
        # surrogates stand for bytes of a file name that are not UTF-8
        keys = sorted(names, key=lambda key: hashlib.sha1(key.encode('utf-8', 'surrogatepass'), usedforsecurity=False).hexdigest())
        held_out.update(keys[:max(1, len(keys) // 5)] if len(keys) > 1 else ())
    return held_out


def listed(names: list[str]) -> str:
    """'a', 'b', 'c' and 4 more."""
    shown = ', '.join(f"'{name}'" for name in names[:3])
    return shown if len(names) <= 3 else f'{shown} and {len(names) - 3} more classes'
