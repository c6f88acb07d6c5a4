"""Does a prediction depend on the places that a model attends to, and is the object there?

    python benchmarks/accuracy/faithfulness.py --data cub200:PATH --json FILE

For photographs of the test split, drawn by a seed, and each of the five checkpoints:

- Deletion: the cells of the image (14 x 14) are blurred, the most attended first. The area under the probability of the class that was
  predicted for the whole image, against the share of blurred cells; lower is better. Insertion: they are taken over into the blurred image,
  in the same order; higher is better (Petsiuk, Das, Saenko, "RISE", BMVC 2018). The whole inference is measured, before any temperature.
- Pointing game: the highest place of the map is in the object's true box (Zhang et al., "Top-down Neural Attention by Excitation Backprop",
  ECCV 2016).
- Box IoU: the overlap of the true box with the box around at least half of the map's maximum, with the model's own box, and with the
  whole image.

The model's own attention (the first map of its explanation) stands beside Grad-CAM of the same class in the same network's first pass,
and beside a blob in the middle of every photograph, since photographers centre their birds. There are no weights of the baseline; API-Net's
inference is a backbone with a linear classifier, so its row of Grad-CAM is that of a plain network. Intervals are 95 % bootstrap intervals
over the photographs. FILE is written after each method; a method that it has with the same settings is not measured again.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.functional import gaussian_blur

from fgvc_zoo._files import write_json
from fgvc_zoo._memory import keep_freed_memory
from fgvc_zoo.checkpoints import load_manifest
from fgvc_zoo.comparison import RESAMPLES
from fgvc_zoo.data import ImageDataset, open_dataset
from fgvc_zoo.layers import half_maximum_boxes
from fgvc_zoo.loading import TimmModel, eval_transform_for, load_model
from fgvc_zoo.metrics import paired_iou, view_box

METHODS = ('wsdan', 'wsban', 'apinet', 'osme', 'racnn')
CELLS = 14  # a side
STEPS = (14, 28, 42, 70, 98, 140)  # numbers of cells that are blurred or taken over, besides none and all
BLUR = 0.06  # standard deviation, of the image's side
BATCH = 8
WITH_BOX = ('wsdan', 'wsban', 'racnn')  # methods that enlarge what is in a box; others have none of their own
VIEWS = 2  # a forward pass while cells change: on a CPU faster per image than larger batches


class FirstPass(nn.Module):
    """A model's first pass over the whole image: one map, one classifier."""

    def __init__(self, model: TimmModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model.forward_head(self.model.forward_features(x))


def maps_of(model: TimmModel, images: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
    """Maps (B, h, w) by kind, the predicted classes (B,), the boxes (B, 4) of a model whose inference has one."""
    logits, explanation = model.forward_explained(images)
    predicted = logits.argmax(1)
    with GradCAM(FirstPass(model), [model.backbone]) as cam:
        grad = torch.from_numpy(cam(images, [ClassifierOutputTarget(target) for target in predicted.tolist()]))
    axis = torch.linspace(-1, 1, CELLS)
    blob = torch.exp(-(axis[:, None] ** 2 + axis**2) / 0.5).expand(len(images), -1, -1)
    boxes = explanation.boxes[:, 0] if model.method in WITH_BOX else None
    return {'own attention': explanation.maps[:, 0], 'Grad-CAM': grad, 'central blob': blob}, predicted, boxes


def cell_ranks(maps: Tensor, generator: torch.Generator) -> Tensor:
    """The rank of each cell (B, CELLS * CELLS), 0 for the most attended; ties in random order.

    Args:
        maps: (B, h, w).
        generator: Breaks ties.
    """
    scores = F.interpolate(maps[:, None].float(), (CELLS, CELLS), mode='bilinear', align_corners=False, antialias=True).flatten(1)
    shuffled = torch.rand(scores.shape, generator=generator).argsort(1)
    order = shuffled.gather(1, scores.gather(1, shuffled).argsort(dim=1, descending=True, stable=True))
    return order.argsort(1)


def blur(image: Tensor) -> Tensor:
    """An image (3, S, S) without details, by a Gaussian along both axes in turn."""
    sigma = BLUR * image.shape[1]
    width = 2 * round(2 * sigma) + 1
    return gaussian_blur(gaussian_blur(image, [width, 1], [sigma, sigma]), [1, width], [sigma, sigma])


@torch.inference_mode()
def curves(model: nn.Module, image: Tensor, blurred: Tensor, ranks: Tensor, target: int) -> tuple[list[float], list[float]]:
    """The area under the probability of a class while cells are blurred, and while they are taken over into the blurred image.

    Args:
        model: Images (N, 3, S, S) -> logits or log probabilities (N, num_classes).
        image: (3, S, S).
        blurred: (3, S, S).
        ranks: Of its cells, for each of M maps, (M, CELLS * CELLS).
        target: The class.

    Returns:
        Deletion and insertion of each map, in percent.
    """
    size = image.shape[1]
    first = torch.stack([ranks < step for step in STEPS], 1).view(-1, 1, CELLS, CELLS)
    first = F.interpolate(first.float(), (size, size)) > 0
    views = torch.cat([image[None], blurred[None], torch.where(first, blurred, image), torch.where(first, image, blurred)])
    found = torch.cat([
        model(part.contiguous(memory_format=torch.channels_last)).float().softmax(1)[:, target] for part in views.split(VIEWS)])
    ends = found[:2].expand(len(ranks), 2)  # the whole image, the blurred one
    deleted, inserted = found[2:].view(2, len(ranks), len(STEPS))
    shares = torch.tensor([0, *STEPS, CELLS * CELLS]) / (CELLS * CELLS)
    areas = [100 * torch.trapezoid(torch.cat([ends[:, :1], deleted, ends[:, 1:]], 1), shares),
             100 * torch.trapezoid(torch.cat([ends[:, 1:], inserted, ends[:, :1]], 1), shares)]
    return areas[0].tolist(), areas[1].tolist()


def points_inside(maps: Tensor, boxes: Tensor) -> Tensor:
    """Whether the highest cell's centre of each map (B, h, w) is in its box (B, 4): (B,) bool."""
    width = maps.shape[2]
    place = maps.flatten(1).argmax(1)
    x, y = (place % width + 0.5) / width, (place // width + 0.5) / maps.shape[1]
    return (x >= boxes[:, 0]) & (x <= boxes[:, 2]) & (y >= boxes[:, 1]) & (y <= boxes[:, 3])


def interval(values: list[float], seed: int = 0) -> dict[str, float]:
    """The mean, and its 95 % bootstrap interval."""
    array = np.asarray(values)
    drawn = np.random.default_rng(seed).integers(0, len(array), (RESAMPLES, len(array)))
    low, high = np.percentile(array[drawn].mean(1), [2.5, 97.5])
    return dict(mean=round(float(array.mean()), 2), low=round(float(low), 2), high=round(float(high), 2))


def measure(model: TimmModel, dataset: ImageDataset, chosen: list[int], with_curves: int, seed: int) -> dict[str, Any]:
    """The figures of one model.

    Args:
        model: With `forward_explained`.
        dataset: With boxes and the model's transform.
        chosen: Indices of the photographs.
        with_curves: Number of them, from the first, whose curves are measured.
        seed: Of the order of cells with equal attention.
    """
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, dict[str, list[float]]] = {}
    own_iou: list[float] = []
    whole_iou: list[float] = []
    for begin in range(0, len(chosen), BATCH):
        part = chosen[begin:begin + BATCH]
        images = torch.stack([dataset[index][0] for index in part])
        true = torch.stack([view_box(dataset.unit_box(index), dataset.image_size(index), model.pretrained_cfg) for index in part])
        maps, predicted, boxes = maps_of(model, images)
        if boxes is not None:
            own_iou += (100 * paired_iou(boxes, true)).tolist()
        whole_iou += (100 * paired_iou(torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand_as(true), true)).tolist()
        ranks = torch.stack([cell_ranks(values, generator) for values in maps.values()], 1)
        for kind, values in maps.items():
            rows = found.setdefault(kind, dict(deletion=[], insertion=[], pointing=[], box_iou=[]))
            rows['pointing'] += (100.0 * points_inside(values, true)).tolist()
            half = half_maximum_boxes(values[:, None], *images.shape[2:])[:, 0]
            rows['box_iou'] += (100 * paired_iou(half, true)).tolist()
        for row in range(min(len(part), max(0, with_curves - begin))):
            deleted, inserted = curves(model, images[row], blur(images[row]), ranks[row], int(predicted[row]))
            for index, kind in enumerate(maps):
                found[kind]['deletion'].append(deleted[index])
                found[kind]['insertion'].append(inserted[index])
        print(f"{begin + len(part)} of {len(chosen)} photographs", flush=True)
    figures: dict[str, Any] = {kind: {name: interval(values) for name, values in rows.items()} for kind, rows in found.items()}
    own = found['own attention']
    for other in ('Grad-CAM', 'central blob'):
        figures[f'own attention less {other}'] = {
            name: interval([a - b for a, b in zip(own[name], found[other][name], strict=True)]) for name in own}
    if own_iou:
        figures['own box'] = dict(box_iou=interval(own_iou))
    figures['whole image'] = dict(box_iou=interval(whole_iou))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', required=True, help='cub200:PATH')
    parser.add_argument('--photographs', type=int, default=160)
    parser.add_argument('--with-curves', type=int, default=32, help='photographs whose deletion and insertion are measured')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--methods', nargs='+', default=METHODS, choices=METHODS)
    parser.add_argument('--json', type=Path, help='write the figures to this file, after each model')
    options = parser.parse_args()
    keep_freed_memory()
    warnings.filterwarnings('ignore', module='torch')
    settings: dict[str, Any] = dict(
        data='cub200', split='test', photographs=options.photographs, with_curves=options.with_curves, seed=options.seed, cells=CELLS,
        steps=list(STEPS), blur=BLUR)
    known = json.loads(options.json.read_text(encoding='utf-8')) if options.json and options.json.is_file() else {}
    settings['versions'] = dict(
        torch=torch.__version__, timm=timm.__version__, grad_cam=version('grad-cam'), python=platform.python_version())
    results = known['results'] if {name: known.get(name) for name in settings} == settings else {}
    for method in options.methods:
        name = f'{method}_tf_efficientnet_lite0.cub200'
        weights = next(item.sha256 for item in load_manifest() if item.name == name)
        if results.get(method, {}).get('weights_sha256') == weights:
            continue
        model = load_model(name)
        dataset = open_dataset(options.data, 'test', transform=eval_transform_for(model))
        chosen = random.Random(options.seed).sample(range(len(dataset)), options.photographs)
        results[method] = dict(measure(model, dataset, chosen, options.with_curves, options.seed), weights_sha256=weights)
        print(method, results[method], flush=True)
        if options.json:
            write_json(options.json, dict(
                settings, command='python benchmarks/accuracy/faithfulness.py --data cub200:PATH --photographs '
                f'{options.photographs} --with-curves {options.with_curves} --json FILE', results=results))


if __name__ == '__main__':
    main()
