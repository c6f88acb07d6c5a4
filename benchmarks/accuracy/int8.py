"""What dynamic 8-bit quantisation of an exported ONNX file does to its accuracy, size and speed.

    python benchmarks/accuracy/int8.py --model wsdan_tf_efficientnet_lite0.grocery81 --data grocery:PATH --json FILE

The file of `fgvc-zoo export` is quantised by ONNX Runtime's `quantize_dynamic`: weights become 8-bit integers, activations when the graph
runs. 'linear' quantises matrix products, 'all' convolutions too. Accuracy is that of a random sample of the test split, in percent; the
time is that of a batch of one photograph on one thread, median.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch.utils.data import DataLoader, Subset

from fgvc_zoo._errors import first_line
from fgvc_zoo._files import write_json
from fgvc_zoo.data import open_dataset
from fgvc_zoo.export import export_model
from fgvc_zoo.loading import eval_transform_for, load_model
from fgvc_zoo.onnx_model import OnnxModel, open_onnx

KINDS: dict[str, dict[str, Any]] = {'linear': dict(op_types_to_quantize=['MatMul', 'Gemm']), 'all': {}}
REPEATS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--model', required=True)
    parser.add_argument('--data', required=True)
    parser.add_argument('--photographs', type=int, default=500)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--json', type=Path, help='write the figures to this file')
    options = parser.parse_args()
    model = load_model(options.model)
    rows: dict[str, dict[str, Any]] = {}
    with TemporaryDirectory() as folder:
        files = {'float32': Path(folder) / 'float32.onnx'}
        export_model(model, files['float32'])
        for kind, settings in KINDS.items():
            path = Path(folder) / f'{kind}.onnx'
            try:
                quantize_dynamic(files['float32'], path, weight_type=QuantType.QInt8, **settings)
                files[kind] = path
            except Exception as error:  # ONNX Runtime raises many types
                rows[kind] = dict(error=first_line(error))
        found = {}
        for kind, path in files.items():
            try:
                found[kind] = open_onnx(path)
            except Exception as error:
                rows[kind] = dict(error=first_line(error))
        dataset = open_dataset(options.data, 'test', transform=eval_transform_for(found['float32']))
        chosen = random.Random(options.seed).sample(range(len(dataset)), min(options.photographs, len(dataset)))
        answers = {kind: answers_of(loaded, Subset(dataset, chosen)) for kind, loaded in found.items()}
        targets = torch.tensor([dataset.targets[index] for index in chosen])
        for kind, predicted in answers.items():
            rows[kind] = dict(
                top1=round(100 * (predicted == targets).double().mean().item(), 2),
                as_float32=round(100 * (predicted == answers['float32']).double().mean().item(), 2),
                megabytes=round(files[kind].stat().st_size / 1e6, 2), milliseconds=round(milliseconds(files[kind]), 1))
    table = dict(model=options.model, data=options.data.partition(':')[0], split='test', photographs=len(chosen), seed=options.seed,
                 onnxruntime=onnxruntime.__version__, results=rows)
    print(table)
    if options.json:
        write_json(options.json, table)


def answers_of(model: OnnxModel, dataset: Subset) -> torch.Tensor:
    """The predicted classes."""
    return torch.cat([model(images).argmax(1) for images, _ in DataLoader(dataset, 16)])


def milliseconds(path: Path) -> float:
    """The median time of one photograph on one thread."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), settings, providers=['CPUExecutionProvider'])
    shape = session.get_inputs()[0].shape
    image = torch.rand(1, *shape[1:]).numpy()
    times = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        session.run(['logits'], {'images': image})
        times.append(1e3 * (time.perf_counter() - begun))
    return statistics.median(times)


if __name__ == '__main__':
    main()
