"""The photographs of a report: small JPEG files inside the page."""

from __future__ import annotations

import base64
import io
from typing import NamedTuple

from PIL import Image

from fgvc_zoo.data import ImageDataset

SIDE = 240  # of a thumbnail, in pixels
_QUALITY = 80


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
    file = io.BytesIO()
    picture.save(file, 'JPEG', quality=_QUALITY, optimize=True)
    source = f'data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}'
    return Photo(source, *picture.size, dataset.keys[index])
