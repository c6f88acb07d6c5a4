"""Stanford Cars and Stanford Dogs."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from fgvc_zoo._errors import UserError
from fgvc_zoo.data._base import ImageDataset, Sample
from fgvc_zoo.data.index_files import entries_of, read_matlab
from fgvc_zoo.data.info import DataInfo


class Cars196(ImageDataset):
    """The official layout of Stanford Cars. Splits: 'train', 'test', 'fit', 'holdout'.

    The labels of the test split are in `cars_test_annos_withlabels.mat`, in the root or in `devkit/`.
    """

    name = 'cars196'
    marks = ('devkit/cars_meta.mat',)
    info = DataInfo(
        title='Stanford Cars', home='https://ai.stanford.edu/~jkrause/cars/car_dataset.html', classes=196,
        note='the page is no longer there', kind='car models',
        images=dict(train=8144, test=8041), boxes=True,
        folder='cars_train/\ncars_test/\ndevkit/cars_meta.mat\ndevkit/cars_train_annos.mat\ncars_test_annos_withlabels.mat',
        citation='Krause, Stark, Deng, Fei-Fei: 3D Object Representations for Fine-Grained Categorization. 3dRR workshop, ICCV 2013')

    def official_splits(self) -> tuple[str, ...]:
        return ('train', 'test')

    def _read(self, split: str) -> tuple[list[str], list[Sample]]:
        root = self.below('stanford_cars')
        meta = root / 'devkit' / 'cars_meta.mat'
        class_names = [str(name) for name in entries_of(read_matlab(meta), 'class_names', meta).tolist()]
        file = root / 'devkit' / 'cars_train_annos.mat'
        if split == 'test':
            file = root / 'cars_test_annos_withlabels.mat'
            if not file.exists() and (root / 'devkit' / file.name).exists():
                file = root / 'devkit' / file.name
        samples = []
        for row in entries_of(read_matlab(file), 'annotations', file):
            try:
                image, target = str(row['fname']), int(row['class']) - 1
                left, top, right, bottom = (float(row[f'bbox_{corner}']) for corner in ('x1', 'y1', 'x2', 'y2'))
            except (ValueError, IndexError, KeyError, TypeError) as error:
                raise UserError(f"{file}: an annotation lacks 'fname', 'class' or a corner of its box ({error})") from error
            if not 0 <= target < len(class_names):
                raise UserError(f"{file}: class {target + 1} of '{image}' is not one of the {len(class_names)} in cars_meta.mat")
            key = f'cars_{split}/{image}'
            samples.append(Sample(key, root / key, target, (left - 1, top - 1, right - left + 1, bottom - top + 1)))  # MATLAB's pixels
        return class_names, samples


class Dogs120(ImageDataset):
    """The official layout of Stanford Dogs. Splits: 'train', 'test', 'fit', 'holdout'.

    Its photographs are from ImageNet's training split, which most backbones have seen with their labels.
    """

    name = 'dogs120'
    marks = ('Images', 'train_list.mat')
    info = DataInfo(
        title='Stanford Dogs', home='http://vision.stanford.edu/aditya86/ImageNetDogs/', classes=120,
        kind='dog breeds', images=dict(train=12_000, test=8580), boxes=True,
        folder='Images/\nAnnotation/ (only to measure boxes)\ntrain_list.mat\ntest_list.mat (both may be in lists/)',
        citation='Khosla, Jayadevaprakash, Yao, Fei-Fei: Novel Dataset for Fine-Grained Image Categorization. FGVC workshop, CVPR 2011')

    def official_splits(self) -> tuple[str, ...]:
        return ('train', 'test')

    def _read(self, split: str) -> tuple[list[str], list[Sample]]:
        lists = self.root / 'lists' if (self.root / 'lists').is_dir() else self.root
        rows = {name: self._rows(lists / f'{name}_list.mat') for name in ('train', 'test')}
        folders: dict[int, str] = {}
        for image, number in (row for part in rows.values() for row in part):
            folders.setdefault(number, image.partition('/')[0])
        if sorted(folders) != list(range(1, len(folders) + 1)):
            raise UserError(f"{lists}: the classes of train_list.mat and test_list.mat must be numbered from 1 to {len(folders)}")
        boxes = (self.root / 'Annotation').is_dir()
        samples = [Sample(f'Images/{image}', self.root / 'Images' / image, number - 1, self._box(image) if boxes else None)
                   for image, number in rows[split]]
        # 'n02085620-Chihuahua' is 'Chihuahua'
        return [folders[number].partition('-')[2].replace('_', ' ') or folders[number] for number in sorted(folders)], samples

    @staticmethod
    def _rows(file: Path) -> list[tuple[str, int]]:
        content: dict[str, Any] = read_matlab(file)
        images, labels = entries_of(content, 'file_list', file).tolist(), entries_of(content, 'labels', file).tolist()
        if len(images) != len(labels):
            raise UserError(f'{file}: there are {len(images)} images and {len(labels)} labels')
        return [(str(image), int(label)) for image, label in zip(images, labels, strict=True)]

    def _box(self, image: str) -> tuple[float, float, float, float]:
        """The box around the dog; around all of them if there are several."""
        file = self.root / 'Annotation' / image.removesuffix('.jpg')
        try:
            boxes = [[float(box.findtext(corner, '')) for corner in ('xmin', 'ymin', 'xmax', 'ymax')]
                     for box in ElementTree.parse(file).iter('bndbox')]
            left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
            right, bottom = max(box[2] for box in boxes), max(box[3] for box in boxes)
        except FileNotFoundError:
            raise UserError(f"the data set's file '{file}' is missing") from None
        except (ElementTree.ParseError, ValueError, OSError) as error:
            raise UserError(f"the data set's file '{file}' has no box: {error}") from error
        return left, top, right - left, bottom - top
