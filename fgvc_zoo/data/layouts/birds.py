"""CUB-200-2011 and NABirds, which have one layout but for their numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fgvc_zoo._errors import UserError
from fgvc_zoo.data._base import ImageDataset, Sample
from fgvc_zoo.data.index_files import read_lines, read_table, readable
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
    marks = ('images.txt',)
    info = DataInfo(
        title='CUB-200-2011', home='https://www.vision.caltech.edu/datasets/cub_200_2011/', folder=_FOLDER, classes=200,
        images=dict(train=5994, test=5794), boxes=True, licence='non-commercial research only',
        citation='Wah, Branson, Welinder, Perona, Belongie: The Caltech-UCSD Birds-200-2011 Dataset. Technical report CNS-TR-2011-001, '
                 'California Institute of Technology, 2011')

    def official_splits(self) -> tuple[str, ...]:
        return ('train', 'test')

    def _read(self, split: str) -> tuple[list[str], list[Sample]]:
        classes = read_table(self.root / 'classes.txt')
        if sorted(classes) != list(range(1, len(classes) + 1)):
            raise UserError(f"{self.root / 'classes.txt'}: the classes must be numbered from 1 to {len(classes)}")
        images = read_table(self.root / 'images.txt')
        labels = read_table(self.root / 'image_class_labels.txt')
        flags = read_table(self.root / 'train_test_split.txt')
        boxes_file = self.root / 'bounding_boxes.txt'
        boxes = read_table(boxes_file) if boxes_file.exists() else None

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
        return [readable(classes[number][1]) for number in sorted(classes)], samples

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


class NABirds(ImageDataset):
    """The official layout of NABirds. Splits: 'train', 'test', 'fit', 'holdout'.

    It has the files of CUB-200-2011. Images are numbered by UUIDs, and `classes.txt` also has orders and families: the classes are those
    that have images, in the order of their numbers.
    """

    name = 'nabirds'
    marks = ('images.txt', 'hierarchy.txt')
    info = DataInfo(
        title='NABirds', home='https://dl.allaboutbirds.org/nabirds', folder=_FOLDER, classes=555, boxes=True,
        citation='Van Horn, Branson, Farrell, Haber, Barry, Ipeirotis, Perona, Belongie: Building a Bird Recognition App and Large Scale '
                 'Dataset With Citizen Scientists. CVPR 2015')

    def official_splits(self) -> tuple[str, ...]:
        return ('train', 'test')

    def _read(self, split: str) -> tuple[list[str], list[Sample]]:
        names = self._read_pairs('classes.txt')
        labels = self._read_pairs('image_class_labels.txt')
        flags = self._read_pairs('train_test_split.txt')
        boxes = self._read_pairs('bounding_boxes.txt') if (self.root / 'bounding_boxes.txt').exists() else None
        numbers = sorted({label for _, label in labels.values()}, key=lambda label: (len(label), label))
        if unknown := [label for label in numbers if label not in names]:
            raise UserError(f"{self.root / 'image_class_labels.txt'}: class '{unknown[0]}' is not in classes.txt")
        place = {number: index for index, number in enumerate(numbers)}
        samples = []
        for image, (_, key) in self._read_pairs('images.txt').items():
            flag = self._of(flags, image, 'train_test_split.txt')
            if flag not in ('0', '1'):
                raise UserError(f"{self.root / 'train_test_split.txt'}, line {flags[image][0]}: expected 0 or 1 after the image's "
                                f"number, not '{flag}'")
            if (flag == '1') != (split == 'train'):
                continue
            box = None
            if boxes is not None:
                try:
                    box = _parse_box(self._of(boxes, image, 'bounding_boxes.txt'))
                except ValueError:
                    raise UserError(f"{self.root / 'bounding_boxes.txt'}, line {boxes[image][0]}: expected left top width height after "
                                    f"the image's number, not '{boxes[image][1]}'") from None
            target = place[self._of(labels, image, 'image_class_labels.txt')]
            samples.append(Sample(key, self.root / 'images' / key, target, box))
        return [names[number][1] for number in numbers], samples

    def _read_pairs(self, file: str) -> dict[str, tuple[int, str]]:
        """Lines 'name rest' as {name: (line number, rest)}."""
        table = {}
        for line, text in read_lines(self.root / file):
            name, _, rest = text.partition(' ')
            if not rest.strip():
                raise UserError(f"{self.root / file}, line {line}: expected a number and a value, not '{text}'")
            table[name] = (line, rest.strip())
        return table

    def _of(self, table: dict[str, tuple[int, str]], image: str, file: str) -> str:
        if image not in table:
            raise UserError(f'{self.root / file} has no line for image {image} of images.txt')
        return table[image][1]


def _parse_box(text: str) -> tuple[float, float, float, float]:
    left, top, width, height = (float(part) for part in text.split())
    return left, top, width, height
