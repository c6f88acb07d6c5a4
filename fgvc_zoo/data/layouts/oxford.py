"""The data sets of Oxford's Visual Geometry Group: FGVC-Aircraft, 102 flowers, pets."""

from __future__ import annotations

from pathlib import Path

from torchvision.datasets import Flowers102 as TorchvisionFlowers

from fgvc_zoo._errors import UserError
from fgvc_zoo.data._base import ImageDataset, Sample
from fgvc_zoo.data.index_files import entries_of, read_lines, read_matlab
from fgvc_zoo.data.info import DataInfo


class Aircraft100(ImageDataset):
    """The official layout of FGVC-Aircraft, with its variants as classes.

    Splits: 'train' is the official trainval; 'train_only' and 'val' are its halves; 'test', 'fit', 'holdout'. The lowest 20 pixels of each
    photograph, a banner with the photographer's name, are cut off.
    """

    name = 'aircraft100'
    marks = ('data/variants.txt',)
    banner = 20
    info = DataInfo(
        title='FGVC-Aircraft', home='https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/', classes=100, kind='aircraft variants',
        images=dict(train=6667, test=3333, train_only=3334, val=3333), boxes=True, licence='non-commercial research only',
        folder='data/images/\ndata/variants.txt\ndata/images_variant_trainval.txt\ndata/images_variant_train.txt\n'
               'data/images_variant_val.txt\ndata/images_variant_test.txt\ndata/images_box.txt (only to measure boxes)',
        citation='Maji, Kannala, Rahtu, Blaschko, Vedaldi: Fine-Grained Visual Classification of Aircraft. arXiv 1306.5151, 2013')

    def official_splits(self) -> tuple[str, ...]:
        return ('train', 'train_only', 'val', 'test')

    def _read(self, split: str) -> tuple[list[str], list[Sample]]:
        root = self.below('fgvc-aircraft-2013b') / 'data'
        class_names = [name for _, name in read_lines(root / 'variants.txt')]
        place = {name: index for index, name in enumerate(class_names)}
        boxes = self._boxes() if (root / 'images_box.txt').exists() else {}
        file = root / f"images_variant_{dict(train='trainval', train_only='train').get(split, split)}.txt"
        samples = []
        for line, text in read_lines(file):
            image, _, variant = text.partition(' ')
            if variant not in place:
                raise UserError(f"{file}, line {line}: expected an image's number and a variant of variants.txt, not '{text}'")
            samples.append(Sample(f'data/images/{image}.jpg', root / 'images' / f'{image}.jpg', place[variant], boxes.get(image)))
        return class_names, samples

    def _boxes(self) -> dict[str, tuple[float, float, float, float]]:
        file = self.below('fgvc-aircraft-2013b') / 'data' / 'images_box.txt'
        boxes = {}
        for line, text in read_lines(file):
            image, *corners = text.split()
            if len(corners) != 4 or not all(corner.isdecimal() for corner in corners):
                raise UserError(f"{file}, line {line}: expected an image's number, left, top, right and bottom, not '{text}'")
            left, top, right, bottom = map(int, corners)
            boxes[image] = (left - 1.0, top - 1.0, right - left + 1.0, bottom - top + 1.0)  # pixels count from 1, to the last inside
        return boxes


class Flowers102(ImageDataset):
    """The official layout of the 102 flowers.

    Splits: 'train' is the official train and val together, as papers train; 'train_only' and 'val' are one each; 'test', 'fit', 'holdout'.
    """

    name = 'flowers102'
    marks = ('imagelabels.mat', 'setid.mat')
    info = DataInfo(
        title='Oxford 102 Flower', home='https://www.robots.ox.ac.uk/~vgg/data/flowers/102/', classes=102,
        kind='flowers', images=dict(train=2040, test=6149, train_only=1020, val=1020), folder='jpg/\nimagelabels.mat\nsetid.mat',
        citation='Nilsback, Zisserman: Automated Flower Classification over a Large Number of Classes. ICVGIP 2008')

    def official_splits(self) -> tuple[str, ...]:
        return ('train', 'train_only', 'val', 'test')

    def _read(self, split: str) -> tuple[list[str], list[Sample]]:
        root = self.below('flowers-102')
        labels = entries_of(read_matlab(root / 'imagelabels.mat'), 'labels', root / 'imagelabels.mat').tolist()
        sets = read_matlab(root / 'setid.mat')
        names = dict(train=('trnid', 'valid'), train_only=('trnid',), val=('valid',), test=('tstid',))[split]
        numbers = [int(number) for name in names for number in entries_of(sets, name, root / 'setid.mat').tolist()]
        known = getattr(TorchvisionFlowers, 'classes', None)  # the files have none
        if known is None:
            raise UserError('this torchvision has no names of the flowers: pip install --upgrade torchvision')
        class_names = [name.removesuffix('?') for name in known]
        samples = []
        for number in numbers:
            if not 0 < number <= len(labels):
                raise UserError(f"{root / 'setid.mat'}: imagelabels.mat has {len(labels)} labels, none for image {number}")
            if not 0 < labels[number - 1] <= len(class_names):
                raise UserError(
                    f"{root / 'imagelabels.mat'}: class {labels[number - 1]} of image {number} is not in [1, {len(class_names)}]")
            key = f'jpg/image_{number:05d}.jpg'
            samples.append(Sample(key, root / key, int(labels[number - 1]) - 1))
        return class_names, samples


class Pets37(ImageDataset):
    """The official layout of the Oxford-IIIT pets. Splits: 'train' is the official trainval; 'test', 'fit', 'holdout'."""

    name = 'pets37'
    marks = ('annotations/trainval.txt',)
    info = DataInfo(
        title='Oxford-IIIT Pet', home='https://www.robots.ox.ac.uk/~vgg/data/pets/', classes=37,
        kind='cat and dog breeds', images=dict(train=3680, test=3669), licence='CC BY-SA 4.0',
        folder='images/\nannotations/trainval.txt\nannotations/test.txt',
        citation='Parkhi, Vedaldi, Zisserman, Jawahar: Cats and Dogs. CVPR 2012')

    def official_splits(self) -> tuple[str, ...]:
        return ('train', 'test')

    def _read(self, split: str) -> tuple[list[str], list[Sample]]:
        root = self.below('oxford-iiit-pet')
        rows = {name: self._rows(root / 'annotations' / f'{name}.txt') for name in ('trainval', 'test')}
        names: dict[int, str] = {}
        for image, number in (row for part in rows.values() for row in part):
            names.setdefault(number, image.rpartition('_')[0].replace('_', ' ').title())
        if sorted(names) != list(range(1, len(names) + 1)):
            raise UserError(f"{root / 'annotations'}: the classes must be numbered from 1 to {len(names)}")
        samples = [Sample(f'images/{image}.jpg', root / 'images' / f'{image}.jpg', number - 1)
                   for image, number in rows[dict(train='trainval').get(split, split)]]
        return [names[number] for number in sorted(names)], samples

    @staticmethod
    def _rows(file: Path) -> list[tuple[str, int]]:
        rows = []
        for line, text in read_lines(file):
            if text.startswith('#'):
                continue
            words = text.split()
            if len(words) != 4 or not words[1].isdecimal():
                raise UserError(f"{file}, line {line}: expected 'image class species breed', not '{text}'")
            rows.append((words[0], int(words[1])))
        return rows
