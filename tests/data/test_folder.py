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
    (dict(Test=dict(cat=1), Val=dict(cat=1)), "train' is missing"),
    (dict(train=dict(cat=2), Training=dict(cat=2)), 'are both a train split'),
    (dict(birds=dict(cat=2, dog=2)), r"single folder 'birds', which holds folders itself: give '.*birds'"),
    (dict(cat=3), 'a single class'),
])
def test_what_is_no_set_of_classes(folder: Callable[..., Path], contents: dict, says: str) -> None:
    root = folder(**contents)
    with pytest.raises(UserError, match=says):
        ImageFolder(root, 'train')


def test_two_forms_of_a_name_are_one_class(folder: Callable[..., Path]) -> None:
    names = [unicodedata.normalize(form, 'Süßkirsche é') for form in ('NFC', 'NFD')]
    root = folder(**{names[0]: 2, 'dog': 2})
    shutil.copytree(root / names[0], root / names[1], dirs_exist_ok=True)
    if len(os.listdir(root)) < 3:
        pytest.skip('this file system does not tell the two forms apart')
    dataset = ImageFolder(root, 'train')
    assert dataset.class_names == [names[0], 'dog']
    assert dataset.targets == [0, 0, 0, 0, 1, 1]


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
