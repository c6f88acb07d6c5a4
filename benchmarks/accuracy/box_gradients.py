"""Compare two gradients of RA-CNN's squares with finite differences of the finer scale's probability.

    python benchmarks/accuracy/box_gradients.py MODEL --data cub200:PATH [--json FILE]

For every photograph, the proposed square is moved along x and y and grown by a few hundredths of the image's side, and the probability of
the true class at scale 2 is computed. The difference quotients are compared with two gradients: through the mask alone ('mask', as in
the paper), and the full derivative of the crop ('total'). Prints their correlation over the photographs, how often the signs agree,
and their sizes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from fgvc_zoo._files import write_json
from fgvc_zoo.data import open_dataset
from fgvc_zoo.layers import attended_crop
from fgvc_zoo.loading import eval_transform_for, load_model
from fgvc_zoo.losses import true_class_probability
from fgvc_zoo.models.racnn import RACNN

AXES = ('x', 'y', 'half side')


def probability(model: RACNN, images: Tensor, targets: Tensor, squares: Tensor, mask_only: bool) -> Tensor:
    """Of the true class at scale 2, (B,)."""
    side = model.crop_size or images.shape[2]
    crop = attended_crop(images, squares, side, side, mask_gradient_only=mask_only, masked=model.masked)
    return true_class_probability(model.classifiers[0](model.embed(model.backbones[0](crop))), targets)


def measure(model: RACNN, loader: DataLoader[Any], step: float) -> tuple[dict[str, Tensor], Tensor]:
    """Gradients (N, 3) by name, and difference quotients (N, 3)."""
    gradients: dict[str, list[Tensor]] = dict(mask=[], total=[])
    quotients = []
    for images, targets in loader:
        with torch.no_grad():
            squares = model.proposals[0](model.backbone(images))
            moves = [probability(model, images, targets, squares + sign * step * axis, True)
                     for axis in torch.eye(3) for sign in (1, -1)]
        quotients.append(torch.stack([(up - down) / (2 * step) for up, down in zip(moves[::2], moves[1::2], strict=True)], 1))
        for name, batches in gradients.items():
            leaf = squares.clone().requires_grad_()
            batches.append(torch.autograd.grad(probability(model, images, targets, leaf, name == 'mask').sum(), leaf)[0])
    return {name: torch.cat(batches) for name, batches in gradients.items()}, torch.cat(quotients)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model', help='an RA-CNN: a run folder or a name')
    parser.add_argument('--data', required=True)
    parser.add_argument('--split', default='test')
    parser.add_argument('--photographs', type=int, default=200, help='spread evenly over the split')
    parser.add_argument('--step', type=float, default=0.05, help="how far a square moves, as a share of the image's side")
    parser.add_argument('--json', type=Path)
    options = parser.parse_args()

    model = load_model(options.model).requires_grad_(False)
    dataset = open_dataset(options.data, options.split, transform=eval_transform_for(model))
    chosen = range(0, len(dataset), max(1, len(dataset) // options.photographs))
    gradients, quotients = measure(model, DataLoader(Subset(dataset, chosen), 25), options.step)
    rows: dict[str, Any] = {}
    for name, gradient in gradients.items():
        for index, axis in enumerate(AXES):
            pair = torch.stack([gradient[:, index], quotients[:, index]])
            rows[f'{name}, {axis}'] = dict(
                correlation=round(torch.corrcoef(pair)[0, 1].item(), 3),
                same_sign=round((pair[0].sign() == pair[1].sign()).float().mean().item(), 3),
                rms=round(pair[0].square().mean().sqrt().item(), 3), quotient_rms=round(pair[1].square().mean().sqrt().item(), 3))
            print(f'{name:5} {axis:9}', rows[f'{name}, {axis}'])
    if options.json:
        write_json(options.json, dict(model=options.model, data=options.data, photographs=len(chosen), step=options.step, rows=rows))


if __name__ == '__main__':
    main()
