"""Tiny data sets in the official layouts: splits, classes, names, boxes, and a clear sentence for what is wrong in them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from scipy.io import savemat

from fgvc_zoo._errors import UserError
from fgvc_zoo.data import LAYOUTS, open_dataset


def write(path: Path, text: str = '', size: tuple[int, int] = (40, 30)) -> None:
    """A text file, or an image of the colour of its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in ('.jpg', '.png'):
        Image.new('RGB', size, tuple(path.name.encode()[:3])).save(path)
    else:
        path.write_text(text, encoding='utf-8')


def cars196(root: Path) -> None:
    """Three classes; MATLAB's structs have the corners of the box, the class and the file's name."""
    kinds = [(name, object) for name in ('bbox_x1', 'bbox_y1', 'bbox_x2', 'bbox_y2', 'class', 'fname')]
    meta = np.empty(3, dtype=object)
    meta[:] = ['AM General Hummer SUV 2000', 'Acura RL Sedan 2012', 'Ram C/V Cargo Van Minivan 2012']
    (root / 'devkit').mkdir(parents=True)
    savemat(root / 'devkit' / 'cars_meta.mat', dict(class_names=meta))
    for split, file, count in (('train', 'devkit/cars_train_annos.mat', 6), ('test', 'cars_test_annos_withlabels.mat', 3)):
        rows = np.array([(11, 1, 30, 15, index % 3 + 1, f'{index + 1:05d}.jpg') for index in range(count)], dtype=kinds)
        savemat(root / file, dict(annotations=rows))
        for index in range(count):
            write(root / f'cars_{split}' / f'{index + 1:05d}.jpg')


def dogs120(root: Path) -> None:
    folders = ['n02085620-Chihuahua', 'n02097658-silky_terrier']
    for split, count in (('train', 3), ('test', 2)):
        names = [f'{folder}/{folder.partition("-")[0]}_{split}{index}' for folder in folders for index in range(count)]
        cells = np.empty((len(names), 1), dtype=object)
        cells[:, 0] = [f'{name}.jpg' for name in names]
        labels = np.array([[1 + folders.index(name.partition('/')[0])] for name in names], dtype=np.uint8)
        root.mkdir(exist_ok=True)
        savemat(root / f'{split}_list.mat', dict(file_list=cells, annotation_list=cells, labels=labels))
        for name in names:
            write(root / 'Images' / f'{name}.jpg')
            write(root / 'Annotation' / name,
                  '<annotation><object><bndbox><xmin>10</xmin><ymin>0</ymin><xmax>20</xmax><ymax>15</ymax></bndbox></object>'
                  '<object><bndbox><xmin>15</xmin><ymin>3</ymin><xmax>30</xmax><ymax>12</ymax></bndbox></object></annotation>')


def aircraft100(root: Path) -> None:
    variants = ['707-320', 'A300B4', 'Hawk T1']
    write(root / 'data' / 'variants.txt', '\n'.join(variants))
    number, boxes = 0, []
    for split, count in (('train', 6), ('val', 6), ('test', 3)):
        lines = []
        for index in range(count):
            number += 1
            lines.append(f'{number:07d} {variants[index % 3]}')
            boxes.append(f'{number:07d} 11 1 30 15')
            write(root / 'data' / 'images' / f'{number:07d}.jpg', size=(40, 50))
        write(root / 'data' / f'images_variant_{split}.txt', '\n'.join(lines))
    both = [(root / 'data' / f'images_variant_{split}.txt').read_text() for split in ('train', 'val')]
    write(root / 'data' / 'images_variant_trainval.txt', '\n'.join(both))
    write(root / 'data' / 'images_box.txt', '\n'.join(boxes))


def nabirds(root: Path) -> None:
    """Class 0 is the root of the tree and 295 a family; both have no images."""
    write(root / 'classes.txt', '0 Birds\n295 Ducks\n817 Bald Eagle (Adult, subadult)\n1010 Hooded Merganser (Breeding male)')
    write(root / 'hierarchy.txt', '817 0\n295 0\n1010 295')
    lines: dict[str, list[str]] = {name: [] for name in ('images', 'image_class_labels', 'train_test_split', 'bounding_boxes')}
    for index in range(10):
        image, number = f'0000139e-21dc-4d0c-bfe1-4cae3c85c8{index:02d}', ('1010', '817')[index % 2]
        key = f"{int(number):04d}/{image.replace('-', '')}.jpg"
        write(root / 'images' / key)
        for name, value in zip(lines, (key, number, str(int(index < 6)), '10 0 20 15'), strict=True):
            lines[name].append(f'{image} {value}')
    for name, rows in lines.items():
        write(root / f'{name}.txt', '\n'.join(rows))


def flowers102(root: Path) -> None:
    root.mkdir()
    savemat(root / 'imagelabels.mat', dict(labels=np.array([[1, 2, 102] * 4], dtype=np.uint8)))
    every = [[index for index in range(1, 13) if index % 4 == part] for part in range(4)]
    covered = np.array([range(1, 4)], dtype=np.uint16)
    savemat(root / 'setid.mat', dict(trnid=covered, valid=covered + 3, tstid=covered + 6, unused=np.array(every)))
    for index in range(1, 13):
        write(root / 'jpg' / f'image_{index:05d}.jpg')


def pets37(root: Path) -> None:
    header = '#Image CLASS-ID SPECIES BREED ID\n#ID: 1:37 Class ids\n'
    for split, start, text in (('trainval', 100, ''), ('test', 200, header)):
        names = [f'{name}_{start + index}' for name in ('Abyssinian', 'american_bulldog') for index in range(3)]
        write(root / 'annotations' / f'{split}.txt', text + '\n'.join(f'{name} {1 + index // 3} 1 1' for index, name in enumerate(names)))
        for name in names:
            write(root / 'images' / f'{name}.jpg')


def food101(root: Path) -> None:
    for split, numbers in (('train', (1, 2, 3)), ('test', (4,))):
        content = {folder: [f'{folder}/{number}' for number in numbers] for folder in ('waffles', 'apple_pie')}
        write(root / 'meta' / f'{split}.json', json.dumps(content))
        for images in content.values():
            for image in images:
                write(root / 'images' / f'{image}.jpg')


def _inat(root: Path, files: dict[str, str], folders: dict[str, str], categories: list[dict]) -> None:
    number = 0
    for split, file in files.items():
        images, labels = [], []
        for index in range(6):
            number += 1
            images.append(dict(id=number, file_name=f'{folders[split]}/{number}.jpg', width=40, height=30))
            labels.append(dict(id=number, image_id=number, category_id=categories[index % len(categories)]['id']))
            write(root / images[-1]['file_name'])
        write(root / file, json.dumps(dict(info={}, images=images, annotations=labels[::-1], categories=categories, licenses=[])))


def inat(root: Path) -> None:
    """2021: two frogs with one common name."""
    names = [('Lithobates catesbeianus', 'Bullfrog'), ('Hoplobatrachus tigerinus', 'Bullfrog'), ('Bufo bufo', 'Common Toad')]
    categories = [dict(id=index, name=name, common_name=common, kingdom='Animalia') for index, (name, common) in enumerate(names)]
    splits = ('train', 'train_mini', 'val')
    _inat(root, {split: f'{split}.json' for split in splits}, {split: split for split in splits}, categories)


def inat2018(root: Path) -> None:
    categories = [dict(id=7, name='Bufo bufo', supercategory='Amphibia'), dict(id=3, name='Acer rubrum', supercategory='Plantae')]
    _inat(root, dict(train='train2018.json', val='val2018.json'), dict(train='train_val2018/a', val='train_val2018/b'),
          [dict(category, name=str(category['id'])) for category in categories])
    write(root / 'categories.json', json.dumps(categories))


def hfds(root: Path) -> None:
    import datasets

    for split, count in (('train', 6), ('test', 3)):
        write(root / 'photos' / 'a.png')
        rows = dict(image=[str(root / 'photos' / 'a.png')] * count, label=[index % 3 for index in range(count)])
        features = datasets.Features(dict(image=datasets.Image(), label=datasets.ClassLabel(names=['kiwi', 'water_melon', 'plum'])))
        (root / 'data').mkdir(exist_ok=True)
        datasets.Dataset.from_dict(rows, features=features).to_parquet(root / 'data' / f'{split}-00000-of-00001.parquet')


# the layout, its images in each split, its class names, the pixels of an image, the first box
CASES: dict[str, tuple[Callable[[Path], None], dict[str, int], list[str], tuple[int, int], list[float] | None]] = dict(
    cars196=(cars196, dict(train=6, test=3), ['AM General Hummer SUV 2000', 'Acura RL Sedan 2012', 'Ram C/V Cargo Van Minivan 2012'],
             (40, 30), [0.25, 0, 0.75, 0.5]),
    dogs120=(dogs120, dict(train=6, test=4), ['Chihuahua', 'silky terrier'], (40, 30), [0.25, 0, 0.75, 0.5]),
    aircraft100=(aircraft100, dict(train=12, train_only=6, val=6, test=3), ['707-320', 'A300B4', 'Hawk T1'], (40, 30),
                 [0.25, 0, 0.75, 0.5]),
    nabirds=(nabirds, dict(train=6, test=4), ['Bald Eagle (Adult, subadult)', 'Hooded Merganser (Breeding male)'], (40, 30),
             [0.25, 0, 0.75, 0.5]),
    pets37=(pets37, dict(train=6, test=6), ['Abyssinian', 'American Bulldog'], (40, 30), None),
    food101=(food101, dict(train=6, test=2), ['Apple pie', 'Waffles'], (40, 30), None),
    inat=(inat, dict(train=6, train_mini=6, val=6, test=6),
          ['Bullfrog (Lithobates catesbeianus)', 'Bullfrog (Hoplobatrachus tigerinus)', 'Common Toad'], (40, 30), None),
    inat2018=(inat2018, dict(train=6, val=6, test=6), ['Acer rubrum', 'Bufo bufo'], (40, 30), None),
    hfds=(hfds, dict(train=6, test=3), ['kiwi', 'water melon', 'plum'], (40, 30), None))


# the files of iNaturalist 2021 have names that other folders have too, so it must be named
@pytest.mark.parametrize(('case', 'by_name'), [(case, by_name) for case in CASES for by_name in (True, False) if by_name or case != 'inat'])
def test_layout(case: str, by_name: bool, tmp_path: Path) -> None:
    build, counts, names, size, box = CASES[case]
    root = tmp_path / 'data set'
    build(root)
    name = case.removesuffix('2018')
    for split, count in counts.items():
        dataset = open_dataset(f'{name}:{root}' if by_name else str(root), split)
        assert dataset.name == name and dataset.class_names == names and len(dataset) == count
        assert len(set(dataset.keys)) == count and str(root) not in dataset.keys[0]
        assert dataset.load(count - 1).size == dataset.image_size(0) == size
        if box is None:
            assert dataset.boxes is None
        else:
            torch.testing.assert_close(dataset.boxes, torch.tensor(box).expand(count, 4))
    fit, holdout = (set(open_dataset(f'{name}:{root}', split).keys) for split in ('fit', 'holdout'))
    assert fit | holdout == set(open_dataset(f'{name}:{root}', 'train').keys) and not fit & holdout and holdout


@pytest.mark.parametrize(('case', 'keys', 'targets'), [
    ('cars196', ['cars_test/00001.jpg', 'cars_test/00002.jpg', 'cars_test/00003.jpg'], [0, 1, 2]),
    ('dogs120', [f'Images/{name}_test{index}.jpg' for name in ('n02085620-Chihuahua/n02085620', 'n02097658-silky_terrier/n02097658')
                 for index in range(2)], [0, 0, 1, 1]),
    ('aircraft100', ['data/images/0000013.jpg', 'data/images/0000014.jpg', 'data/images/0000015.jpg'], [0, 1, 2]),
    ('nabirds', [f"{('1010', '0817')[index % 2]}/0000139e21dc4d0cbfe14cae3c85c8{index:02d}.jpg" for index in range(6, 10)], [1, 0, 1, 0]),
    ('pets37', [f'images/{name}_{index}.jpg' for name in ('Abyssinian', 'american_bulldog') for index in range(200, 203)],
     [0, 0, 0, 1, 1, 1]),
    ('food101', ['images/waffles/4.jpg', 'images/apple_pie/4.jpg'], [1, 0]),
    ('inat2018', [f'train_val2018/b/{number}.jpg' for number in range(7, 13)], [1, 0] * 3),
    ('hfds', ['test/0000000', 'test/0000001', 'test/0000002'], [0, 1, 2]),
])
def test_keys_and_targets(case: str, keys: list[str], targets: list[int], tmp_path: Path) -> None:
    CASES[case][0](tmp_path / 'data')
    dataset = open_dataset(str(tmp_path / 'data'), 'test')
    assert (dataset.keys, dataset.targets) == (keys, targets)


def test_flowers(tmp_path: Path) -> None:
    """Only three of its classes have images here, which training refuses; the others can be measured."""
    flowers102(tmp_path / 'flowers')
    dataset = open_dataset(str(tmp_path / 'flowers'), 'test')
    assert dataset.name == 'flowers102' and dataset.num_classes == 102
    assert dataset.keys == ['jpg/image_00007.jpg', 'jpg/image_00008.jpg', 'jpg/image_00009.jpg'] and dataset.targets == [0, 1, 101]
    assert (dataset.class_names[0], dataset.class_names[101]) == ('pink primrose', 'blackberry lily')
    assert open_dataset(f"flowers102:{tmp_path / 'flowers'}", 'val').keys[0] == 'jpg/image_00004.jpg'
    with pytest.raises(UserError, match='no training image of'):
        open_dataset(str(tmp_path / 'flowers'), 'train')


@pytest.mark.parametrize(('case', 'folder', 'reader', 'split'), [
    ('cars196', 'stanford_cars', 'StanfordCars', 'train'), ('aircraft100', 'fgvc-aircraft-2013b', 'FGVCAircraft', 'trainval'),
    ('pets37', 'oxford-iiit-pet', 'OxfordIIITPet', 'trainval'), ('food101', 'food-101', 'Food101', 'train')])
def test_the_images_and_classes_are_those_of_torchvision(case: str, folder: str, reader: str, split: str, tmp_path: Path) -> None:
    CASES[case][0](tmp_path / folder)
    theirs = getattr(torchvision.datasets, reader)(tmp_path, split)
    ours = open_dataset(f'{case}:{tmp_path}', 'train')
    assert [target for _, target in theirs] == ours.targets
    names = [name.replace('_', ' ').capitalize() for name in theirs.classes] if case == 'food101' else theirs.classes
    assert ours.class_names == names
    for index, (image, _) in enumerate(theirs):
        np.testing.assert_array_equal(np.asarray(ours.load(index)), np.asarray(image)[:30])


@pytest.mark.parametrize(('case', 'folder'), [
    ('cars196', 'stanford_cars'), ('aircraft100', 'fgvc-aircraft-2013b'), ('pets37', 'oxford-iiit-pet'), ('food101', 'food-101')])
def test_folders_as_torchvision_has_them(case: str, folder: str, tmp_path: Path) -> None:
    CASES[case][0](tmp_path / folder)
    dataset = open_dataset(f'{case}:{tmp_path}', 'test')
    assert dataset.load(0).size == (40, 30)
    assert dataset.keys == open_dataset(f'{case}:{tmp_path / folder}', 'test').keys


def test_the_banner_of_aircraft_is_cut_off(tmp_path: Path) -> None:
    aircraft100(tmp_path / 'data')
    for path in (tmp_path / 'data' / 'data' / 'images').glob('*.jpg'):
        image = Image.new('RGB', (40, 50), 'white')
        image.paste((0, 0, 0), (0, 30, 40, 50))
        image.save(path, quality=100)
    dataset = open_dataset(str(tmp_path / 'data'), 'test')
    assert np.asarray(dataset.load(0)).min() > 200
    dataset.cache(30)
    assert dataset.load(0).size == (40, 30) and np.asarray(dataset.load(0)).min() > 200


def test_common_names_do_not_make_a_folder_a_published_data_set(tmp_path: Path) -> None:
    for split in ('train', 'val'):
        write(tmp_path / f'{split}.json', '{}')
        for name in ('kiwi', 'plum'):
            write(tmp_path / split / name / 'a.jpg')
            write(tmp_path / split / name / 'b.jpg')
    assert open_dataset(str(tmp_path), 'train').name == 'folder'


def test_the_lists_of_dogs_in_a_folder_of_their_own(tmp_path: Path) -> None:
    dogs120(tmp_path)
    expected = open_dataset(str(tmp_path), 'test').keys
    (tmp_path / 'lists').mkdir()
    for path in tmp_path.glob('*.mat'):
        path.rename(tmp_path / 'lists' / path.name)
    assert open_dataset(f'dogs120:{tmp_path}', 'test').keys == expected


@pytest.mark.parametrize(('case', 'file', 'content', 'says'), [
    ('cars196', 'devkit/cars_meta.mat', None, 'cars_meta.mat.* is missing'),
    ('cars196', 'cars_test_annos_withlabels.mat', None, 'withlabels.mat.* is missing'),
    ('cars196', 'cars_test_annos_withlabels.mat', b'no matlab', 'cannot be read as a MATLAB file'),
    ('cars196', 'cars_test_annos_withlabels.mat', dict(other=[1]), "has no entry 'annotations'"),
    ('dogs120', 'test_list.mat', dict(file_list=[1, 2], labels=[1]), 'there are 2 images and 1 labels'),
    ('dogs120', 'test_list.mat', dict(file_list=[1, 2], labels=[1, 9]), 'numbered from 1 to 3'),
    ('dogs120', 'Annotation/n02085620-Chihuahua/n02085620_test0', b'<annotation', 'has no box'),
    ('dogs120', 'Annotation/n02085620-Chihuahua/n02085620_test0', None, 'n02085620_test0.* is missing'),
    ('aircraft100', 'data/images_variant_test.txt', b'0000013 Concorde', 'line 1: expected an image.* and a variant of variants.txt'),
    ('aircraft100', 'data/images_box.txt', b'0000013 1 2 3', 'images_box.txt, line 1: expected .* not .0000013 1 2 3'),
    ('nabirds', 'train_test_split.txt', b'7 1', 'train_test_split.txt has no line for image'),
    ('nabirds', 'classes.txt', b'817 Eagle', 'class 1010 is not one of the 1 in classes.txt'),
    ('nabirds', 'images.txt', b'817', 'line 1: expected a number and a value'),
    ('pets37', 'annotations/test.txt', b'Abyssinian_1 1', "line 1: expected 'image class species breed'"),
    ('pets37', 'annotations/test.txt', b'Sphynx_1 7 1 1', 'numbered from 1 to 3'),
    ('food101', 'meta/test.json', b'[1]', 'expected a list of images for each class'),
    ('food101', 'meta/test.json', b'{', 'cannot be read as JSON'),
    ('inat', 'val.json', b'{"images": [], "annotations": []}', "has no entry 'categories'"),
    ('inat', 'val.json', b'{"images": [{"id": 1}], "annotations": [], "categories": []}', 'an image, a label or a category lacks an entry'),
    ('hfds', 'data/test-00000-of-00001.parquet', b'PAR1', 'cannot be read'),
])
def test_what_is_wrong_is_named(case: str, file: str, content: bytes | dict | None, says: str, tmp_path: Path) -> None:
    root = tmp_path / 'data'
    CASES[case][0](root)
    (root / file).unlink()
    if isinstance(content, dict):
        savemat(root / file, content)
    elif content is not None:
        (root / file).write_bytes(content)
    with pytest.raises(UserError, match=says):
        open_dataset(f'{case}:{root}', 'test')


def test_a_class_that_does_not_exist(tmp_path: Path) -> None:
    cars196(tmp_path)
    names = np.empty(2, dtype=object)
    names[:] = ['Hummer', 'Acura']
    savemat(tmp_path / 'devkit' / 'cars_meta.mat', dict(class_names=names))
    with pytest.raises(UserError, match=re.escape("class 3 of '00003.jpg' is not one of the 2 in cars_meta.mat")):
        open_dataset(f'cars196:{tmp_path}', 'test')
    flowers102(tmp_path / 'flowers')
    savemat(tmp_path / 'flowers' / 'imagelabels.mat', dict(labels=np.array([[103] * 12])))
    with pytest.raises(UserError, match=r'class 103 of image 7 is not in \[1, 102\]'):
        open_dataset(f"flowers102:{tmp_path / 'flowers'}", 'test')


def test_an_image_that_is_listed_and_absent_is_named(tmp_path: Path) -> None:
    pets37(tmp_path / 'data')
    dataset = open_dataset(str(tmp_path / 'data'), 'test')
    dataset.paths[1].unlink()
    with pytest.raises(UserError, match=re.escape(f"'{dataset.paths[1]}' does not exist")):
        dataset.load(1)


def test_a_validation_split_is_the_test_split_where_there_is_none(tmp_path: Path) -> None:
    hfds(tmp_path)
    (tmp_path / 'data' / 'test-00000-of-00001.parquet').rename(tmp_path / 'data' / 'validation-00000-of-00001.parquet')
    val, test = (open_dataset(f'hfds:{tmp_path}', split) for split in ('val', 'test'))
    assert val.shared(test) == len(val) == 3
    assert val.shared(open_dataset(f'hfds:{tmp_path}', 'train')) == 0


def test_an_unlabelled_row_is_refused(tmp_path: Path) -> None:
    import datasets

    hfds(tmp_path)
    features = datasets.Features(dict(image=datasets.Image(), label=datasets.ClassLabel(names=['kiwi', 'plum'])))
    rows = datasets.Dataset.from_dict(dict(image=[str(tmp_path / 'photos' / 'a.png')] * 2, label=[0, -1]), features=features)
    rows.to_parquet(tmp_path / 'data' / 'test-00000-of-00001.parquet')
    with pytest.raises(UserError, match="row 1 of the split 'test' .* has no label"):
        open_dataset(f'hfds:{tmp_path}', 'test')


def test_a_hub_repository_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('HF_HOME', str(tmp_path))
    with pytest.raises(UserError, match="the data set 'nobody/nothing' cannot be read"):
        open_dataset('hfds:nobody/nothing', 'train')


def test_every_data_set_says_what_it_is() -> None:
    for name, layout in LAYOUTS.items():
        info = layout.info
        assert info.title and info.folder, name
        if info.images:
            assert info.classes > 0 and {'train', 'test'} <= set(info.images) and info.citation and info.home.startswith('http'), name


def test_photographs_of_the_small_training_split_are_those_of_the_large_one(tmp_path):
    inat(tmp_path)
    content = json.loads((tmp_path / 'train.json').read_text())
    small = json.loads((tmp_path / 'train_mini.json').read_text())
    for image, copy in zip(content['images'], small['images'], strict=True):
        copy['file_name'] = image['file_name'].replace('train/', 'train_mini/')
        shutil.copy(tmp_path / image['file_name'], tmp_path / copy['file_name'])
    (tmp_path / 'train_mini.json').write_text(json.dumps(small))
    mini, holdout = (open_dataset(f'inat:{tmp_path}', split) for split in ('train_mini', 'holdout'))
    assert mini.shared(holdout) == len(holdout) > 0
    assert mini.shared(open_dataset(f'inat:{tmp_path}', 'val')) == 0
