"""What a run says about its photographs before it trains on them."""

from __future__ import annotations

from statistics import median
from typing import Any

from fgvc_zoo._errors import UserError
from fgvc_zoo.data import ImageDataset

SAMPLE = 50
LEAST_SHOWN = 0.6  # of a photograph; one of 3:2 shows two thirds of it


def shape_advice(dataset: ImageDataset, cfg: dict[str, Any]) -> str:
    """One sentence if the central crop would hide much of most photographs, else ''.

    Args:
        dataset: The training images; the headers of 50 to 99 are read, or of all.
        cfg: The model's pretrained_cfg.
    """
    if (cfg.get('crop_mode') or 'center') != 'center':
        return ''
    shown = []
    for index in range(0, len(dataset), max(1, len(dataset) // SAMPLE)):
        try:
            size = dataset.image_size(index)
        except UserError:  # training names it when it gets there
            continue
        shown.append(min(size) / max(size))
    if not shown or median(shown) >= LEAST_SHOWN:
        return ''
    return (f'most photographs are long: prediction sees a middle square, {100 * median(shown):.0f} % of them. If what matters is not '
            "there, add --set crop_mode=border, which pads them to a square, or --set crop_mode=squash")
