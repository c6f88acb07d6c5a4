"""The largest connected component of a mask, as tensor operations that trace and export."""

from __future__ import annotations

import torch
from timm.models import register_notrace_function
from torch import Tensor
from torch.nn import functional as F


@register_notrace_function
def largest_component(mask: Tensor) -> Tensor:
    """Keep the component with the most cells; neighbours share a side or a corner.

    Label propagation with pointer jumping (FastSV, Zhang et al. 2020). A cell's label is the index of a cell of its component. In every
    round each cell takes the largest label of its neighbours, writes it to the cell that its old label names, and then takes the label of
    the cell that its new label names. This takes O(log n) rounds instead of O(longest path).

    Args:
        mask: (B, h, w), bool.

    Returns:
        (B, h, w), bool. Ties go to the component whose last cell comes first in row-major order. All False for an empty mask.
    """
    batch, height, width = mask.shape
    cells = height * width
    inside = mask.flatten(1)
    # label 0 is 'outside', so cells count from 1
    index = torch.arange(cells, device=mask.device) + 1
    label = torch.where(inside, index, torch.zeros_like(index))
    rounds, span = 4, cells
    while span > 1:
        rounds, span = rounds + 2, span // 2
    for _ in range(rounds):
        # float32 holds every index up to 2 ** 24 exactly
        around = F.max_pool2d(label.to(torch.float32).view(batch, 1, height, width), 3, stride=1, padding=1).flatten(1).long()
        around = torch.where(inside, around, label)
        home = F.pad(label, (1, 0)).scatter_reduce(1, label, around, 'amax', include_self=True)
        followed = torch.maximum(home[:, 1:], around)
        label = torch.where(inside, F.pad(followed, (1, 0)).gather(1, followed), label)
    count = torch.zeros(batch, cells + 1, dtype=torch.float32, device=mask.device).scatter_add(1, label, inside.to(torch.float32))
    return (inside & (label == count.argmax(1, keepdim=True))).view(batch, height, width)
