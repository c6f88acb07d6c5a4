"""The competitions of iNaturalist in 2018 and 2021."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fgvc_zoo._errors import UserError
from fgvc_zoo.data._base import ImageDataset, Sample
from fgvc_zoo.data.index_files import entries_of, read_json
from fgvc_zoo.data.info import DataInfo


class INaturalist(ImageDataset):
    """The JSON files of iNaturalist 2018 (`train2018.json`, `val2018.json`) and 2021 (`train.json`, `train_mini.json`, `val.json`).

    Splits: 'train', 'val'; 'test' is 'val', since the test images have no labels; 'fit' and 'holdout'; in 2021 also 'train_mini'.
    The files' paths begin at the root. Classes have their common names where the files have them, else the scientific ones. In 2018
    a file of its own, `categories.json`, has the names.
    """

    name = 'inat'
    marks = ('train2018.json', 'val2018.json')  # those of 2021 have names that other folders have too
    info = DataInfo(
        title='iNaturalist 2018 and 2021', home='https://github.com/visipedia/inat_comp',
        kind='species', licence='non-commercial research and education only',
        folder='train2018.json, val2018.json and categories.json with train_val2018/, or\n'
               'train.json, train_mini.json and val.json with train/, train_mini/ and val/',
        citation='Van Horn, Mac Aodha, Song, Cui, Sun, Shepard, Adam, Perona, Belongie: The iNaturalist Species Classification and '
                 'Detection Dataset. CVPR 2018')

    def _files(self) -> dict[str, Path]:
        """The JSON file of each split."""
        old = (self.root / 'train2018.json').exists() or (self.root / 'val2018.json').exists()
        names = dict(train='train2018.json', val='val2018.json') if old else dict(
            train='train.json', train_mini='train_mini.json', val='val.json')
        files = {split: self.root / name for split, name in names.items() if (self.root / name).exists()}
        if not files:
            raise UserError(f"the data set's file '{self.root / 'train.json'}' is missing (or train2018.json, for 2018)")
        return {**files, **({'test': files['val']} if 'val' in files else {})}

    def official_splits(self) -> tuple[str, ...]:
        return tuple(self._files())

    def _identities(self) -> Iterable[tuple[Path, str]]:
        """`train_mini/` has copies of images of `train/`, so the first folder does not count."""
        return ((self.root, key.partition('/')[2]) for key in self.keys)

    def _read(self, split: str) -> tuple[list[str], list[Sample]]:
        files = self._files()
        if split not in files:
            raise UserError(f"'{self.root}' has no JSON file of the split '{split}'")
        file = files[split]
        content = read_json(file)
        try:
            categories = sorted(entries_of(content, 'categories', file), key=lambda category: category['id'])
            if (self.root / 'categories.json').exists():
                named = {category['id']: category for category in read_json(self.root / 'categories.json')}
                categories = [named[category['id']] for category in categories]
            place = {category['id']: index for index, category in enumerate(categories)}
            targets = {row['image_id']: place[row['category_id']] for row in entries_of(content, 'annotations', file)}
            samples = [Sample(image['file_name'], self.root / image['file_name'], targets[image['id']])
                       for image in entries_of(content, 'images', file)]
        except (KeyError, TypeError) as error:
            raise UserError(
                f'{file}: an image, a label or a category lacks an entry, or refers to one that is missing ({error})') from error
        return _unique([_name(category) for category in categories], categories), samples


def _name(category: dict[str, Any]) -> str:
    return str(category.get('common_name') or category.get('name') or f"class {category['id']}")


def _unique(names: list[str], categories: list[dict[str, Any]]) -> list[str]:
    """Names that several categories share get the scientific name too."""
    counts = Counter(names)
    return [f"{name} ({category.get('name', category['id'])})" if counts[name] > 1 else name
            for name, category in zip(names, categories, strict=True)]
