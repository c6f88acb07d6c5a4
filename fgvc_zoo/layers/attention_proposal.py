"""Square proposals and differentiable crops (RA-CNN: Fu et al., CVPR 2017, section 3).

A square is (t_x, t_y, t_l): its centre and half its side, in unit coordinates of the image that it lies in. t_l = 1/2 is the whole image.
In an image that is not square, the region has the image's aspect ratio.
"""

from __future__ import annotations

import torch
from timm.models import register_notrace_function
from torch import Tensor, nn
from torch.nn import functional as F

from fgvc_zoo.layers.attention_boxes import attention_box
from fgvc_zoo.layers.resampling import crop_boxes


class AttentionProposal(nn.Module):
    """Attention proposal network: proposes a square of a feature map.

    Map (B, in_channels, h, w) -> squares (B, 3), float32 at least: pool to a grid, FC, tanh, FC, smooth bounds (`bound_squares`).

    Both FCs start at N(0, 0.001^2) with zero bias, so every image starts close to the central square of two thirds of the side.

    Args:
        in_channels: Channels of the map.
        grid: The map is averaged to grid x grid cells, so maps of any size are accepted.
        channels: A 1x1 convolution first reduces the channels to this many. 0 leaves it out, as in the public network definition; the
            first FC then has 512 * 14 * 14 * 1024 = 103 million weights for VGG-19 with a grid of 14 and a width of 1024.
        width: Outputs of the first FC.
    """

    def __init__(
            self,
            in_channels: int,
            grid: int = 7,
            channels: int = 64,
            width: int = 256,
            *,
            device: torch.device | str | None = None,
            dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.reduce: nn.Module = nn.Identity()
        if channels > 0:
            self.reduce = nn.Conv2d(in_channels, channels, 1, bias=False, device=device, dtype=dtype)
        self.hidden = nn.Linear((channels or in_channels) * grid * grid, width, device=device, dtype=dtype)
        self.out = nn.Linear(width, 3, device=device, dtype=dtype)
        for layer in (self.hidden, self.out):
            nn.init.normal_(layer.weight, std=0.001)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.reduce(F.adaptive_avg_pool2d(x, self.grid))
        return bound_squares(self.out(self.hidden(x.flatten(1)).tanh()))


@register_notrace_function  # a leaf for symbolic tracing, which cannot follow choices by dtype
def bound_squares(raw: Tensor) -> Tensor:
    """Map real numbers to squares inside the image: t_l = 1/6 + sigmoid(r_l) / 3, t_x = t_l + (1 - 2 t_l) sigmoid(r_x), t_y likewise.

    The bounds are smooth, so the gradient is never cut off.

    Args:
        raw: (B, 3), in the order (x, y, l).

    Returns:
        (B, 3), float32 at least: half sides in [1/6, 1/2], centres in [t_l, 1 - t_l].
    """
    if raw.dtype != torch.float64:
        raw = raw.float()
    share = raw.sigmoid()
    half = (1 + 2 * share[:, 2:]) / 6  # a region has at least a third of its parent's side
    return torch.cat([half + (1 - 2 * half) * share[:, :2], half], 1)


def nested_squares(parents: Tensor, children: Tensor) -> Tensor:
    """Convert squares (B, 3) from coordinates of their parents (B, 3) to coordinates of the image that the parents lie in.

    Example:
        The upper left quarter of the upper left quarter:

        >>> import torch
        >>> quarter = torch.tensor([[0.25, 0.25, 0.25]])
        >>> nested_squares(quarter, quarter)
        tensor([[0.1250, 0.1250, 0.1250]])
    """
    side = 2 * parents[:, 2:]
    corner = parents[:, :2] - parents[:, 2:]
    return torch.cat([corner + side * children[:, :2], side * children[:, 2:]], 1)


def square_boxes(squares: Tensor) -> Tensor:
    """Squares (B, 3) -> boxes (B, 4), xyxy."""
    return torch.cat([squares[:, :2] - squares[:, 2:], squares[:, :2] + squares[:, 2:]], 1)


def box_mask(squares: Tensor, positions: Tensor, steepness: float) -> Tensor:
    """The soft box along one axis: h(x - (t - t_l)) - h(x - (t + t_l)) with h(x) = 1 / (1 + exp(-k x)).

    Args:
        squares: Centre t and half side t_l along the axis (B, 2).
        positions: x (B, N), in the same coordinates.
        steepness: k > 0.

    Returns:
        (B, N), in (0, 1): near 1 in the middle and 1/2 at the edges, if k t_l is large.
    """
    center, half = squares[:, :1], squares[:, 1:]
    return (steepness * (positions - center + half)).sigmoid() - (steepness * (positions - center - half)).sigmoid()


@register_notrace_function
def attended_crop(
        images: Tensor,
        squares: Tensor,
        height: int,
        width: int,
        steepness: float = 10.0,
        parents: Tensor | None = None,
        mask_gradient_only: bool = True,
        masked: bool = True,
) -> Tensor:
    """Crop a square of each image, enlarge it bilinearly and multiply it by a soft box mask. Differentiable in the squares.

    The mask is evaluated at the sampled positions, in coordinates of the square's parent. So `steepness` means the same at every scale:
    with k = 10 the mask rises from 1/2 at an edge to about 3/4 at a tenth of the parent's side further in.

    The gradient flows through the mask only and moves the square toward useful pixels. With `mask_gradient_only=False` it is the full
    derivative, which also flows through the sampled pixels. The full derivative is many times larger and dominated by differences between
    neighbouring pixels. It hardly predicts how the loss changes when a square moves by more than a pixel
    (`benchmarks/accuracy/box_gradients.py` compares both with finite differences).

    The public Caffe layer uses a hand-written gradient instead: it ignores the sign of the loss gradient, and it always shrinks the box.

    Args:
        images: (B, C, H, W), floating point.
        squares: (B, 3): centre and half side, in unit coordinates of their parents.
        height: Height of the result in pixels.
        width: Width of the result in pixels.
        steepness: k > 0, per unit of the parent's side. A larger k gives a sharper mask; 1000 is a hard crop.
        parents: Squares (B, 3) of the images that `squares` lie in; the whole images if None.
        mask_gradient_only: See above.
        masked: False returns the crop without the mask but keeps the mask's gradients. The crop is then not darker towards its edges, but
            the gradients agree much less with finite differences.

    Returns:
        (B, C, height, width) in the images' dtype.
    """
    if images.dtype != torch.float64:
        squares = squares.float()
    held = squares.detach() if mask_gradient_only else squares
    regions = held if parents is None else nested_squares(parents, held)
    if mask_gradient_only:
        regions = regions.detach()
    crop = crop_boxes(images, square_boxes(regions), height, width)
    low = held[:, :2] - held[:, 2:]
    across = low[:, :1] + 2 * held[:, 2:] * _pixel_centers(width, held)
    down = low[:, 1:] + 2 * held[:, 2:] * _pixel_centers(height, held)
    mask_x = box_mask(squares[:, 0::2], across, steepness)
    mask_y = box_mask(squares[:, 1:], down, steepness)
    mask = mask_y[:, None, :, None] * mask_x[:, None, None, :]
    if not masked:
        mask = 1 + (mask - mask.detach())
    return crop * mask.to(crop.dtype)


def _pixel_centers(count: int, like: Tensor) -> Tensor:
    """Centres of `count` pixels in unit coordinates (1, count)."""
    return ((torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) / count)[None]


@register_notrace_function
def response_map(features: Tensor) -> Tensor:
    """Mean absolute value over channels: (B, C, h, w) -> (B, h, w), float32, >= 0.

    Absolute values, because some backbones have signed maps. After a ReLU this is the mean.
    """
    return features.float().abs().mean(1)


def peak_squares(features: Tensor, half: float = 0.25) -> Tensor:
    """Of all squares of one size inside the image, the one with the highest mean response: a first target for a proposal network.

    The position of the highest single response is often at one end of the object; a mean over a square is better centred. Squares are
    aligned to quarters of the map's cells.

    Args:
        features: Maps (B, C, h, w).
        half: Half side, in unit coordinates.

    Returns:
        (B, 3), float32, without gradient. Ties go to the first in row-major order.
    """
    fine = response_map(features.detach())[:, None].repeat_interleave(4, 2).repeat_interleave(4, 3)
    height, width = fine.shape[2:]
    rows, columns = max(1, round(2 * half * height)), max(1, round(2 * half * width))
    means = F.avg_pool2d(fine, (rows, columns), 1).squeeze(1)
    index = means.flatten(1).argmax(1)
    across = (index % means.shape[2] + columns / 2) / width
    down = (index // means.shape[2] + rows / 2) / height
    center = torch.stack([across, down], 1).clamp(half, 1 - half)
    return torch.cat([center, torch.full_like(center[:, :1], half)], 1)


def extent_squares(features: Tensor, threshold: float = 0.3) -> Tensor:
    """Squares around the region whose response is at least `threshold` times the maximum: about the size of the object.

    Args:
        features: Maps (B, C, h, w).
        threshold: Fraction of the maximum response, in (0, 1).

    Returns:
        (B, 3), float32, without gradient: the smallest square around that region, moved inside the image. Half sides are in [1/6, 1/2],
        the range of `bound_squares`.
    """
    response = response_map(features.detach())
    boxes = attention_box(response, torch.tensor(threshold, device=response.device), 0.0, 4 * response.shape[1], 4 * response.shape[2])
    half = ((boxes[:, 2:] - boxes[:, :2]).amax(1, keepdim=True) / 2).clamp(min=1 / 6)
    center = torch.minimum(torch.maximum((boxes[:, :2] + boxes[:, 2:]) / 2, half), 1 - half)
    return torch.cat([center, half], 1)


@register_notrace_function
def paste_maps(maps: Tensor, squares: Tensor, height: int, width: int) -> Tensor:
    """Paste maps of enlarged squares back to their place in the image.

    Args:
        maps: (B, h, w), each over the whole of its square.
        squares: (B, 3) in coordinates of the image.
        height: Height of the result in cells.
        width: Width of the result in cells.

    Returns:
        (B, height, width) over the image, float32; 0 outside the squares.
    """
    center, half = squares[:, :2].float(), squares[:, 2:].float()
    shift = (0.5 - center) / half  # of coordinates in [-1, 1]
    theta = torch.cat([torch.diag_embed((0.5 / half).expand(-1, 2)), shift[:, :, None]], 2)
    grid = F.affine_grid(theta, [maps.shape[0], 1, height, width], align_corners=False)
    return F.grid_sample(maps[:, None].float(), grid, mode='bilinear', padding_mode='zeros', align_corners=False)[:, 0]


@register_notrace_function
def joint_descriptor(descriptors: list[Tensor], length: float = 10.0) -> Tensor:
    """Concatenate descriptors (B, C) of S scales, each normalised to `length` so that all have equal weight: (B, S * C), same dtype."""
    joint = []
    for descriptor in descriptors:
        joint.append(length * F.normalize(descriptor if descriptor.dtype == torch.float64 else descriptor.float(), dim=1))
    return torch.cat(joint, 1).to(descriptors[0].dtype)
