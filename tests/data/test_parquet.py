"""Tables of images with labels in words, or without what is needed."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from fgvc_zoo._errors import UserError
from fgvc_zoo.data import ImageError, open_dataset


def test_parquet_without_class_names(tmp_path: Path) -> None:
    """Words are classes too; a column of images or of classes is needed, and every row has a label."""
    import datasets

    photo = str(tmp_path / 'a.png')
    Image.new('RGB', (40, 30)).save(photo)
    folder = tmp_path / 'data'
    (folder / 'data').mkdir(parents=True)
    file = folder / 'data' / 'test-00000-of-00001.parquet'

    def save(train: list | None = None, **columns: list) -> None:
        kinds = dict(image=datasets.Image(), label=datasets.Value('string'), other=datasets.Value('string'))
        table = datasets.Dataset.from_dict(columns, features=datasets.Features({name: kinds[name] for name in columns}))
        table.to_parquet(file)
        labels = dict(columns, image=[photo] * len(train), label=train) if train else columns
        table = datasets.Dataset.from_dict(labels, features=table.features)
        table.to_parquet(folder / 'data' / 'train-00000-of-00001.parquet')

    save(image=[photo] * 3, label=['plum', 'kiwi', 'plum'])
    dataset = open_dataset(f'hfds:{folder}', 'test')
    assert dataset.class_names == ['kiwi', 'plum'] and dataset.targets == [1, 0, 1]
    save(image=[photo] * 2, label=['plum', 'plum'], train=['plum', 'kiwi', 'apple'])  # classes without test images keep their places
    dataset = open_dataset(f'hfds:{folder}', 'test')
    assert dataset.class_names == ['apple', 'kiwi', 'plum'] and dataset.targets == [2, 2]
    save(image=[photo] * 2, label=['plum', 'pear'], train=['plum', 'kiwi', 'apple'])
    with pytest.raises(UserError, match="has the class 'pear', which the training split has not"):
        open_dataset(f'hfds:{folder}', 'test')
    save(image=[None, photo], label=['plum', 'kiwi'])
    dataset = open_dataset(f'hfds:{folder}', 'test')
    with pytest.raises(ImageError, match="test/0000000' has no image"):
        dataset.load(0)
    assert dataset.load(1).size == (40, 30)
    save(image=[photo] * 2, label=['plum', None], train=['plum', 'kiwi', 'apple'])
    with pytest.raises(UserError, match='row 1 .* has no label'):
        open_dataset(f'hfds:{folder}', 'test')
    save(image=[photo], other=['plum'])
    with pytest.raises(UserError, match='one column of images and one of classes'):
        open_dataset(f'hfds:{folder}', 'test')
