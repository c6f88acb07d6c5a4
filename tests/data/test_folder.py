"""Folders of classes: splits under their usual names, and what would train without making sense."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from fgvc_zoo._errors import UserError
from fgvc_zoo.data import ImageFolder


@pytest.mark.parametrize(('train', 'other', 'split'), [
    ('Train', 'Test', 'test'), ('training', 'testing', 'test'), ('TRAIN', 'Validation', 'val'), ('train', 'VALID', 'test')])
def test_usual_names_of_splits(folder: Callable[..., Path], train: str, other: str, split: str) -> None:
    root = folder(**{train: dict(cat=2, dog=2), other: dict(cat=1)})
    assert ImageFolder(root, 'train').class_names == ['cat', 'dog']
    assert ImageFolder(root, split).paths == [root / other / 'cat' / '0.jpg']


@pytest.mark.parametrize(('contents', 'says'), [
    (dict(gala=2, kiwi=2, test=2), "'.*test' looks like a split among the classes"),
    (dict(Test=dict(cat=1), Val=dict(cat=1)), "has no split 'train', only"),
    (dict(train=dict(cat=2), Training=dict(cat=2)), 'are both a train split'),
    (dict(train_images=dict(cat=2), kiwi=2), "'.*train_images' looks like a split among the classes"),
    (dict(Val2017=2, kiwi=2), "'.*Val2017' looks like a split among the classes"),
    (dict(train=2, bus=2, car=2), "'.*train' looks like a split among the classes"),
    (dict(birds=dict(cat=2, dog=2)), r"single folder 'birds', which holds folders itself: give '.*birds'"),
    ({'birds': 1, 'birds/cat': 2, 'birds/dog': 2}, r"single folder 'birds', which holds folders itself: give '.*birds'"),
    ({'train/birds/cat': 2, 'train/birds/dog': 2}, r"single folder 'birds', .*: move them into '.*train'"),
    (dict(cat=3), 'a single class'),
    (dict(train=2), "train' has no folders below it, one for each class is needed"),
])
def test_what_is_no_set_of_classes(folder: Callable[..., Path], contents: dict, says: str) -> None:
    root = folder(**contents)
    with pytest.raises(UserError, match=says):
        ImageFolder(root, 'train')


def test_two_forms_of_a_name_are_one_class(folder: Callable[..., Path]) -> None:
    names = [unicodedata.normalize(form, 'Süßkirsche é') for form in ('NFC', 'NFD')]
    root = folder(**{names[0]: 1, 'dog': 2})
    (root / names[1]).mkdir(exist_ok=True)
    if len(os.listdir(root)) < 3:
        pytest.skip('this file system does not tell the two forms apart')
    shutil.copytree(root / names[0], root / names[1], dirs_exist_ok=True)
    dataset = ImageFolder(root, 'train')
    assert dataset.class_names == [names[0], 'dog']
    assert dataset.targets == [0, 0, 1, 1]
    assert ImageFolder(root, 'holdout').targets == [1]  # the two files have one key, and 'fit' needs an image


def test_a_loop_adds_nothing(folder: Callable[..., Path]) -> None:
    root = folder(cat=3, dog=3)
    os.symlink(root, root / 'cat' / 'loop')
    os.symlink(root / 'dog', root / 'dog' / 'self')
    assert len(ImageFolder(root, 'train')) == 6


@pytest.mark.parametrize('link', [os.symlink, os.link])
def test_a_file_in_two_classes_is_refused(folder: Callable[..., Path], link: Callable[..., None]) -> None:
    root = folder(cat=3, dog=3)
    link(root / 'cat' / '1.jpg', root / 'dog' / 'x.jpg')
    with pytest.raises(UserError, match="one file in two classes, 'cat' and 'dog'"):
        ImageFolder(root, 'train')


def test_a_name_that_is_not_utf8_is_refused_at_the_start(folder: Callable[..., Path]) -> None:
    root = folder(cat=2, dog=2)
    try:
        os.rename(root / 'dog', os.fsencode(root) + b'/d\xff')
    except OSError:
        pytest.skip('this file system refuses such names')
    with pytest.raises(UserError, match='is not UTF-8: rename it'):
        ImageFolder(root, 'train')


def test_what_is_left_out_is_counted_for_each_class(folder: Callable[..., Path]) -> None:
    root = folder(cat=2, dog=2, owl=2)
    for number in range(6):
        (root / 'cat' / f'{number}.xyz').touch()
    (root / 'owl' / 'notes.txt').touch()
    (root / 'dog' / '.hidden.txt').touch()
    with pytest.warns(UserWarning, match=r"7 files below .* left out \('cat': 6 \.xyz; 'owl': 1 \.txt\)"):
        assert len(ImageFolder(root, 'train')) == 6


def test_images_without_a_class_are_named(folder: Callable[..., Path]) -> None:
    root = folder(train={'cat': 2, 'dog.jpg': 2}, gala=2)
    shutil.copy(root / 'gala' / '0.jpg', root / 'train' / 'loose.jpg')
    (root / 'notes').mkdir()
    with pytest.warns(UserWarning) as caught:
        assert len(ImageFolder(root, 'train')) == 4
    notes = [str(note.message) for note in caught]
    assert len(notes) == 2
    assert notes[0].endswith("zoo' belong to no split and their images are left out, such as 'gala' (1 in all)")
    assert notes[1].endswith("train' belong to no class and are left out, such as 'loose.jpg' (1 in all)")


def test_the_held_out_images_do_not_depend_on_the_unicode_form(folder: Callable[..., Path]) -> None:
    composed = folder(kiwi=2, é=0)
    for number in range(20):
        shutil.copy(composed / 'kiwi' / '0.jpg', composed / 'é' / f'{number} ü.jpg')
    decomposed = composed.parent / 'decomposed'
    for path in composed.rglob('*.jpg'):
        other = decomposed / unicodedata.normalize('NFD', path.relative_to(composed).as_posix())
        other.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, other)
    keys = [ImageFolder(root, 'holdout').keys for root in (composed, decomposed)]
    assert sorted(keys[0]) == sorted(keys[1])


def test_files_with_names_that_are_not_utf8(folder: Callable[..., Path]) -> None:
    root = folder(cat=2, dog=2)
    try:
        os.rename(root / 'dog' / '0.jpg', os.fsencode(root) + b'/dog/\xff.jpg')
    except OSError:
        pytest.skip('this file system refuses such names')
    assert len(ImageFolder(root, 'holdout')) == len(ImageFolder(root, 'fit')) == 2
