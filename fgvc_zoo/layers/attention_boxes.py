"""From attention maps to boxes, crops and drops: batched tensor operations that trace, script and export (WS-DAN section 3.3)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from timm.models import register_notrace_function
from torch import Tensor
from torch.nn import functional as F

from fgvc_zoo.layers.components import largest_component
from fgvc_zoo.layers.resampling import crop_boxes, enlarge_columns, enlarge_rows

_BEYOND = 3.4e38  # a level that no pixel reaches


@register_notrace_function  # a leaf for symbolic tracing, which cannot follow choices by device
def attention_box(attention: Tensor, threshold: Tensor, padding: float, height: int, width: int) -> Tensor:
    """The tight box around the region where a map is strong.

    The map is enlarged bilinearly to height x width pixels; the region is where it reaches threshold times its maximum.

    Args:
        attention: (B, h, w). NaN and infinity count as 0.
        threshold: Fractions of the maximum, (B,) or scalar, in (0, 1).
        padding: Margin on each side, as a fraction of the image's sides.
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Returns:
        Boxes (B, 4) in unit xyxy coordinates, float32, inside the image and at least one pixel wide and high. A map without a
        positive maximum gives the whole image.

    Example:
        The right one of two columns:

        >>> import torch
        >>> attention_box(torch.tensor([[[0.0, 1.0], [0.0, 1.0]]]), torch.tensor(0.5), 0.0, 8, 8)
        tensor([[0.5000, 0.0000, 1.0000, 1.0000]])
    """
    maps = _finite(attention)
    every_row, every_column = torch.arange(height, device=maps.device), torch.arange(width, device=maps.device)
    rows, columns = _extreme_pixels(maps.shape[1], height, maps.device), _extreme_pixels(maps.shape[2], width, maps.device)
    # the maximum of every column and of every row of the enlarged map, from a few of its pixels
    across = enlarge_rows(enlarge_columns(maps, every_column, width), rows, height).amax(1)
    down = enlarge_rows(enlarge_columns(maps, columns, width), every_row, height).amax(2)
    peak = across.amax(1, keepdim=True)
    level = threshold.reshape(-1, 1) * peak
    nothing = peak <= 0  # a map without a strong region gives the whole image
    left, right = _extent((across >= level) | nothing)
    top, bottom = _extent((down >= level) | nothing)
    boxes = torch.stack([left / width - padding, top / height - padding, right / width + padding, bottom / height + padding], 1)
    return boxes.clamp(0.0, 1.0)


def _finite(attention: Tensor) -> Tensor:
    """In float32, without gradient, with 0 for what is no number."""
    return torch.nan_to_num(attention.detach().float(), 0.0, 0.0, 0.0)


def _extreme_pixels(cells: int, pixels: int, device: torch.device) -> Tensor:
    """Where along one axis a map of `cells` has its extrema when it is enlarged to `pixels`: (2 * cells,) int64.

    The enlarged map is linear between the centres of two cells, so its extrema are at the pixels on both sides of a cell's centre. That
    makes 2h x 2w pixels instead of H x W.
    """
    centers = torch.arange(cells, device=device) * 2 + 1  # in halves of a cell
    before = torch.div(centers * pixels - cells, 2 * cells, rounding_mode='floor')
    return torch.cat([before, before + 1]).clamp(0, pixels - 1)


def _extent(line: Tensor) -> tuple[Tensor, Tensor]:
    """First True and one past the last True of each row of (B, N): two (B,) float32."""
    count = line.shape[1]
    first = line.float().argmax(1)
    last = count - line.flip(1).float().argmax(1)
    return first.float(), last.float()


@register_notrace_function
def object_box(
        attention: Tensor, height: int, width: int, threshold: float = 0.1, padding: float = 0.05, connected: bool = False) -> Tensor:
    """The box of the mean over the attention maps, which the second forward pass of inference sees enlarged.

    Args:
        attention: (B, M, h, w).
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        threshold: Fraction of the mean map's maximum.
        padding: Margin on each side, as a fraction of the image's sides.
        connected: Take only the largest connected region, as for class activation maps (WS-BAN), instead of everything above the
            threshold (WS-DAN). Connectivity is computed at the map's own resolution.

    Returns:
        Boxes (B, 4) as `attention_box`.
    """
    mean = _finite(attention).mean(1)
    if not connected:
        return attention_box(mean, mean.new_full(mean.shape[:1], threshold), padding, height, width)
    level = threshold * mean.flatten(1).amax(1)
    strong = (mean >= level[:, None, None]) & (level > 0)[:, None, None]
    # keep one more cell around the region, because bilinear enlarging spreads it by one; cells elsewhere may be just below the level
    around = F.max_pool2d(largest_component(strong)[:, None].float(), 3, 1, 1)[:, 0] > 0
    kept = torch.where(around, mean, torch.zeros_like(mean))
    # the largest region need not hold the map's maximum, so the level is passed as a fraction of the region's own maximum
    peak = kept.flatten(1).amax(1)
    return attention_box(kept, level / peak.clamp(min=1e-12), padding, height, width)


def sample_maps(attention: Tensor, generator: torch.Generator | None = None, share: tuple[int, int] = (0, 1)) -> Tensor:
    """Draw one map per image with probability proportional to the square root of its mean (the authors' code).

    Args:
        attention: (B, M, h, w). NaN, infinite and negative values count as 0; if every map is 0 the draw is uniform.
        generator: Source of randomness; torch's global one if None.
        share: (r, n) if the images are part r, counted from 0, of a batch in n equal parts. Parts that draw from equal generators then
            draw what the whole batch would.

    Returns:
        (B, h, w).
    """
    weights = _finite(attention).clamp(min=0).mean((2, 3)).sqrt()
    weights = weights + (weights.sum(1, keepdim=True) == 0)
    # the largest quotient by exponential numbers is a draw with these probabilities, as in torch.multinomial
    noise = _drawn(weights, generator, share, lambda numbers: numbers.exponential_(generator=generator))
    index = (weights / noise).argmax(1, keepdim=True)
    return attention.gather(1, index[:, :, None, None].expand(-1, -1, attention.shape[2], attention.shape[3]))[:, 0]


@torch.no_grad()
def attention_crop(
        images: Tensor,
        attention: Tensor,
        generator: torch.Generator | None = None,
        threshold: tuple[float, float] = (0.4, 0.6),
        padding: float = 0.1,
        share: tuple[int, int] = (0, 1),
) -> Tensor:
    """Attention cropping (WS-DAN equations 7 and 8): each image zoomed to the region of one of its maps.

    Args:
        images: (B, C, H, W), normalised.
        attention: (B, M, h, w).
        generator: Source of randomness.
        threshold: Range from which each image draws its own threshold.
        padding: Margin around the region, as a fraction of the image's sides.
        share: As in `sample_maps`.

    Returns:
        (B, C, H, W) in the images' dtype.
    """
    height, width = images.shape[2:]
    maps = sample_maps(attention, generator, share)
    boxes = attention_box(maps, _uniform(maps.new_empty(len(maps)), threshold, generator, share), padding, height, width)
    return crop_boxes(images, boxes, height, width)


@torch.no_grad()
def attention_drop(
        images: Tensor,
        attention: Tensor,
        generator: torch.Generator | None = None,
        threshold: tuple[float, float] = (0.2, 0.5),
        share: tuple[int, int] = (0, 1),
) -> Tensor:
    """Attention dropping (WS-DAN equation 9): each image with the region of one of its maps set to 0.

    An image is returned unchanged if its region is everything (a constant map) or nothing (a zero map).

    Args:
        images: (B, C, H, W), normalised.
        attention: (B, M, h, w).
        generator: Source of randomness.
        threshold: Range from which each image draws its own threshold.
        share: As in `sample_maps`.

    Returns:
        (B, C, H, W) in the images' dtype.
    """
    height, width = images.shape[2:]
    maps = _finite(sample_maps(attention, generator, share))
    rows, columns = _extreme_pixels(maps.shape[1], height, maps.device), _extreme_pixels(maps.shape[2], width, maps.device)
    extremes = enlarge_columns(enlarge_rows(maps, rows, height), columns, width)
    peak = extremes.amax((1, 2), keepdim=True)
    level = _uniform(maps.new_empty(len(maps), 1, 1), threshold, generator, share) * peak
    # Drop nothing then. Not infinity, because a map minus it and infinity minus infinity are no numbers.
    level = level.masked_fill((peak <= 0) | (extremes.amin((1, 2), keepdim=True) >= level), _BEYOND)
    # comparing with 0 and multiplying in the enlarged map's own memory are faster than a level for each image and a mask
    above = enlarge_columns(maps, torch.arange(width, device=maps.device), width) - level
    keep = enlarge_rows(above, torch.arange(height, device=maps.device), height).lt_(0)
    return images * keep.unsqueeze(1).to(images.dtype)


def _uniform(
        like: Tensor, interval: tuple[float, float], generator: torch.Generator | None, share: tuple[int, int]) -> Tensor:
    low, high = interval
    return low + (high - low) * _drawn(like.float(), generator, share, lambda numbers: numbers.uniform_(generator=generator))


def _drawn(
        like: Tensor, generator: torch.Generator | None, share: tuple[int, int], draw: Callable[[Tensor], Tensor]) -> Tensor:
    """Random numbers of the shape of `like`: this part's rows of those that `draw` fills in for all parts."""
    part, parts = share
    count = len(like)
    place = generator.device if generator is not None else like.device
    return draw(like.new_empty(parts * count, *like.shape[1:], device=place))[part * count:(part + 1) * count].to(like.device)


def half_maximum_boxes(maps: Tensor, height: int, width: int) -> Tensor:
    """Where each map is at least half of its maximum.

    Args:
        maps: (B, M, h, w), >= 0.
        height: Height of the images in pixels.
        width: Width of the images in pixels.

    Returns:
        Boxes (B, M, 4), xyxy in unit coordinates.
    """
    half = torch.tensor(0.5, device=maps.device)
    return attention_box(maps.flatten(0, 1), half, 0.0, height, width).view(maps.shape[0], maps.shape[1], 4)
