"""Each hot operation beside a plain restatement of its usual public formulation: the same inputs, equal results, the time of both.

    python benchmarks/speed/operations.py --json FILE --plot FILE        # nothing else should run on the machine
    python benchmarks/speed/operations.py --device cuda --json FILE --plot FILE

Both alternate, and the shortest of several times counts. On a CPU one thread is used.
"""

from __future__ import annotations

import argparse
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fgvc_zoo._files import atomic_write, write_json
from fgvc_zoo._memory import keep_freed_memory
from fgvc_zoo.layers import attention_box, attention_crop, attention_drop, bilinear_attention_pooling
from fgvc_zoo.losses import mamc_loss

Run = Callable[[], Any]
THRESHOLD = 0.5
GROWTH: dict[str, dict[str, list[int]]] = dict(
    box=dict(batch=[8, 16, 32, 64], side=[224, 448, 672]), crop=dict(batch=[8, 16, 32, 64], side=[224, 448, 672]),
    drop=dict(batch=[8, 16, 32, 64], side=[224, 448, 672]), pooling=dict(batch=[8, 16, 32, 64], maps=[8, 16, 32, 64], map_side=[7, 14, 26]),
    mamc=dict(pairs=[8, 16, 32, 64], attentions=[2, 4, 8]))


def plain_box(attention: Tensor, height: int, width: int) -> Tensor:
    """One image at a time: enlarge its map, compare, look for the first and last pixel."""
    boxes = []
    for one in attention:
        enlarged = F.interpolate(one[None, None], (height, width), mode='bilinear', align_corners=False)[0, 0]
        rows, columns = torch.nonzero(enlarged >= THRESHOLD * enlarged.max(), as_tuple=True)
        boxes.append(torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]))
    return torch.stack(boxes)


def plain_crop(images: Tensor, attention: Tensor) -> Tensor:
    """One image at a time: cut the box out and enlarge it."""
    height, width = images.shape[2:]
    crops = []
    for image, (left, top, right, bottom) in zip(images, plain_box(attention, height, width).tolist(), strict=True):
        crops.append(F.interpolate(image[None, :, top:bottom, left:right], (height, width), mode='bilinear', align_corners=False))
    return torch.cat(crops)


def plain_drop(images: Tensor, attention: Tensor) -> Tensor:
    """One image at a time: enlarge its map, compare, multiply."""
    masks = []
    for one in attention:
        enlarged = F.interpolate(one[None, None], images.shape[2:], mode='bilinear', align_corners=False)
        masks.append((enlarged < THRESHOLD * enlarged.max()).to(images.dtype))
    return images * torch.cat(masks)


def plain_pooling(features: Tensor, attention: Tensor) -> Tensor:
    return torch.einsum('bmhw,bchw->bmc', attention, features) / (features.shape[2] * features.shape[3])


def plain_mamc(features: Tensor, targets: Tensor) -> Tensor:
    """One anchor at a time: every positive against every negative, as an expanded matrix of pairs; means over the positives."""
    images, attentions, _ = features.shape
    rows = features.flatten(0, 1)
    label, attention = targets.repeat_interleave(attentions), torch.arange(attentions, device=targets.device).repeat(images)
    sums: list[list[Tensor]] = [[], [], []]
    counts = [0, 0, 0]
    for anchor in range(len(rows)):
        same_class, same_attention = label == label[anchor], attention == attention[anchor]
        other = torch.arange(len(rows), device=targets.device) != anchor
        sasc, sadc = same_class & same_attention & other, ~same_class & same_attention
        dasc, dadc = same_class & ~same_attention, ~same_class & ~same_attention
        for term, (positive, negative) in enumerate(((sasc, sadc | dasc | dadc), (sadc, dadc), (dasc, dadc))):
            near, far = rows[positive] @ rows[anchor], rows[negative] @ rows[anchor]
            if len(near) and len(far):
                pairs = far[None].expand(len(near), -1) - near[:, None].expand(-1, len(far))
                sums[term].append(pairs.exp().sum(1).log1p().sum())
            counts[term] += len(near)
    return torch.stack([torch.stack(parts).sum() / max(count, 1) for parts, count in zip(sums, counts, strict=True) if parts]).sum()


def make(operation: str, device: str, **sizes: int) -> tuple[Run, Run, Callable[[Any, Any], float]]:
    """Ours, the restatement, and the largest difference between their results, on random inputs of these sizes."""
    torch.manual_seed(0)
    batch, side = sizes.get('batch', 32), sizes.get('side', 448)
    attention = torch.rand(batch, 1, 14, 14, device=device) ** 4  # one map, so that nothing is left to chance
    images = torch.randn(batch, 3, side, side, device=device)
    if operation == 'box':
        threshold = torch.tensor(THRESHOLD, device=device)
        return (lambda: attention_box(attention[:, 0], threshold, 0.0, side, side) * side, lambda: plain_box(attention[:, 0], side, side),
                _difference)
    if operation == 'crop':
        def inside(ours: Tensor, plain: Tensor) -> float:
            # at the edge of a box, one sees the pixels around it and the other repeats the last one inside
            edge = side // 8
            return _difference(ours[:, :, edge:-edge, edge:-edge], plain[:, :, edge:-edge, edge:-edge])
        return (lambda: attention_crop(images, attention, None, (THRESHOLD, THRESHOLD), 0.0), lambda: plain_crop(images, attention[:, 0]),
                inside)
    if operation == 'drop':
        return (lambda: attention_drop(images, attention, None, (THRESHOLD, THRESHOLD)), lambda: plain_drop(images, attention[:, 0]),
                _difference)
    if operation == 'pooling':
        cells = sizes.get('map_side', 14)
        features = torch.randn(batch, 1280, cells, cells, device=device)
        maps = torch.rand(batch, sizes.get('maps', 32), cells, cells, device=device)
        return lambda: bilinear_attention_pooling(features, maps), lambda: plain_pooling(features, maps), _difference
    count = 2 * sizes.get('pairs', 32)
    vectors = (0.05 * torch.randn(count, sizes.get('attentions', 4), 512, device=device)).requires_grad_()
    targets = torch.arange(count, device=device) // 2

    def with_gradient(loss: Callable[[], Tensor]) -> Tensor:
        value = loss()
        gradient, = torch.autograd.grad(value, vectors)
        return torch.cat([value.detach()[None], gradient.flatten()])

    return (lambda: with_gradient(lambda: torch.stack(mamc_loss(vectors, targets)).sum()),
            lambda: with_gradient(lambda: plain_mamc(vectors, targets)), _difference)


def _difference(ours: Tensor, plain: Tensor) -> float:
    return (ours - plain).abs().max().item()


def measure(operation: str, device: str, repeats: int, **sizes: int) -> dict[str, Any]:
    """Milliseconds of both, their ratio, and the largest difference of the results."""
    ours, plain, difference = make(operation, device, **sizes)
    gap = difference(ours(), plain())
    best = dict(ours=float('inf'), plain=float('inf'))
    for _ in range(repeats):
        for name, run in (('ours', ours), ('plain', plain)):
            _wait(device)
            begun = time.perf_counter()
            run()
            _wait(device)
            best[name] = min(best[name], time.perf_counter() - begun)
    return dict(sizes=sizes, milliseconds=round(1e3 * best['ours'], 3), plain_milliseconds=round(1e3 * best['plain'], 3),
                ratio=round(best['plain'] / best['ours'], 2), difference=gap)


def _wait(device: str) -> None:
    if device == 'cuda':
        torch.cuda.synchronize()


def large_mamc() -> dict[str, Any]:
    """The constraint on 4,096 features of 512 numbers, with its gradient: time and memory. All pairs of vectors would be 32 GB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ours, _, _ = make('mamc', 'cpu', pairs=512, attentions=4)
    begun = time.perf_counter()
    ours()
    return dict(features=4096, seconds=round(time.perf_counter() - begun, 2),
                gigabytes=round(1.024e-6 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before), 2))


def draw(growth: dict[str, dict[str, list[dict[str, Any]]]], path: Path) -> None:
    """A row an operation: the time of both against each size."""
    from matplotlib.figure import Figure

    columns = max(len(rows) for rows in growth.values())
    figure = Figure(figsize=(3.6 * columns, 2.6 * len(growth)), layout='constrained')
    axes = figure.subplots(len(growth), columns, squeeze=False)
    for row, (operation, kinds) in zip(axes, growth.items(), strict=True):
        for axis in row[len(kinds):]:
            axis.axis('off')
        for axis, (kind, points) in zip(row, kinds.items(), strict=False):
            for key, label, style in (('milliseconds', 'fgvc-zoo', 'o-'), ('plain_milliseconds', 'restated', 's--')):
                axis.plot([point['sizes'][kind] for point in points], [point[key] for point in points], style, label=label)
            axis.set(title=f'{operation}: {kind.replace("_", " ")}', ylabel='ms', ylim=(0, None))
            axis.grid(alpha=0.3)
    axes[0][0].legend()
    atomic_write(path, lambda place: figure.savefig(place, format='png', dpi=100))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--repeats', type=int, default=7)
    parser.add_argument('--json', type=Path, help='write the figures to this file')
    parser.add_argument('--plot', type=Path, help='draw the growth into this file')
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    record: dict[str, Any] = dict(
        device=torch.cuda.get_device_name() if options.device == 'cuda' else f'{platform.processor() or platform.machine()}, one thread',
        versions=dict(torch=torch.__version__), operations={}, growth={},
        command='python benchmarks/speed/operations.py --json FILE --plot FILE')
    if options.device == 'cpu':
        record['large_mamc'] = large_mamc()
    for operation in GROWTH:
        record['operations'][operation] = measure(operation, options.device, options.repeats)
        print(operation, record['operations'][operation], flush=True)
    for operation, kinds in GROWTH.items():
        record['growth'][operation] = {
            kind: [measure(operation, options.device, 3, **{kind: size}) for size in sizes] for kind, sizes in kinds.items()}
    if options.json:
        write_json(options.json, record)
    if options.plot:
        draw(record['growth'], options.plot)


if __name__ == '__main__':
    main()
