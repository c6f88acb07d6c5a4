"""Images to tensors and back: timm's pipelines, plus the square resize and random crop of the papers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps
from timm.data import create_transform
from timm.data.transforms import CenterCropOrPad, str_to_interp_mode
from torch import Tensor
from torchvision import transforms

from fgvc_zoo._errors import UserError, check_choice, check_range

STYLES = ('resized_crop', 'resize_crop')
CROP_MODES = ('center', 'squash', 'border')
INTERPOLATIONS = ('nearest', 'bilinear', 'bicubic', 'box', 'hamming', 'lanczos')

Transform = Callable[[Image.Image], Tensor]

_RESIZE_CROP_PCT = 0.875
_LONGEST_ASPECT = 32


@dataclass(frozen=True)
class Augmentation:
    """Augmentation of training images.

    Attributes:
        scale: Smallest and largest area of a 'resized_crop', as fractions of the image's, in (0, 1].
        ratio: Smallest and largest width / height of a 'resized_crop'.
        hflip: Probability of a horizontal flip.
        color_jitter: Largest relative change of brightness, contrast and saturation; 0 for none. Three numbers are one for each. timm
            ignores it if `auto_augment` is set.
        auto_augment: timm policy such as 'rand-m9-mstd0.5-inc1'; None for none.
        random_erasing: Probability that a rectangle is erased (filled with the mean).
        style: 'resized_crop' cuts a random area and scales it to the input size. 'resize_crop' is the papers' protocol: resize the whole
            image to a square of input size / 0.875, ignoring its aspect ratio, and cut a random square of the input size. It ignores
            `scale` and `ratio`. Evaluate such a model with the crop mode 'squash'.

    Raises:
        UserError: A value is out of range.
    """

    scale: tuple[float, float] = (0.35, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    hflip: float = 0.5
    color_jitter: float | tuple[float, float, float] = 0.2
    auto_augment: str | None = None
    random_erasing: float = 0.0
    style: str = 'resized_crop'

    def __post_init__(self) -> None:
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise UserError(f'augmentation scale must be two rising fractions in (0, 1], not {self.scale}')
        if len(self.ratio) != 2 or not 0 < self.ratio[0] <= self.ratio[1]:
            raise UserError(f'augmentation ratio must be two rising positive numbers, not {self.ratio}')
        for name in ('hflip', 'random_erasing'):
            check_range(f'augmentation {name}', getattr(self, name), 0, 1)
        jitter = self.color_jitter if isinstance(self.color_jitter, tuple) else (self.color_jitter,)
        if len(jitter) not in (1, 3):
            raise UserError('augmentation color_jitter must be one number, or three (brightness, contrast, saturation), not '
                            f'{self.color_jitter}')
        for strength in jitter:
            check_range('augmentation color_jitter', strength, 0)
        check_choice('augmentation style', self.style, STYLES)


def train_transform(
        input_size: int, mean: Sequence[float], std: Sequence[float], interpolation: str,
        augmentation: Augmentation, crop_mode: str = 'center') -> Transform:
    """A random training transform. It uses the global generators of Python, numpy and torch.

    Args:
        input_size: Side of the square result, in pixels.
        mean: Per channel, of values in [0, 1].
        std: Per channel, of values in [0, 1].
        interpolation: Name of a resampling filter, e.g. 'bicubic'.
        augmentation: The settings.
        crop_mode: Of the evaluation (see `eval_transform`). With 'squash' and 'border' an image becomes square in the same way before
            it is cropped, so that training and prediction see objects of the same shape.

    Returns:
        A function from an RGB image to a normalised float32 tensor (3, input_size, input_size).

    Raises:
        UserError: The interpolation, the crop mode or the auto_augment policy is not known.
    """
    check_choice('interpolation', interpolation, INTERPOLATIONS)
    check_choice('crop mode', crop_mode, CROP_MODES)
    try:
        crop, color, tensor = create_transform(
            input_size, is_training=True, separate=True, scale=augmentation.scale, ratio=augmentation.ratio,
            hflip=augmentation.hflip, color_jitter=augmentation.color_jitter,
            auto_augment=augmentation.auto_augment, re_prob=augmentation.random_erasing, interpolation=interpolation,
            mean=tuple(mean), std=tuple(std))
    except (AssertionError, KeyError, ValueError, IndexError) as error:
        if augmentation.auto_augment is None:
            raise
        raise UserError(
            f"timm does not know the auto_augment policy '{augmentation.auto_augment}'; use one such as "
            "'rand-m9-mstd0.5-inc1'") from error
    if augmentation.style == 'resize_crop':
        side = math.floor(input_size / _RESIZE_CROP_PCT)
        crop = transforms.Compose([
            transforms.Resize((side, side), interpolation=str_to_interp_mode(interpolation)),
            transforms.RandomCrop(input_size),
            transforms.RandomHorizontalFlip(augmentation.hflip),
        ])
    square = [] if crop_mode == 'center' or (crop_mode, augmentation.style) == ('squash', 'resize_crop') else [
        _Square(crop_mode, 2 * input_size, mean, interpolation)]
    return transforms.Compose([*square, *crop.transforms, *color.transforms, *tensor.transforms])


def eval_transform(
        input_size: int, mean: Sequence[float], std: Sequence[float], interpolation: str, crop_pct: float,
        crop_mode: str = 'center', padding: tuple[int, int, int] | None = None) -> Transform:
    """The deterministic transform of evaluation and prediction.

    An image more than 32 times as long as wide is first cropped to its middle, because resizing its short side could exhaust the memory.

    Args:
        input_size: Side of the square result, in pixels.
        mean: Per channel, of values in [0, 1].
        std: Per channel, of values in [0, 1].
        interpolation: Name of a resampling filter, e.g. 'bicubic'.
        crop_pct: The image is resized to input_size / crop_pct before the central crop; in (0, 1].
        crop_mode: 'center' resizes the short side, 'squash' both sides (ignoring the aspect ratio), 'border' the long side, and pads.
        padding: Colour of the pads per channel, from 0 to 255; the mean if None.

    Returns:
        A function from an RGB image to a normalised float32 tensor (3, input_size, input_size).

    Raises:
        UserError: A name is not known, or crop_pct is out of range.
    """
    check_choice('interpolation', interpolation, INTERPOLATIONS)
    check_choice('crop mode', crop_mode, CROP_MODES)
    check_range('crop_pct', crop_pct, 0, 1, exclude=(0,))
    pipeline = create_transform(
        input_size, interpolation=interpolation, mean=tuple(mean), std=tuple(std), crop_pct=crop_pct,
        crop_mode=crop_mode)
    for step in pipeline.transforms:  # timm's pipeline pads with the mean and has no argument for it
        if padding is not None and isinstance(step, CenterCropOrPad):
            step.fill = padding
    return transforms.Compose([_limit_aspect, *pipeline.transforms])


def inverse_normalize(tensor: Tensor, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """Convert a normalised tensor to an image.

    Args:
        tensor: (C, H, W), normalised with `mean` and `std`.
        mean: Per channel, of values in [0, 1].
        std: Per channel, of values in [0, 1].

    Returns:
        (H, W, C) uint8; values outside [0, 1] are clipped.
    """
    values = tensor.detach().float().cpu()
    values = values * torch.tensor(std).view(-1, 1, 1) + torch.tensor(mean).view(-1, 1, 1)
    return (values.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def padding_color(mean: Sequence[float]) -> tuple[int, ...]:
    """The mean colour per channel, from 0 to 255: the pads that the network sees as zeros."""
    return tuple(round(255 * value) for value in mean)


class _Square:
    """Make an image square before it is cropped: 'squash' changes its aspect ratio, 'border' pads it. Its side is at most `longest`."""

    def __init__(self, crop_mode: str, longest: int, mean: Sequence[float], interpolation: str) -> None:
        self.crop_mode, self.longest, self.color = crop_mode, longest, padding_color(mean)
        self.resampling = Image.Resampling[interpolation.upper()]

    def __call__(self, image: Image.Image) -> Image.Image:
        image = _limit_aspect(image)
        side = min(self.longest, max(image.size))
        if self.crop_mode == 'squash':
            return image.resize((side, side), self.resampling)
        return ImageOps.pad(image, (side, side), self.resampling, self.color)


def _limit_aspect(image: Image.Image) -> Image.Image:
    longest = _LONGEST_ASPECT * min(image.size)
    width, height = min(image.width, longest), min(image.height, longest)
    if (width, height) == image.size:
        return image
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
