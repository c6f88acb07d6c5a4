"""Cost of inference: parameters and milliseconds per photograph of each checkpoint, beside its backbone with a linear classifier.

    python benchmarks/speed/inference.py wsdan_tf_efficientnet_lite0.cub200 ...     # the checkpoints in the package if none is named

Both run alternately on the same single image, at the checkpoint's input size, in float32 on the CPU. The figures are written into the
checkpoint's result file as `cost`, for its model card.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from fgvc_zoo._files import write_json
from fgvc_zoo._memory import keep_freed_memory
from fgvc_zoo.checkpoints import golden_input, load_manifest
from fgvc_zoo.loading import load_model

ROOT = Path(__file__).parents[2]


@torch.inference_mode()
def measure(models: dict[str, nn.Module], size: int, repeats: int) -> dict[str, float]:
    """Median milliseconds of one forward pass of each model, in turns."""
    image = golden_input(size).to(memory_format=torch.channels_last)
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(repeats + 1):
        for name, model in models.items():
            begun = time.perf_counter()
            model(image)
            times[name].append(1000 * (time.perf_counter() - begun))
    return {name: statistics.median(values[1:]) for name, values in times.items()}  # the first pass allocates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*')
    parser.add_argument('--repeats', type=int, default=15)
    options = parser.parse_args()
    keep_freed_memory()
    for item in load_manifest():
        if item.name not in options.names and (options.names or not item.in_package):
            continue
        model: Any = load_model(item.name).to(memory_format=torch.channels_last)
        backbone = timm.create_model(model.backbone_name, num_classes=item.num_classes).eval().to(memory_format=torch.channels_last)
        milliseconds = measure(dict(model=model, backbone=backbone), item.input_size, options.repeats)
        path = ROOT / item.results
        record = json.loads(path.read_text(encoding='utf-8'))
        record['cost'] = dict(
            parameters=sum(parameter.numel() for parameter in model.parameters()), milliseconds=round(milliseconds['model'], 1),
            backbone_parameters=sum(parameter.numel() for parameter in backbone.parameters()),
            backbone_milliseconds=round(milliseconds['backbone'], 1), device=f'{os.cpu_count()} CPU cores')
        write_json(path, record)
        print(item.name, record['cost'], flush=True)


if __name__ == '__main__':
    main()
