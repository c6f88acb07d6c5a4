"""A folder of one's own photographs: one folder per class."""

from __future__ import annotations

import os
import re
import unicodedata
import warnings
from collections import Counter
from pathlib import Path

from fgvc_zoo._errors import UserError, plain
from fgvc_zoo.data._base import ImageDataset, Sample, listed
from fgvc_zoo.data.files import describe_left_out, is_folder, is_image_name, walk_images
from fgvc_zoo.data.info import DataInfo

_SPLIT_NAMES = dict(train=('train', 'training'), test=('test', 'testing'), val=('val', 'valid', 'validation'))
# such as 'train_images', 'TestSet' and 'val2017': refused as classes, since they are probably splits
_LIKE_A_SPLIT = re.compile(
    rf"({'|'.join(name for names in _SPLIT_NAMES.values() for name in names)})[ _.-]*"
    r'(set|data|split|images?|imgs?|photos?|pictures?|[0-9]+)', re.IGNORECASE)


class ImageFolder(ImageDataset):
    """One folder per class, named like the class.

    The class folders are below `train/` and one of `test/` or `val/`. The names 'training', 'testing', 'valid' and 'validation' and capital
    letters are understood too. If there are no such folders, the class folders are directly below the root, and all images are training
    images. Splits: 'train'; 'val'; 'test', or else the same as 'val'; 'fit' and 'holdout'. Files and folders whose names begin with a dot
    are ignored. A class name written in two Unicode forms is one class.

    Warns:
        UserWarning: Something is left out: files that are no images, images outside the folders of the classes, or folders with images
            that belong to no split.
    """

    name = 'folder'
    info = DataInfo(
        title='folder of your own', home='',
        folder='train/CLASS/PHOTOGRAPH\ntest/CLASS/PHOTOGRAPH (or val/)\nor all photographs as CLASS/PHOTOGRAPH')

    def _folders(self) -> dict[str, Path]:
        """The folder of each official split."""
        splits: dict[str, Path] = {}
        others: list[Path] = []
        for folder in _subfolders(self.root):
            split = _split_of(folder)
            if split in splits:
                raise UserError(f"'{splits[split]}' and '{folder}' are both a {split} split: keep one of them")
            if split:
                splits[split] = folder
            else:
                others.append(folder)
        # beside other folders, a folder 'train' of images may be a class
        if 'train' in splits and (not others or _subfolders(splits['train'])):
            if 'val' in splits:
                splits.setdefault('test', splits['val'])
            if wrapper := _wrapper(splits['train']):
                raise UserError(f"'{splits['train']}' holds the single folder '{wrapper.name}', which holds folders itself: "
                                f"move them into '{splits['train']}'")
            return splits
        if splits and not others and self.split in splits:
            return splits  # enough to measure on
        if splits and not others:
            there = ' and '.join(f"'{name}'" for name in splits)
            raise UserError(f"'{self.root}' has no split '{self.split}', only {there}: training images belong into train/CLASS/")
        if odd := [*splits.values(), *(folder for folder in others if _LIKE_A_SPLIT.fullmatch(folder.name))]:
            raise UserError(f"'{odd[0]}' looks like a split among the classes of '{self.root}': put the classes for training into "
                            f"'{self.root / 'train'}', or rename '{odd[0].name}' if it is a class")
        if wrapper := _wrapper(self.root):
            raise UserError(f"'{self.root}' holds the single folder '{wrapper.name}', which holds folders itself: give '{wrapper}'")
        return {'train': self.root}

    def holds(self, folder: Path) -> bool:
        """Whether a folder, which need not exist, would be one of a class's, or lie in one."""
        return any(folder.resolve().is_relative_to(split.resolve()) for split in self._folders().values())

    def official_splits(self) -> tuple[str, ...]:
        folders = self._folders()
        if self.split in ('test', 'val') and self.split not in folders:
            raise UserError(
                f"'{self.root}' has no '{self.split}' split: arrange the images as train/CLASS/ and "
                f"{self.split}/CLASS/, or train on the split 'fit' and use 'holdout', a fixed fifth of the images")
        return tuple(folders)

    def _read(self, split: str) -> tuple[list[str], list[Sample]]:
        folders = self._folders()
        classes = _class_folders(folders[split])
        class_names = sorted(_class_folders(folders['train']) if 'train' in folders else classes)
        if unknown := [name for name in classes if name not in class_names]:
            raise UserError(
                f"'{folders[split]}' has a folder {listed(unknown)} and '{folders['train']}' has not: "
                'every class needs training images')
        samples = []
        left_out: dict[str, Counter[str]] = {}
        for target, name in enumerate(class_names):
            for folder in classes.get(name, []):
                content = walk_images(folder)
                samples += [Sample(_key(path, folders[split]), path, target) for path in content.images]
                if content.left_out:
                    left_out[name] = left_out.get(name, Counter()) + content.left_out
        _refuse_two_labels(samples, class_names)
        if left_out:
            shown = '; '.join(f"'{name}': {describe_left_out(count)}" for name, count in list(left_out.items())[:3])
            more = f'; and in {len(left_out) - 3} more classes' if len(left_out) > 3 else ''
            total = sum(sum(count.values()) for count in left_out.values())
            warnings.warn(
                f"{total} files below '{folders[split]}' are no images and are left out ({shown}{more})", UserWarning, stacklevel=1)
        self._warn_of_images_without_class(folders)
        return class_names, samples

    def _warn_of_images_without_class(self, folders: dict[str, Path]) -> None:
        if folders.get('train') != self.root:
            unused = [item.name for item in _subfolders(self.root) if not _split_of(item) and walk_images(item).images]
            if unused:
                warnings.warn(f"folders in '{self.root}' belong to no split and their images are left out, such as '{unused[0]}' "
                              f'({len(unused)} in all)', UserWarning, stacklevel=1)
        for folder in sorted({self.root, *folders.values()}):
            if loose := sorted(item.name for item in folder.iterdir() if is_image_name(item.name) and not is_folder(item)):
                warnings.warn(f"images in '{folder}' belong to no class and are left out, such as '{loose[0]}' ({len(loose)} in all)",
                              UserWarning, stacklevel=1)


def _split_of(folder: Path) -> str:
    """The split that a folder's name means; '' if it means none."""
    return next((split for split, names in _SPLIT_NAMES.items() if folder.name.lower() in names), '')


def _wrapper(parent: Path) -> Path | None:
    """The only folder in `parent` if it is no class, since it holds folders itself: those of the classes, or the whole data set."""
    folders = _subfolders(parent)
    return folders[0] if len(folders) == 1 and _subfolders(folders[0]) else None


def _subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, by name, without hidden ones."""
    return sorted(item for item in folder.iterdir() if not item.name.startswith('.') and is_folder(item))


def _class_folders(folder: Path) -> dict[str, list[Path]]:
    """Class name -> its folders: several if a name is written in several Unicode forms (NFC, as most systems do, or NFD, as macOS did)."""
    folders = _subfolders(folder)
    if not folders:
        raise UserError(f"the folder '{folder}' has no folders below it, one for each class is needed")
    classes: dict[str, list[Path]] = {}
    for item in folders:
        try:
            item.name.encode()
        except UnicodeEncodeError:
            raise UserError(f"the name of the folder '{plain(str(item))}' is not UTF-8: rename it, since it becomes a class name") from None
        classes.setdefault(unicodedata.normalize('NFC', item.name), []).append(item)
    return classes


def _key(path: Path, folder: Path) -> str:
    """A file's path relative to a folder, in the Unicode form NFC, so that it is the same on every system."""
    return unicodedata.normalize('NFC', path.relative_to(folder).as_posix())


def _refuse_two_labels(samples: list[Sample], class_names: list[str]) -> None:
    """Raise a UserError if links put one file into two classes."""
    seen: dict[tuple[int, int], Sample] = {}
    for sample in samples:
        try:
            status = os.stat(sample.path)
        except OSError:
            continue  # a dangling link: reading it says so
        other = seen.setdefault((status.st_dev, status.st_ino), sample)
        if status.st_ino and other.target != sample.target:
            raise UserError(f"'{other.path}' and '{sample.path}' are one file in two classes, '{class_names[other.target]}' and "
                            f"'{class_names[sample.target]}': remove one of them")


def check_outside(dataset: ImageDataset, folder: Path) -> None:
    """Raise a UserError if a folder to write would be a class of a folder of photographs, or lie in one."""
    if isinstance(dataset, ImageFolder) and dataset.holds(folder):
        raise UserError(f"the folder '{folder}' would be a class of the photographs in '{dataset.root}': choose one outside of them")
