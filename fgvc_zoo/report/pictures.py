"""The photographs of a report: small JPEG files inside the page."""

from __future__ import annotations

from typing import NamedTuple

from PIL import Image

from fgvc_zoo._pages import source_of
from fgvc_zoo.data import ImageDataset

SIDE = 240  # of a thumbnail, in pixels


class Photo(NamedTuple):
    """A photograph in the page.

    Attributes:
        source: 'data:image/jpeg;base64,...'.
        width, height: In pixels, at most `SIDE`.
        key: The image's path relative to the data set.
    """

    source: str
    width: int
    height: int
    key: str


def photo_of(dataset: ImageDataset, index: int) -> Photo:
    """A thumbnail of one image of a data set, without metadata.

    Raises:
        UserError: The image cannot be read.
    """
    picture = dataset.load(index)
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=3)
    return Photo(source_of(picture), *picture.size, dataset.keys[index])
