"""Draw a checkpoint's mean attention over a test split, aligned to the true boxes of the objects.

    python hub/draw_attention.py wsdan_tf_efficientnet_lite0.cub200 --data cub200:PATH

A picture for the card without a photograph, for data whose photographs may not be passed on. Writes `hub/pictures/NAME.png`, from which
publishing takes it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset

from fgvc_zoo._memory import keep_freed_memory
from fgvc_zoo.data import open_dataset
from fgvc_zoo.loading import TimmModel, eval_transform_for, load_model
from fgvc_zoo.metrics import view_box

ROOT = Path(__file__).parents[1]
CELLS = 96  # of the drawn map, a side
BEYOND = 0.5  # of the box's sides that is shown around it


@torch.inference_mode()
def attention_in_frame(model: TimmModel, dataset: Subset, boxes: Tensor, workers: int = 1) -> Tensor:
    """The mean attention in the frame of the objects' boxes.

    Args:
        model: With `explain`; its first map is taken.
        dataset: With the transform that the model expects.
        boxes: True boxes (N, 4), xyxy in unit coordinates of what the model sees.
        workers: Processes that load images.

    Returns:
        (CELLS, CELLS), relative to attention that is uniform over the image (1). NaN at positions inside fewer than a tenth of the images.
    """
    axis = (torch.arange(CELLS) + 0.5) / CELLS * (1 + 2 * BEYOND) - BEYOND
    total, counts = torch.zeros(CELLS, CELLS), torch.zeros(CELLS, CELLS)
    for (images, _), box in zip(DataLoader(dataset, 32, num_workers=workers), boxes.split(32), strict=True):
        maps = model.explain(images.to(memory_format=torch.channels_last)).maps[:, :1]
        maps = maps / maps.mean((2, 3), keepdim=True).clamp(min=1e-12)
        x = box[:, 0, None] + axis * (box[:, 2] - box[:, 0])[:, None]
        y = box[:, 1, None] + axis * (box[:, 3] - box[:, 1])[:, None]
        points = torch.stack([x[:, None, :].expand(-1, CELLS, -1), y[:, :, None].expand(-1, -1, CELLS)], 3)
        inside = ((points >= 0) & (points <= 1)).all(3)
        values = F.grid_sample(maps, 2 * points - 1, padding_mode='border', align_corners=False)[:, 0]
        total += (values * inside).sum(0)
        counts += inside.sum(0)
    return torch.where(counts >= len(dataset) / 10, total / counts, torch.nan)


def draw(attention: Tensor, count: int, path: Path) -> None:
    """The map with the box's outline, as PNG."""
    figure = Figure(figsize=(4.8, 4.2), layout='constrained')
    axes = figure.add_subplot()
    image = axes.imshow(attention.numpy(), cmap='inferno', vmin=0, extent=(-BEYOND, 1 + BEYOND, 1 + BEYOND, -BEYOND))
    axes.plot([0, 1, 1, 0, 0], [0, 0, 1, 1, 0], color='white', linewidth=1.5)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(f'mean attention over {count:,} test photographs;\nthe white frame is the true box of the object', fontsize=10)
    figure.colorbar(image, label='times an even spread over the photograph')
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('name', help='a checkpoint of the manifest')
    parser.add_argument('--data', required=True, help='layout:PATH, whose test split has boxes')
    parser.add_argument('--every', type=int, default=1, metavar='N', help='take every Nth photograph only')
    options = parser.parse_args()
    keep_freed_memory()
    model = load_model(options.name)
    dataset = open_dataset(options.data, 'test', transform=eval_transform_for(model))
    if dataset.boxes is None:
        raise SystemExit(f"'{options.data}' has no boxes")
    chosen = range(0, len(dataset), options.every)
    boxes = torch.stack([
        view_box(dataset.boxes[index], dataset.image_size(index), model.pretrained_cfg) for index in chosen])
    path = ROOT / 'hub' / 'pictures' / f'{options.name}.png'
    draw(attention_in_frame(model, Subset(dataset, chosen), boxes), len(chosen), path)
    print(path.relative_to(ROOT))


if __name__ == '__main__':
    main()
