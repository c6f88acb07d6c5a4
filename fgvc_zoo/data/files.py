"""Which files are images, and the one walk over folders that every command uses."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from fgvc_zoo._errors import UserError

# an allow list: some of Pillow's other readers start programs (EPS runs Ghostscript) or open files named in the file
_SAFE_FORMATS = ('JPEG', 'MPO', 'PNG', 'GIF', 'BMP', 'TIFF', 'WEBP', 'PPM', 'AVIF', 'HEIF')
HEIF_EXTENSIONS = ('.heic', '.heif', '.hif')


def _readable_formats() -> tuple[list[str], tuple[str, ...]]:
    """The formats that this Pillow reads, and the endings of their files."""
    try:
        import pillow_heif
    except ImportError:
        pass
    else:
        pillow_heif.register_heif_opener()
    Image.init()
    formats = [name for name in _SAFE_FORMATS if name in Image.OPEN]
    return formats, tuple(sorted(ending for ending, name in Image.registered_extensions().items() if name in formats))


IMAGE_FORMATS, IMAGE_EXTENSIONS = _readable_formats()


class FolderContent(NamedTuple):
    """What is below a folder.

    Attributes:
        images: The image files, folder by folder, each sorted by name.
        left_out: How many other files there are, by their ending, such as '.heic'; '' for files without one.
    """

    images: list[Path]
    left_out: Counter[str]


def is_image_name(name: str) -> bool:
    """Whether a file name has the ending of an image and does not begin with a dot."""
    return name.lower().endswith(IMAGE_EXTENSIONS) and not name.startswith('.')


def walk_images(folder: Path) -> FolderContent:
    """The images below a folder.

    Files and folders whose names begin with a dot are passed over. Links to folders are followed, each folder once: a link to a folder that
    contains it leads nowhere.

    Warns:
        UserWarning: A folder cannot be read.
    """
    def warn(error: OSError) -> None:
        warnings.warn(f"the folder '{error.filename}' cannot be read and is left out: {error.strerror}", UserWarning, stacklevel=1)

    images: list[Path] = []
    left_out: Counter[str] = Counter()
    seen: set[str] = set()
    # everything that contains the folder counts as seen, so that a link upwards is not followed
    place = os.path.realpath(folder)
    while place not in seen:
        seen.add(place)
        place = os.path.dirname(place)
    for parent, folders, files in os.walk(folder, onerror=warn, followlinks=True):
        kept = []
        for name in sorted(folders):
            real = os.path.realpath(os.path.join(parent, name))
            if not name.startswith('.') and real not in seen:
                seen.add(real)
                kept.append(name)
        folders[:] = kept
        for name in files:
            if is_image_name(name):
                images.append(Path(parent, name))
            elif not name.startswith('.'):
                left_out[os.path.splitext(name)[1].lower()] += 1
    return FolderContent(sorted(images, key=lambda path: (str(path.parent), path.name)), left_out)


def describe_left_out(left_out: Counter[str]) -> str:
    """'6 .heic (pip install pillow-heif to read them), 1 .txt'."""
    def hint(ending: str) -> str:
        return ' (pip install pillow-heif to read them)' if ending in HEIF_EXTENSIONS else ''

    return ', '.join(f"{count} {ending or 'without an ending'}{hint(ending)}" for ending, count in left_out.most_common())


def is_url(path: str | Path) -> bool:
    """Whether a text is a URL, such as 'https://host/photo.jpg', also after `Path` has made one slash of two."""
    return re.match(r'(https?|s?ftps?|s3|gs|hf|file):/+[^/]', str(path), re.IGNORECASE) is not None


def is_folder(path: str | Path) -> bool:
    """Whether a folder has this path; False also for paths that no file can have."""
    return os.path.isdir(path)


def find_images(paths: Iterable[str | Path]) -> list[Path]:
    """Replace folders by the images below them; files stay as they are.

    Args:
        paths: Files and folders. A path that does not exist is kept, so that the reader reports it, and so is a folder without images if
            there is something else.

    Returns:
        Paths in the order given; those of one folder sorted.

    Raises:
        UserError: There are only folders, and none holds an image.

    Warns:
        UserWarning: A folder cannot be read, or has files that are not read. They are counted.
    """
    images: list[Path] = []
    empty: list[Path] = []
    for path in map(Path, paths):
        if not is_folder(path):
            images.append(path)
            continue
        content = walk_images(path)
        if content.left_out:
            warnings.warn(f"in '{path}' these files are not read: {describe_left_out(content.left_out)}", UserWarning, stacklevel=1)
        images.extend(content.images or [path])
        if not content.images:
            empty.append(path)
    if empty and len(empty) == len(images):
        raise UserError(f"the folder '{empty[0]}' holds no images ({', '.join(IMAGE_EXTENSIONS)})")
    return images


def free_names(paths: Sequence[Path], folder: Path, ending: str) -> list[Path]:
    """A path in `folder` for something made from each file, that no existing file and no other of them has.

    Args:
        paths: The files.
        folder: Where the new files will be. It need not exist.
        ending: What replaces the file's ending, such as '.explained.png'. A number comes before it where the name is taken.
    """
    # compared without case, since some file systems do not tell 'A.png' from 'a.png'
    taken = {name.casefold() for name in os.listdir(folder)} if is_folder(folder) else set()
    names = []
    for path in paths:
        # file systems allow names of 255 bytes
        stem, number = path.stem.encode('utf-8', 'surrogateescape')[:200].decode('utf-8', 'ignore') or 'photograph', 1
        name = f'{stem}{ending}'
        while name.casefold() in taken:
            number += 1
            name = f'{stem}_{number}{ending}'
        taken.add(name.casefold())
        names.append(folder / name)
    return names
