"""Data sets of the Hugging Face Hub, and folders of parquet files."""

from __future__ import annotations

import io
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from fgvc_zoo._errors import UserError, first_line
from fgvc_zoo.data._base import ImageDataset, Sample
from fgvc_zoo.data.images import ImageError
from fgvc_zoo.data.info import DataInfo


class HubDataset(ImageDataset):
    """A repository of images on the Hugging Face Hub, or a folder with its parquet files, read by the library `datasets`.

    One column holds images and one class labels (a ClassLabel, or words, of which those of the training split are the classes). Splits:
    'train', 'test' (or else the validation split), 'val' where there is one, 'fit' and 'holdout'. A split's images have its row numbers as
    names.

    Args:
        root: 'ORG/NAME' on the Hub, or a folder of files such as `data/train-00000-of-00001.parquet`.
        split: An official split, 'fit' or 'holdout'.
        transform: Applied to the RGB image; None returns the image.
        seed: Seed of the transform's randomness.

    Raises:
        UserError: `datasets` is not installed, the data cannot be read, or it has no column of images or of classes.
    """

    name = 'hfds'
    info = DataInfo(
        title='Hugging Face data set', home='https://huggingface.co/datasets',
        folder='ORG/NAME on the Hub, or a folder with\ndata/train-*.parquet\ndata/test-*.parquet')
    is_folder = False
    marks = ('data/train-*.parquet',)

    @cached_property
    def _splits(self) -> dict[str, Any]:
        """The table of each of our splits."""
        try:
            import datasets
        except ModuleNotFoundError as error:
            raise UserError("hfds needs the library datasets: pip install 'fgvc-zoo[data]'") from error
        place = self.root.as_posix()  # a name of the Hub has a slash on every system
        try:
            if self.root.is_dir():
                files = {split: sorted(map(str, self.root.rglob(f'{split}-*.parquet'))) for split in ('train', 'validation', 'test')}
                files = {split: found for split, found in files.items() if found}
                if not files:
                    raise UserError(f"'{place}' has no files such as train-00000-of-00001.parquet")
                tables = datasets.load_dataset('parquet', data_files=files)
            else:
                tables = datasets.load_dataset(place)
        except UserError:
            raise
        except Exception as error:  # the library raises those of many others
            raise UserError(f"the data set '{place}' cannot be read: {first_line(error)}") from error
        named = {dict(validation='val').get(str(name), str(name)): table for name, table in tables.items()}
        if 'val' in named:
            named.setdefault('test', named['val'])
        return named

    def official_splits(self) -> tuple[str, ...]:
        return tuple(self._splits)

    def _read(self, split: str) -> tuple[list[str], list[Sample]]:
        import datasets

        if split not in self._splits:
            raise UserError(f"'{self.root}' has no split '{split}', only {', '.join(self._splits)}")
        table = self._splits[split]
        images = [name for name, kind in table.features.items() if isinstance(kind, datasets.Image)]
        labels = [name for name, kind in table.features.items() if isinstance(kind, datasets.ClassLabel)]
        labels = labels or [name for name in ('label', 'class', 'species') if name in table.features]
        if len(images) != 1 or len(labels) != 1:
            raise UserError(f"'{self.root}' must have one column of images and one of classes, not {images or 'none'} and "
                            f"{labels or 'none'} (its columns are {', '.join(table.features)})")
        self._images = table.cast_column(images[0], datasets.Image(decode=False))
        self._column = images[0]
        kind, values = table.features[labels[0]], list(table[labels[0]])
        if isinstance(kind, datasets.ClassLabel):
            class_names, targets = [name.replace('_', ' ') for name in kind.names], values
        else:
            words = self._splits.get('train', table)[labels[0]]  # the other splits may lack some, and count alike
            class_names = sorted({str(word) for word in words if word is not None})
            place = {name: index for index, name in enumerate(class_names)}
            if unknown := [value for value in values if value is not None and str(value) not in place]:
                raise UserError(f"the split '{split}' of '{self.root}' has the class '{unknown[0]}', which the training split has not")
            targets = [None if value is None else place[str(value)] for value in values]
        if missing := [row for row, target in enumerate(targets) if target is None or target < 0]:
            raise UserError(f"row {missing[0]} of the split '{split}' of '{self.root}' has no label")
        name = 'val' if table is self._splits.get('val') else split  # 'test' may be another name of the same images
        keys = [f'{name}/{row:07d}' for row in range(len(targets))]
        return class_names, [Sample(key, Path(key), target) for key, target in zip(keys, targets, strict=True)]

    def file(self, index: int) -> Path | BinaryIO:
        row = self._images[int(self.keys[index].rpartition('/')[2])][self._column]
        if row is None or (row['bytes'] is None and row['path'] is None):
            raise ImageError(f"'{self.root}/{self.keys[index]}' has no image")
        if row['bytes'] is None:
            return Path(row['path'])
        file = io.BytesIO(row['bytes'])
        file.name = f'{self.root}/{self.keys[index]}'  # for messages
        return file
