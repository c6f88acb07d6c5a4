"""Bilinear resampling one axis at a time, which is exact because the weights of an upright box are a product over the axes."""

from __future__ import annotations

import torch
from timm.models import register_notrace_function
from torch import Tensor
from torch.nn import functional as F


@register_notrace_function  # a leaf for symbolic tracing, which cannot follow choices by dtype
def crop_boxes(images: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
    """Cut one box out of each image and resize it bilinearly.

    Positions outside the image take its border pixels. Differentiable in the images and the boxes, once.

    Args:
        images: (B, C, H, W), floating point.
        boxes: (B, 4), unit xyxy coordinates. A box with NaN gives a crop of NaN.
        height: Height of the result in pixels.
        width: Width of the result in pixels.

    Returns:
        (B, C, height, width) in the images' dtype. The box of the whole image at its own size is the identity.

    Example:
        The left half of a row of four pixels, twice as large:

        >>> import torch
        >>> image = torch.tensor([[[[0.0, 4.0, 8.0, 12.0]]]])
        >>> crop_boxes(image, torch.tensor([[0.0, 0.0, 0.5, 1.0]]), 1, 4)
        tensor([[[[0., 1., 3., 5.]]]])
    """
    dtype = images.dtype
    if dtype != torch.float64:
        images = images.float()
    boxes = boxes.to(images.dtype)
    count, channels, rows, columns = images.shape
    upper, lower, down = neighbours(_positions(boxes[:, 1], boxes[:, 3], rows, height), rows)
    left, right, across = neighbours(_positions(boxes[:, 0], boxes[:, 2], columns, width), columns)
    planes = (rows * torch.arange(count * channels, device=images.device)).view(count, channels, 1)
    crops = blend_rows(
        images.flatten(0, 2), (planes + upper[:, None]).flatten(), (planes + lower[:, None]).flatten(),
        down[:, None].expand(count, channels, height).flatten())
    crops = crops.view(count, channels, height, columns)
    shape = (count, channels, height, width)
    first = crops.gather(3, left[:, None, None].expand(shape))
    second = crops.gather(3, right[:, None, None].expand(shape))
    return first.lerp_(second, across[:, None, None]).to(dtype)


def _positions(low: Tensor, high: Tensor, size: int, count: int) -> Tensor:
    """Where `count` samples of each interval (B,) lie on an axis of `size` pixels, in pixels from the first one's centre: (B, count)."""
    steps = torch.arange(count, device=low.device, dtype=low.dtype) + 0.5
    # the ratio of the sizes first: it is exactly 1 where nothing is resized
    return (low * size)[:, None] + steps * ((high - low) * (size / count))[:, None] - 0.5


def neighbours(positions: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The two pixels that each position lies between, on an axis of `size` pixels.

    Args:
        positions: Any shape, floating point, in pixels from the centre of the first one. Those outside move to the border.
        size: >= 1.

    Returns:
        The first and the second pixel, int64, and the second one's weight in [0, 1), all of the positions' shape. NaN has the weight NaN.
    """
    positions = positions.clamp(0, size - 1)
    floor = positions.detach().nan_to_num(0.0).floor()  # an index must be valid, whatever the position is
    first = floor.long()
    return first, (first + 1).clamp(max=size - 1), positions - floor


def blend_rows(table: Tensor, first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    """(1 - weight) * table[first] + weight * table[second].

    Args:
        table: (N, L), float32 or float64.
        first: Rows (R,), int64.
        second: Rows (R,), int64.
        weight: (R,), in the table's dtype.

    Returns:
        (R, L).
    """
    # on a CPU one pass over memory instead of three; in exported graphs and on other devices this operator may be slow or missing
    exported = torch.jit.is_scripting() or torch.jit.is_tracing() or torch.compiler.is_compiling()
    if table.device.type == 'cpu' and not exported:
        pairs, weights = torch.stack([first, second], 1), torch.stack([1 - weight, weight], 1)
        return F.embedding_bag(pairs, table, mode='sum', per_sample_weights=weights)
    return table.index_select(0, first).lerp(table.index_select(0, second), weight[:, None])


def enlarge_rows(maps: Tensor, pixels: Tensor, height: int) -> Tensor:
    """Some rows of maps (B, h, w) that are enlarged bilinearly to `height` rows.

    Args:
        maps: Float32.
        pixels: Rows of the result (R,), int64, in [0, height).
        height: Rows of the whole result.

    Returns:
        (B, R, w).
    """
    count, rows, columns = maps.shape
    first, second, weight = neighbours((pixels + 0.5) * (rows / height) - 0.5, rows)
    planes = (rows * torch.arange(count, device=maps.device))[:, None]
    weights = weight.to(maps.dtype).expand(count, weight.shape[0]).flatten()
    result = blend_rows(maps.flatten(0, 1), (planes + first).flatten(), (planes + second).flatten(), weights)
    return result.view(count, weight.shape[0], columns)


def enlarge_columns(maps: Tensor, pixels: Tensor, width: int) -> Tensor:
    """Some columns of maps (B, h, w) that are enlarged bilinearly to `width` columns: `enlarge_rows` along the other axis."""
    first, second, weight = neighbours((pixels + 0.5) * (maps.shape[2] / width) - 0.5, maps.shape[2])
    return maps.index_select(2, first).lerp(maps.index_select(2, second), weight.to(maps.dtype))
