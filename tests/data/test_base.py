"""What every layout inherits: tuning splits, seeded transforms, boxes, the cache."""

from __future__ import annotations

import hashlib
import random
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from fgvc_zoo._errors import UserError
from fgvc_zoo.data import CUB200, Augmentation, EpochSampler, Grocery, ImageDataset, ImageFolder, train_transform
from fgvc_zoo.data.transforms import Transform


def varied() -> Transform:
    """A transform that draws from all three global generators: Python's, numpy's and torch's."""
    return train_transform(
        16, (0.5,) * 3, (0.5,) * 3, 'bilinear', Augmentation(auto_augment='rand-m9-n2-mstd0.5', random_erasing=0.5))


def generator_states() -> tuple[str, str, str]:
    return str(random.getstate()), str(np.random.get_state(legacy=False)), str(torch.get_rng_state().tolist())


def names(dataset: ImageDataset) -> list[str]:
    return [path.relative_to(dataset.root).as_posix() for path in dataset.paths]


def fifth(keys: list[str]) -> set[str]:
    """What is held out of one class, from the documented rule."""
    order = sorted(keys, key=lambda key: hashlib.sha1(key.encode()).hexdigest())
    return set(order[:max(1, len(keys) // 5)]) if len(keys) > 1 else set()


def test_tuning_splits_are_a_fixed_stratified_fifth(cub: Callable[..., Path]) -> None:
    root = cub(train=(11, 4, 1))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of the class with a single image
        train, fit, holdout = (CUB200(root, split) for split in ('train', 'fit', 'holdout'))
    expected = set()
    for target in range(3):
        of_class = [name for name, label in zip(names(train), train.targets, strict=True) if label == target]
        expected |= {f'images/{key}' for key in fifth([name.removeprefix('images/') for name in of_class])}
    assert set(names(holdout)) == expected
    assert names(fit) == [name for name in names(train) if name not in expected]  # in the order of the data set
    assert Counter(holdout.targets) == {0: 2, 1: 1}
    assert Counter(fit.targets) == {0: 9, 1: 3, 2: 1}
    assert fit.class_names == holdout.class_names == train.class_names


def test_tuning_splits_do_not_depend_on_the_place(folder: Callable[..., Path], tmp_path: Path) -> None:
    root = folder(train=dict(cat=12, dog=7))
    first = names(ImageFolder(root, 'holdout'))
    moved = root.rename(tmp_path / 'elsewhere')
    assert names(ImageFolder(moved, 'holdout')) == first
    assert len(first) == 3


def test_tuning_splits_of_every_layout(grocery: Path, folder: Callable[..., Path]) -> None:
    for dataset_type, root in ((Grocery, grocery), (ImageFolder, folder(cat=6, dog=5))):
        parts = [set(names(dataset_type(root, split))) for split in ('fit', 'holdout')]
        assert not parts[0] & parts[1]
        assert parts[0] | parts[1] == set(names(dataset_type(root, 'train')))


def test_without_a_transform_the_picture_comes(folder: Callable[..., Path]) -> None:
    dataset = ImageFolder(folder(cat=2, dog=3), 'fit')
    image, target = dataset[1]
    assert isinstance(image, Image.Image) and image.mode == 'RGB' and target == dataset.targets[1]
    assert len(dataset) == 3


def test_key_fixes_all_that_the_transform_draws(folder: Callable[..., Path]) -> None:
    root = folder(cat=4, dog=4)
    dataset = ImageFolder(root, 'train', varied(), seed=3)
    first = dataset[(2, 5, 0)][0]
    dataset[(0, 0, 0)]
    assert torch.equal(dataset[(2, 5, 0)][0], first)
    assert torch.equal(ImageFolder(root, 'train', varied(), seed=3)[(2, 5, 0)][0], first)
    assert not torch.equal(dataset[(3, 5, 0)][0], first)
    assert not torch.equal(dataset[(2, 5, 1)][0], first)
    assert not torch.equal(ImageFolder(root, 'train', varied(), seed=4)[(2, 5, 0)][0], first)
    assert dataset[(2, 5, 0)][1] == dataset.targets[5]


def test_key_leaves_the_global_generators_alone(folder: Callable[..., Path]) -> None:
    dataset = ImageFolder(folder(cat=2, dog=2), 'train', varied())
    before = generator_states()
    dataset[(0, 1, 0)]
    assert generator_states() == before
    dataset[1]  # a plain index draws from all three
    assert all(now != then for now, then in zip(generator_states(), before, strict=True))


def test_batches_do_not_depend_on_the_workers(folder: Callable[..., Path]) -> None:
    dataset = ImageFolder(folder(cat=6, dog=6), 'train', varied(), seed=1)
    sampler = EpochSampler(len(dataset), batch_size=4, seed=1)
    runs = []
    for workers in (0, 2):
        loader = DataLoader(dataset, 4, sampler=sampler, num_workers=workers, persistent_workers=workers > 0)
        batches = []
        for epoch, start in ((0, 0), (1, 4)):  # the second epoch resumes after its first batch
            sampler.set_epoch(epoch, start)
            batches += list(loader)
        runs.append(batches)
    assert len(runs[0]) == len(runs[1]) == 5
    for (images, targets), (other_images, other_targets) in zip(*runs, strict=True):
        assert torch.equal(images, other_images) and torch.equal(targets, other_targets)


def test_cache_gives_the_shrunk_pictures_without_the_files(folder: Callable[..., Path]) -> None:
    dataset = ImageFolder(folder(cat=2, dog=2), 'fit')
    expected = [dataset.load(index).resize((20, 15), Image.Resampling.BICUBIC) for index in range(len(dataset))]
    reports: list[tuple[int, int]] = []
    dataset.cache(15, lambda done, total: reports.append((done, total)))
    assert reports == [(1, 2), (2, 2)]
    for path in dataset.paths:
        path.unlink()
    for index, image in enumerate(expected):
        np.testing.assert_array_equal(np.asarray(dataset[index][0]), np.asarray(image))


@pytest.mark.parametrize('cached', [False, True])
def test_a_damaged_file_is_named_where_it_is_measured(folder: Callable[..., Path], cached: bool) -> None:
    dataset = ImageFolder(folder(cat=2, dog=2), 'train', varied())
    dataset.paths[0].write_bytes(dataset.paths[0].read_bytes()[:300])
    if cached:
        dataset.cache(10)
    with pytest.raises(UserError, match=r'0\.jpg'):
        dataset[0]


@pytest.mark.parametrize('workers', [0, 2])
def test_training_replaces_a_damaged_image_by_one_of_its_class(folder: Callable[..., Path], workers: int) -> None:
    dataset = ImageFolder(folder(cat=20, dog=20), 'train', lambda image: torch.from_numpy(np.array(image)))
    whole = [dataset[0, index, 0][0] for index in range(40)]
    dataset.paths[3].write_bytes(dataset.paths[3].read_bytes()[:300])
    dataset.paths[39].unlink()
    keys = [(0, index, 0) for index in range(40)]
    loader = DataLoader(dataset, batch_size=1, sampler=keys, num_workers=workers)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        items = [(image[0], int(target)) for image, target in loader]
    for index, (image, target) in enumerate(items):
        # the next one of the class, from the front after the last
        assert target == dataset.targets[index]
        assert torch.equal(image, whole[{3: 4, 39: 20}.get(index, index)])
    assert dataset.unreadable == [dataset.paths[3], dataset.paths[39]]


def test_the_replaced_image_is_named_once(folder: Callable[..., Path]) -> None:
    dataset = ImageFolder(folder(cat=20, dog=20), 'train')
    dataset.paths[3].unlink()
    with pytest.warns(UserWarning, match=f"{dataset.paths[3].name}.*another image of its class") as caught:
        dataset[0, 3, 0]
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        dataset[1, 3, 0]


def test_too_many_damaged_images_end_the_training(folder: Callable[..., Path]) -> None:
    dataset = ImageFolder(folder(cat=20, dog=20), 'train')
    for path in dataset.paths[:5]:
        path.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with pytest.raises(UserError, match='5 of the 40 images in .* cannot be read; the last one: the image .*jpg'):
            for index in range(40):
                dataset[0, index, 0]


def test_a_class_without_any_readable_image(folder: Callable[..., Path]) -> None:
    dataset = ImageFolder(folder(cat=1, dog=60), 'train')
    dataset.paths[0].unlink()
    with pytest.warns(UserWarning), pytest.raises(UserError, match="no image of the class 'cat'"):
        dataset[0, 0, 0]


def test_describe(folder: Callable[..., Path]) -> None:
    dataset = ImageFolder(folder(train=dict(cat=3, dog=5, owl=4), test=dict(cat=1)), 'train')
    assert dataset.describe().endswith("split 'train': 3 classes, 12 images, 3 to 5 in a class (median 4); other splits: 'test'")


def test_one_class_is_not_trained(folder: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match="a single class, 'cat'"):
        ImageFolder(folder(cat=3), 'train')


def test_boxes_in_unit_coordinates(cub: Callable[..., Path]) -> None:
    dataset = CUB200(cub(), 'test')
    boxes = dataset.boxes
    assert boxes is not None and boxes.dtype == torch.float32 and boxes.shape == (6, 4)
    # the pictures are 40 x 30, the boxes 4 3 20 (10 + number / 10); the first test image of a class is its 7th of 8
    for index, number in enumerate([7, 8, 15, 16, 23, 24]):
        expected = [4 / 40, 3 / 30, 24 / 40, (13 + number / 10) / 30]
        assert boxes[index].tolist() == pytest.approx(expected)
        assert torch.equal(dataset.unit_box(index), boxes[index])


def test_boxes_beyond_the_picture_are_clipped(cub: Callable[..., Path]) -> None:
    root = cub()
    lines = (root / 'bounding_boxes.txt').read_text().splitlines()
    (root / 'bounding_boxes.txt').write_text('\n'.join(['1 -4 15 60 30', *lines[1:]]))
    assert CUB200(root, 'train').unit_box(0).tolist() == [0.0, 0.5, 1.0, 1.0]


def test_no_boxes(cub: Callable[..., Path], grocery: Path) -> None:
    root = cub()
    (root / 'bounding_boxes.txt').unlink()
    for dataset in (CUB200(root, 'train'), Grocery(grocery, 'test')):
        assert dataset.boxes is None
        with pytest.raises(UserError, match='no bounding boxes'):
            dataset.unit_box(0)


def test_a_class_without_training_image(cub: Callable[..., Path]) -> None:
    root = cub(train=(3, 0, 2))
    for split in ('train', 'fit', 'holdout'):
        with pytest.raises(UserError, match="no training image of 'Laysan Albatross'"):
            CUB200(root, split)
    assert len(CUB200(root, 'test')) == 6


def test_a_class_with_one_training_image_warns_and_works(cub: Callable[..., Path]) -> None:
    root = cub(train=(3, 1, 2))
    with pytest.warns(UserWarning, match="single training image of 'Laysan Albatross'"):
        dataset = CUB200(root, 'train')
    assert len(dataset) == 6


def test_many_names_are_shortened(folder: Callable[..., Path]) -> None:
    root = folder(a=1, b=0, c=0, d=0, e=0, f=0)
    with pytest.raises(UserError, match="'b', 'c', 'd' and 2 more classes"):
        ImageFolder(root, 'train')


def test_no_holdout_of_single_images(folder: Callable[..., Path]) -> None:
    root = folder(cat=1, dog=1)
    with pytest.warns(UserWarning), pytest.raises(UserError, match="'holdout' of .* has no images"):
        ImageFolder(root, 'holdout')


@pytest.mark.parametrize('cached', [False, True])
def test_images_get_other_classes_and_some_are_left_out(cub: Callable[..., Path], cached: bool) -> None:
    root = cub(train=(6, 5, 4))
    before, after = CUB200(root, 'train'), CUB200(root, 'train')
    if cached:
        after.cache(100)
    assert before.boxes is not None and after.boxes is not None
    after.relabel([3, None, 1], ['a', 'b', 'c', 'd'])
    kept = [index for index, target in enumerate(before.targets) if target != 1]
    assert after.class_names == ['a', 'b', 'c', 'd'] and len(after) == 10
    assert after.targets == [3] * 6 + [1] * 4
    assert (after.keys, after.paths) == ([before.keys[index] for index in kept], [before.paths[index] for index in kept])
    assert after.boxes is not None and torch.equal(after.boxes, before.boxes[kept])
    for index, old in enumerate(kept):
        assert np.array_equal(np.asarray(after[index][0]), np.asarray(before[old][0]))
