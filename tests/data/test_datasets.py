from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from fgvc_zoo._errors import UserError
from fgvc_zoo.data import CUB200, LAYOUTS, Grocery, ImageFolder, open_dataset

DATA = Path(os.environ.get('FGVC_ZOO_DATA', Path(__file__).parents[2] / '..' / 'shared' / 'data'))


def edit(path: Path, line: int, text: str) -> None:
    """Replaces one line (from 1) of a file."""
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text('\n'.join(lines) + '\n')


def test_cub(cub: Callable[..., Path]) -> None:
    root = cub(train=(3, 2, 2), test=1)
    train, test = CUB200(root, 'train'), CUB200(root, 'test')
    assert train.name == 'cub200' and train.split == 'train' and train.num_classes == 3
    assert train.class_names == ['Black footed Albatross', 'Laysan Albatross', 'Sooty Albatross']
    assert train.targets == [0, 0, 0, 1, 1, 2, 2] and test.targets == [0, 1, 2]
    assert test.paths[1] == root / 'images' / '002.Laysan_Albatross' / 'bird 2.jpg'
    assert test.load(1).size == (40, 30)


def test_cub_names_without_a_number_keep_their_dots(cub: Callable[..., Path]) -> None:
    root = cub()
    edit(root / 'classes.txt', 2, '2 St._Kilda_Wren')
    assert CUB200(root, 'test').class_names[1] == 'St. Kilda Wren'


@pytest.mark.parametrize('file', ['images.txt', 'image_class_labels.txt', 'train_test_split.txt', 'classes.txt'])
def test_cub_missing_file_is_named(cub: Callable[..., Path], file: str) -> None:
    root = cub()
    (root / file).unlink()
    with pytest.raises(UserError, match=re.escape(str(root / file)) + '.*missing'):
        open_dataset(f'cub200:{root}', 'train')


@pytest.mark.parametrize(('file', 'line', 'text', 'says'), [
    ('images.txt', 3, 'three a.jpg', 'line 3: expected a number'),
    ('images.txt', 3, '3', 'line 3: expected a number and a value'),
    ('images.txt', 3, '2 a.jpg', 'line 3: number 2 occurs twice'),
    ('image_class_labels.txt', 4, '4 4', 'line 4: class 4 is not one of the 3'),
    ('image_class_labels.txt', 4, '4 0', 'line 4: class 0 is not one of the 3'),
    ('image_class_labels.txt', 4, '4 owl', "line 4: expected a class number .*'owl'"),
    ('image_class_labels.txt', 4, '99 1', 'no line for image 4'),
    ('train_test_split.txt', 2, '2 2', 'line 2: expected 0 or 1'),
    ('bounding_boxes.txt', 1, '1 3 4 5', 'line 1: expected left top width height'),
    ('classes.txt', 1, '7 001.Owl', 'numbered from 1 to 3'),
])
def test_cub_malformed_line(cub: Callable[..., Path], file: str, line: int, text: str, says: str) -> None:
    root = cub()
    edit(root / file, line, text)
    with pytest.raises(UserError, match=re.escape(str(root / file)) + '.*' + says):
        CUB200(root, 'train')


def test_binary_instead_of_text(cub: Callable[..., Path]) -> None:
    root = cub()
    (root / 'images.txt').write_bytes(b'\xff\xd8\xff\xe0')
    with pytest.raises(UserError, match=r'images\.txt.* cannot be read as text'):
        CUB200(root, 'train')


def test_windows_line_ends_and_byte_order_mark(cub: Callable[..., Path]) -> None:
    root = cub()
    for path in root.glob('*.txt'):
        path.write_bytes(b'\xef\xbb\xbf' + path.read_bytes().replace(b'\n', b'\r\n') + b'\r\n')
    dataset = CUB200(root, 'train')
    assert dataset.class_names[2] == 'Sooty Albatross' and dataset.load(0).size == (40, 30)


def test_grocery(grocery: Path) -> None:
    counts = {split: len(Grocery(grocery, split)) for split in ('train', 'train_only', 'val', 'test')}
    assert counts == {'train': 21, 'train_only': 15, 'val': 6, 'test': 9}
    dataset = Grocery(grocery, 'test')
    assert dataset.name == 'grocery' and dataset.class_names == ['Golden Delicious', 'Milk', 'Red Beet']
    assert dataset.targets == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    # the comma in the path is not a separator
    assert dataset.paths[3] == grocery / 'test' / 'Food, fresh' / 'Milk' / 'Milk_0.jpg'
    assert dataset.load(3).size == (40, 30)


@pytest.mark.parametrize(('file', 'line', 'text', 'says'), [
    ('train.txt', 2, 'train/a.jpg, 3, 0', 'line 2: class 3 is not one of the 3'),
    ('train.txt', 2, 'train/a.jpg, -1, 0', 'line 2: expected'),
    ('val.txt', 1, 'val/a.jpg 0 0', 'line 1: expected'),
    ('classes.csv', 3, 'Milk', 'line 3: expected'),
    ('classes.csv', 3, 'Milk,7,Food,0', 'numbered from 0'),
    ('classes.csv', 3, 'Milk,0,Food,0', 'numbered from 0'),
])
def test_grocery_malformed_line(grocery: Path, file: str, line: int, text: str, says: str) -> None:
    edit(grocery / file, line, text)
    with pytest.raises(UserError, match=re.escape(str(grocery / file)) + '.*' + says):
        Grocery(grocery, 'train')


@pytest.mark.parametrize('file', ['train.txt', 'val.txt', 'classes.csv'])
def test_grocery_missing_file_is_named(grocery: Path, file: str) -> None:
    (grocery / file).unlink()
    with pytest.raises(UserError, match=re.escape(str(grocery / file)) + '.*missing'):
        open_dataset(f'grocery:{grocery}', 'train')


@pytest.mark.parametrize('test_folder', ['test', 'val', 'valid'])
def test_folder_with_splits(folder: Callable[..., Path], test_folder: str) -> None:
    root = folder(train=dict(dog=3, cat=2), **{test_folder: dict(dog=1)})
    train, test = ImageFolder(root, 'train'), ImageFolder(root, 'test')
    assert train.name == 'folder' and train.class_names == test.class_names == ['cat', 'dog']
    assert train.targets == [0, 0, 1, 1, 1]
    assert test.targets == [1] and test.paths == [root / test_folder / 'dog' / '0.jpg']


def test_folder_with_test_and_val(folder: Callable[..., Path]) -> None:
    root = folder(train=dict(cat=3, dog=1), test=dict(cat=2), valid=dict(cat=1))
    assert [len(ImageFolder(root, split)) for split in ('train', 'test', 'val')] == [4, 2, 1]


def test_folder_without_splits(folder: Callable[..., Path]) -> None:
    root = folder(cat=5, dog=6)
    assert Counter(ImageFolder(root, 'train').targets) == {0: 5, 1: 6}
    assert Counter(ImageFolder(root, 'holdout').targets) == {0: 1, 1: 1}
    with pytest.raises(UserError, match="no 'test' split: arrange the images as train/CLASS/ and test/CLASS/.*holdout"):
        ImageFolder(root, 'test')


def test_folder_leaves_out_what_is_hidden_or_no_image(folder: Callable[..., Path]) -> None:
    root = folder(cat=2, dog=2)
    (root / '.checkpoints').mkdir()
    for name in ('cat/._0.jpg', 'cat/notes.txt', 'README.md'):
        (root / name).write_text('text')
    nested = root / 'dog' / 'puppies' / 'late.JPG'
    nested.parent.mkdir()
    nested.write_bytes((root / 'dog' / '0.jpg').read_bytes())
    dataset = ImageFolder(root, 'train')
    assert dataset.class_names == ['cat', 'dog'] and len(dataset) == 5 and nested in dataset.paths


@pytest.mark.parametrize(('contents', 'split', 'says'), [
    (dict(test=dict(cat=1)), 'train', r"has no split 'train', only"),
    (dict(train=dict(cat=2), test=dict(owl=1)), 'test', "'owl'.*every class needs training images"),
    (dict(train=dict(cat=2, dog=0)), 'train', "no training image of 'dog'"),
    (dict(train=dict(cat=2), test=dict(cat=0)), 'test', "'test' of .* has no images"),
])
def test_folder_errors(folder: Callable[..., Path], contents: dict, split: str, says: str) -> None:
    root = folder(**contents)
    with pytest.raises(UserError, match=says):
        ImageFolder(root, split)


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='one for each class is needed'):
        open_dataset(str(tmp_path), 'train')


def test_layout_is_recognised(
        cub: Callable[..., Path], grocery: Path, folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    roots = {'cub200': cub(), 'grocery': grocery, 'folder': folder(train=dict(cat=2, dog=2))}
    for name, root in roots.items():
        assert open_dataset(str(root), 'train').name == name
        assert open_dataset(f'{name}:{root}', 'fit').name == name
    monkeypatch.setenv('HOME', str(grocery.parent))
    monkeypatch.setenv('USERPROFILE', str(grocery.parent))
    assert len(open_dataset('grocery:~/shop', 'val')) == 6


def test_transform_and_seed_are_passed_on(grocery: Path) -> None:
    for spec in (str(grocery), f'grocery:{grocery}'):
        dataset = open_dataset(spec, 'val', transform=lambda image: image.size, seed=7)
        assert dataset.seed == 7 and dataset[0] == ((40, 30), 0)


def test_a_path_with_a_colon(folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(cat=2, dog=2)
    colon = root.rename(root.parent / 'zoo:2')
    monkeypatch.chdir(colon.parent)
    assert len(open_dataset('zoo:2', 'train')) == len(open_dataset(str(colon), 'train')) == 4


@pytest.mark.parametrize(('spec', 'says'), [
    ('cub20:/data', "'cub20' is not known, did you mean 'cub200'"),
    ('imagenet:x', 'choose from cub200, cars196, dogs120, aircraft100, nabirds'),
    ('/no/such/folder', "'/no/such/folder' does not exist"),
    ('cub200:/no/such/folder', "'/no/such/folder' does not exist"),
    ('C:/no/such', 'does not exist'),
])
def test_bad_spec(spec: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        open_dataset(spec, 'train')


def test_a_file_is_not_a_data_set(tmp_path: Path) -> None:
    (tmp_path / 'a.zip').touch()
    with pytest.raises(UserError, match='is not a folder'):
        open_dataset(str(tmp_path / 'a.zip'), 'train')


def test_unknown_split_lists_them(grocery: Path) -> None:
    with pytest.raises(UserError, match=r"'tets'.*did you mean 'test'.*train, train_only, val, test, fit, holdout"):
        open_dataset(str(grocery), 'tets')


@pytest.mark.parametrize(('name', 'classes', 'counts'), [
    ('cub50', 50, {'train': 1500, 'test': 1389, 'fit': 1200, 'holdout': 300}),
    ('grocery', 81, {'train': 2936, 'train_only': 2640, 'val': 296, 'test': 2485}),
])
def test_real_data(name: str, classes: int, counts: dict[str, int]) -> None:
    root = DATA / name
    if not root.is_dir():
        pytest.skip(f'{root} is not there (set FGVC_ZOO_DATA)')
    for split, count in counts.items():
        dataset = open_dataset(str(root), split)
        assert len(dataset) == count and dataset.num_classes == classes
        assert set(dataset.targets) <= set(range(classes))
        dataset.load(0)
    if name == 'cub50':
        boxes = open_dataset(str(root), 'holdout').boxes
        assert boxes is not None and (boxes[:, 2:] > boxes[:, :2]).all() and boxes.min() >= 0 and boxes.max() <= 1


def test_the_page_of_a_data_set_is_an_address():
    for layout in LAYOUTS.values():
        assert re.fullmatch(r'(https?://[^\s]+)?', layout.info.home), layout.name
