"""All data sets by name, and `open_dataset`, which finds the layout of a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from fgvc_zoo._errors import UserError, check_choice
from fgvc_zoo.data._base import ImageDataset
from fgvc_zoo.data.files import is_url
from fgvc_zoo.data.folder import ImageFolder
from fgvc_zoo.data.layouts.birds import CUB200, NABirds
from fgvc_zoo.data.layouts.food import Food101
from fgvc_zoo.data.layouts.grocery import Grocery
from fgvc_zoo.data.layouts.hub import HubDataset
from fgvc_zoo.data.layouts.inat import INaturalist
from fgvc_zoo.data.layouts.oxford import Aircraft100, Flowers102, Pets37
from fgvc_zoo.data.layouts.stanford import Cars196, Dogs120

LAYOUTS: dict[str, type[ImageDataset]] = {layout.name: layout for layout in (
    CUB200, Cars196, Dogs120, Aircraft100, NABirds, Flowers102, Pets37, Food101, INaturalist, Grocery, ImageFolder, HubDataset)}


def open_dataset(
        spec: str, split: str, transform: Callable[[Image.Image], Any] | None = None, seed: int = 0) -> ImageDataset:
    """Open a data set by its description.

    Args:
        spec: 'NAME:PATH' with a name of `LAYOUTS`, or a path whose layout is recognised by its files.
        split: See the class of the layout.
        transform: Applied to the RGB image; None returns the image.
        seed: Seed of the transform's randomness.

    Raises:
        UserError: The layout is not known, or the data set cannot be read (see `ImageDataset`).
    """
    layout, path = find_layout(spec)
    return layout(path, split, transform, seed)


def find_layout(spec: str) -> tuple[type[ImageDataset], str]:
    """The layout and the path of a data set's description, as `open_dataset` takes it.

    Raises:
        UserError: The layout is not known, or the path is a URL.
    """
    name, colon, path = spec.partition(':')
    known = bool(colon) and name in LAYOUTS
    if is_url(path if known else spec) and not Path(spec).exists():
        raise UserError(f"'{path if known else spec}' is a URL, and URLs are not read: download the data and give its folder")
    if known:
        return LAYOUTS[name], path
    # a colon also occurs in paths ('C:\\birds', './a:b'); a layout's name has no separators and more than one letter
    if colon and len(name) > 1 and not {'/', '\\'} & set(name) and not Path(spec).exists():
        check_choice('data layout', name, LAYOUTS)
    root = Path(spec).expanduser()
    fitting = [layout for layout in LAYOUTS.values() if root.is_dir() and all(next(root.glob(mark), None) for mark in layout.marks)]
    # the folder of one's own has no marks, so that it always fits; NABirds has those of CUB-200-2011 and one more
    return max(fitting, key=lambda layout: len(layout.marks), default=ImageFolder), spec
