"""CUB-200-2011 and NABirds, which have one layout but for their numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fgvc_zoo._errors import UserError
from fgvc_zoo.data._base import ImageDataset, Sample
from fgvc_zoo.data.index_files import Table, read_table
from fgvc_zoo.data.info import DataInfo

_FOLDER = '''images/
images.txt
image_class_labels.txt
train_test_split.txt
classes.txt
bounding_boxes.txt (only to measure boxes)'''


class CUB200(ImageDataset):
    """The official layout of CUB-200-2011, with any number of classes. Splits: 'train', 'test', 'fit', 'holdout'.

    Below the root: `images/`, `images.txt`, `image_class_labels.txt`, `train_test_split.txt`, `classes.txt` and, for
    localisation only, `bounding_boxes.txt`; all numbers in them count from 1.
    """

    name = 'cub200'
    marks: tuple[str, ...] = ('images.txt',)
    numbered = True  # images have numbers, not other names
    info = DataInfo(
        title='CUB-200-2011', home='https://www.vision.caltech.edu/datasets/cub_200_2011/', folder=_FOLDER, classes=200,
        kind='bird species', images=dict(train=5994, test=5794), boxes=True, licence='non-commercial research only',
        citation='Wah, Branson, Welinder, Perona, Belongie: The Caltech-UCSD Birds-200-2011 Dataset. Technical report CNS-TR-2011-001, '
                 'California Institute of Technology, 2011')

    def official_splits(self) -> tuple[str, ...]:
        return ('train', 'test')

    def _read(self, split: str) -> tuple[list[str], list[Sample]]:
        classes = read_table(self.root / 'classes.txt')
        images, labels, flags = (
            read_table(self.root / file, self.numbered) for file in ('images.txt', 'image_class_labels.txt', 'train_test_split.txt'))
        boxes_file = self.root / 'bounding_boxes.txt'
        boxes = read_table(boxes_file, self.numbered) if boxes_file.exists() else None
        numbers = self._class_numbers(classes, labels)
        place = {number: index for index, number in enumerate(numbers)}

        samples = []
        for image, (_, key) in images.items():
            flag = self._value(flags, image, 'train_test_split.txt', lambda text: ('0', '1').index(text), '0 or 1')
            number = self._value(labels, image, 'image_class_labels.txt', int, 'a class number')
            if number not in place:
                raise UserError(
                    f"{self.root / 'image_class_labels.txt'}, line {labels[image][0]}: class {number} is not one "
                    f'of the {len(classes)} in classes.txt')
            if flag != (split == 'train'):
                continue
            box = None
            if boxes is not None:
                box = self._value(boxes, image, boxes_file.name, _parse_box, 'left top width height')
            samples.append(Sample(key, self.root / 'images' / key, place[number], box))
        return [_readable(classes[number][1]) for number in numbers], samples

    def _class_numbers(self, classes: Table, labels: Table) -> list[int]:
        """The numbers of the classes, in their order."""
        if sorted(classes) != list(range(1, len(classes) + 1)):
            raise UserError(f"{self.root / 'classes.txt'}: the classes must be numbered from 1 to {len(classes)}")
        return sorted(classes)

    def _value(
            self, table: Table, image: Any, file: str, parse: Callable[[str], Any], expected: str) -> Any:
        """The parsed value of one image in a file; `expected` describes it in the error message."""
        if image not in table:
            raise UserError(f'{self.root / file} has no line for image {image} of images.txt')
        line, text = table[image]
        try:
            return parse(text)
        except ValueError:
            raise UserError(
                f"{self.root / file}, line {line}: expected {expected} after the image's number, not '{text}'") from None


class NABirds(CUB200):
    """The official layout of NABirds. Splits: 'train', 'test', 'fit', 'holdout'.

    It is that of CUB-200-2011, but images are numbered by UUIDs, and `classes.txt` also has orders and families: the classes are those that
    have images, in the order of their numbers.
    """

    name = 'nabirds'
    marks = ('images.txt', 'hierarchy.txt')
    numbered = False
    info = DataInfo(
        title='NABirds', home='https://dl.allaboutbirds.org/nabirds', folder=_FOLDER, classes=555, kind='birds',
        images=dict(train=23_929, test=24_633), boxes=True,
        citation='Van Horn, Branson, Farrell, Haber, Barry, Ipeirotis, Perona, Belongie: Building a Bird Recognition App and Large Scale '
                 'Dataset With Citizen Scientists. CVPR 2015')

    def _class_numbers(self, classes: Table, labels: Table) -> list[int]:
        with_images = {text for _, text in labels.values()}
        return [number for number in sorted(classes) if str(number) in with_images]


def _parse_box(text: str) -> tuple[float, float, float, float]:
    left, top, width, height = (float(part) for part in text.split())
    return left, top, width, height


def _readable(name: str) -> str:
    """'001.Black_footed_Albatross' is 'Black footed Albatross'."""
    number, _, rest = name.partition('.')
    return (rest if number.isdecimal() and rest else name).replace('_', ' ')
