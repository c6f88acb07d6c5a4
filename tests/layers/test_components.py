"""The largest component against a flood fill, on random masks and on those where a label's way is longest."""

from __future__ import annotations

import pytest
import torch
from timm.models import is_notrace_function
from torch import Tensor

from fgvc_zoo.layers import largest_component


def flood_fill(mask: Tensor) -> Tensor:
    height, width = mask.shape
    visited: set[tuple[int, int]] = set()
    best: list[tuple[int, int]] = []
    for start in [(i, j) for i in range(height) for j in range(width) if mask[i, j]]:
        if start in visited:
            continue
        visited.add(start)
        cells, todo = [], [start]
        while todo:
            i, j = todo.pop()
            cells.append((i, j))
            for cell in [(a, b) for a in (i - 1, i, i + 1) for b in (j - 1, j, j + 1)]:
                if 0 <= cell[0] < height and 0 <= cell[1] < width and mask[cell] and cell not in visited:
                    visited.add(cell)
                    todo.append(cell)
        if len(cells) > len(best) or (len(cells) == len(best) and max(cells) < max(best)):
            best = cells
    result = torch.zeros_like(mask)
    for cell in best:
        result[cell] = True
    return result


@pytest.mark.parametrize('share', [0.1, 0.3, 0.4, 0.5, 0.7])
def test_random_masks(share: float) -> None:
    generator = torch.Generator().manual_seed(int(100 * share))
    for height, width in ((1, 1), (1, 17), (9, 1), (7, 7), (14, 11), (26, 26)):
        masks = torch.rand(6, height, width, generator=generator) < share
        for mask, largest in zip(masks, largest_component(masks), strict=True):
            assert torch.equal(largest, flood_fill(mask))


def serpentine(size: int) -> Tensor:
    mask = torch.zeros(size, size, dtype=torch.bool)
    mask[::2] = True
    for turn, row in enumerate(range(1, size, 2)):
        mask[row, -1 if turn % 2 == 0 else 0] = True
    return mask


def spiral(size: int) -> Tensor:
    mask = torch.zeros(size, size, dtype=torch.bool)
    i, j, side, length = 0, 0, 0, size - 1
    mask[0, 0] = True
    while length > 0:
        for _ in range(3 if side == 0 else 2):
            for _ in range(length):
                i, j = i + (0, 1, 0, -1)[side % 4], j + (1, 0, -1, 0)[side % 4]
                mask[i, j] = True
            side += 1
        length -= 2
    return mask


@pytest.mark.parametrize('size', [7, 14, 27, 40])
@pytest.mark.parametrize('make', [serpentine, spiral])
def test_long_ways(make, size: int) -> None:
    mask = make(size)
    for turned in (mask, mask.T, mask.flip(0), mask.flip(1), mask.rot90(1)):
        assert torch.equal(largest_component(turned[None])[0], flood_fill(turned))


def test_nothing_and_everything() -> None:
    masks = torch.stack([torch.zeros(5, 6, dtype=torch.bool), torch.ones(5, 6, dtype=torch.bool)])
    assert torch.equal(largest_component(masks), masks)


def test_corners_connect() -> None:
    mask = torch.eye(5, dtype=torch.bool)[None]
    assert torch.equal(largest_component(mask), mask)


def test_exports() -> None:
    class Module(torch.nn.Module):
        def forward(self, mask: Tensor) -> Tensor:
            return largest_component(mask)

    masks = torch.rand(3, 9, 8, generator=torch.Generator().manual_seed(0)) < 0.4
    exported = torch.export.export(Module(), (masks,))
    assert torch.equal(exported.module()(masks), largest_component(masks))
    torch.testing.assert_close(torch.jit.script(Module())(masks), largest_component(masks))


def test_symbolic_tracing_takes_it_as_one_operation() -> None:
    assert is_notrace_function(largest_component)
