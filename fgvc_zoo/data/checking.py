"""What is wrong with the images of a data set: missing, unreadable, duplicated, unevenly spread over the classes."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from fgvc_zoo._errors import UserError
from fgvc_zoo._files import atomic_write
from fgvc_zoo.data._base import ImageDataset
from fgvc_zoo.data.datasets import find_layout

# bits of 64 in which the perceptual hashes of near duplicates differ at most; all pairs of CUB-200-2011 within 2 bits, looked at by eye,
# show the same photograph
NEAR = 2


class Duplicate(NamedTuple):
    """Two images that are the same, or nearly.

    Attributes:
        first, second: 'SPLIT/KEY' of each.
        exact: The files are equal byte for byte; else they look alike.
        same_class: They have the same class.
    """

    first: str
    second: str
    exact: bool
    same_class: bool


@dataclass(frozen=True)
class DataReport:
    """What `check_data` found.

    Attributes:
        name: The layout's name.
        images: Number of images of each split.
        expected: The official numbers, for the splits that have one; empty if the data set is not a whole official one.
        classes: Number of images of each class, by split.
        unreadable: The message for each image that cannot be read.
        duplicates: Pairs of equal or nearly equal images, those between two splits first. Of more than two equal ones, each is paired
            with the first.
    """

    name: str
    images: dict[str, int]
    expected: dict[str, int]
    classes: dict[str, dict[str, int]]
    unreadable: list[str]
    duplicates: list[Duplicate]

    @property
    def problems(self) -> list[str]:
        """What should be mended, one sentence each. Images that look alike are none, since a hash may err."""
        found = [f"the split '{split}' has {self.images[split]} images instead of the official {count}"
                 for split, count in self.expected.items() if self.images[split] != count]
        if self.unreadable:
            found.append(f'{len(self.unreadable)} images cannot be read')
        if leaks := [pair for pair in self.duplicates if pair.exact and pair.first.partition('/')[0] != pair.second.partition('/')[0]]:
            found.append(f"{len(leaks)} files are in two splits, such as '{leaks[0].first}': a measurement would know their answers")
        if mixed := [pair for pair in self.duplicates if pair.exact and not pair.same_class]:
            found.append(f"{len(mixed)} pairs of equal files have different classes, such as '{mixed[0].first}' and '{mixed[0].second}'")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return dict(name=self.name, images=self.images, expected=self.expected, classes=self.classes, unreadable=self.unreadable,
                    duplicates=[pair._asdict() for pair in self.duplicates], problems=self.problems)


def check_data(spec: str, progress: Callable[[int, int], None] | None = None) -> DataReport:
    """Read every image of the training and the test split, and compare all of them with each other.

    Args:
        spec: As for `open_dataset`.
        progress: Called with (done, total) after each image.

    Raises:
        UserError: imagehash is not installed, or the data set's index files cannot be read.
    """
    try:
        from imagehash import phash
    except ModuleNotFoundError as error:
        raise UserError("comparing images needs the library imagehash: pip install 'fgvc-zoo[data]'") from error
    layout, path = find_layout(spec)
    datasets = {'train': layout(path, 'train')}
    if 'test' in datasets['train'].official_splits():
        datasets['test'] = layout(path, 'test')
    places = [(split, index) for split, dataset in datasets.items() for index in range(len(dataset))]
    unreadable: list[str] = []
    prints: list[tuple[str, int, str, int]] = []  # SHA-256, perceptual hash, 'SPLIT/KEY', class
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        results = pool.map(lambda place: _fingerprint(datasets[place[0]], place[1], phash), places)
        for (split, index), result in zip(places, results, strict=True):
            if isinstance(result, str):
                unreadable.append(result)
            else:
                prints.append((*result, f'{split}/{datasets[split].keys[index]}', datasets[split].targets[index]))
            if progress is not None:
                progress(len(unreadable) + len(prints), len(places))
    info = layout.info
    whole = bool(info.images) and next(iter(datasets.values())).num_classes == info.classes
    return DataReport(
        name=layout.name, images={split: len(dataset) for split, dataset in datasets.items()},
        expected={split: info.images[split] for split in datasets if whole and split in info.images},
        classes={split: _per_class(dataset) for split, dataset in datasets.items()},
        unreadable=unreadable, duplicates=_duplicates(prints))


def _per_class(dataset: ImageDataset) -> dict[str, int]:
    counts = Counter(dataset.targets)
    return {name: counts[index] for index, name in enumerate(dataset.class_names)}


def _fingerprint(dataset: ImageDataset, index: int, phash: Callable[[Image.Image], Any]) -> tuple[str, int] | str:
    """SHA-256 of an image's file and its perceptual hash, or what is wrong with it."""
    try:
        image = dataset.load(index)
        file = dataset.file(index)
        content = file.read_bytes() if isinstance(file, Path) else file.read()
    except (UserError, OSError) as error:
        return str(error)
    return hashlib.sha256(content).hexdigest(), int(str(phash(image)), 16)


def _duplicates(prints: list[tuple[str, int, str, int]]) -> list[Duplicate]:
    """Pairs of images: those that are equal, or have one perceptual hash, each with the first of them; then hashes that are near."""
    pairs: dict[tuple[int, int], bool] = {}
    left = list(range(len(prints)))
    for exact in (True, False):
        groups = _groups((index, prints[index][0 if exact else 1]) for index in left)
        pairs.update({(group[0], other): exact for group in groups for other in group[1:]})
        copies = {other for group in groups for other in group[1:]}  # thousands of equal images would make millions of pairs
        left = [index for index in left if index not in copies]
    # hashes that differ in less than four bits are equal in one of four quarters
    for quarter in range(4):
        shift = 16 * quarter
        for group in _groups((index, prints[index][1] >> shift & 0xFFFF) for index in left):
            for position, first in enumerate(group):
                for second in group[position + 1:]:
                    if (prints[first][1] ^ prints[second][1]).bit_count() <= NEAR:
                        pairs.setdefault((first, second), False)
    found = [Duplicate(prints[first][2], prints[second][2], exact, prints[first][3] == prints[second][3])
             for (first, second), exact in sorted(pairs.items())]
    return sorted(found, key=lambda pair: pair.first.partition('/')[0] == pair.second.partition('/')[0])


def _groups(items: Iterable[tuple[int, Any]]) -> list[list[int]]:
    """The indices that have one value, for each value that several have."""
    places: dict[Any, list[int]] = defaultdict(list)
    for index, value in items:
        places[value].append(index)
    return [group for group in places.values() if len(group) > 1]


def draw_class_sizes(report: DataReport, path: Path) -> None:
    """A PNG with the number of images of each class, the largest first, one line a split."""
    from matplotlib.figure import Figure  # takes a second

    figure = Figure(figsize=(7, 4), layout='constrained')
    axis = figure.subplots()
    for split, classes in report.classes.items():
        sizes = sorted(classes.values(), reverse=True)
        axis.step(range(1, len(sizes) + 1), sizes, where='mid', label=f'{split}: {report.images[split]:,} images')
    axis.set(xlabel='classes, the largest first', ylabel='images', ylim=(0, None), title=f'{report.name}: images of each class')
    axis.grid(alpha=0.3)
    axis.legend()
    atomic_write(path, lambda place: figure.savefig(place, format='png', dpi=120))
