"""The Grocery Store Dataset."""

from __future__ import annotations

import csv
from pathlib import Path

from fgvc_zoo._errors import UserError
from fgvc_zoo.data._base import ImageDataset, Sample
from fgvc_zoo.data.index_files import read_lines
from fgvc_zoo.data.info import DataInfo


class Grocery(ImageDataset):
    """The official layout of the Grocery Store Dataset, with its fine classes (Klasson et al., WACV 2019).

    Splits: 'train' is `train.txt` and `val.txt` together; 'train_only' and 'val' are one file each; 'test', 'fit', 'holdout'. Below the
    root: `classes.csv`, and text files with lines 'path, fine class, coarse class', whose classes are numbered from 0.
    """

    name = 'grocery'
    marks = ('classes.csv', '*.txt')
    info = DataInfo(
        title='Grocery Store Dataset', home='https://github.com/marcusklasson/GroceryStoreDataset', classes=81,
        kind='groceries', images=dict(train=2936, test=2485, train_only=2640, val=296), licence='MIT',
        folder='train/\nval/\ntest/\ntrain.txt\nval.txt\ntest.txt\nclasses.csv',
        citation='Klasson, Zhang, Kjellström: A Hierarchical Grocery Store Image Dataset with Visual and Semantic Labels. WACV 2019')

    def official_splits(self) -> tuple[str, ...]:
        return ('train', 'train_only', 'val', 'test')

    def _read(self, split: str) -> tuple[list[str], list[Sample]]:
        class_names = self._read_classes(self.root / 'classes.csv')
        samples = []
        for file in {'train': ('train.txt', 'val.txt'), 'train_only': ('train.txt',)}.get(split, (f'{split}.txt',)):
            for line, text in read_lines(self.root / file):
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
        lines = read_lines(path)
        names: dict[int, str] = {}
        for line, text in lines[1:]:  # after the header
            row = next(csv.reader([text]))
            if len(row) < 2 or not row[0].strip() or not row[1].strip().isdecimal():
                raise UserError(f"{path}, line {line}: expected 'class name,class number,...', not '{text}'")
            names[int(row[1])] = row[0].strip().replace('-', ' ')
        if not names or sorted(names) != list(range(len(lines) - 1)):
            raise UserError(f'{path}: after the header, the classes must be numbered from 0 without gaps')
        return [names[number] for number in sorted(names)]
