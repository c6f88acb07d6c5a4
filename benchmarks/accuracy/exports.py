"""Export every registered model with attention, as ONNX and as a program of torch.export, and compare it with the model.

    python benchmarks/accuracy/exports.py --json benchmarks/results/checks/exports.json

Weights are random and there are ten classes; the input has the model's own size. Each export runs in a process of its own with limits of
time and memory. Rows that the file has already are not computed again. A row has the largest difference of a logit on two images, the
file's size and the time, or why there is no file.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import timm
import torch

from fgvc_zoo import UserError
from fgvc_zoo._errors import first_line
from fgvc_zoo._files import write_json
from fgvc_zoo.export import export_model
from fgvc_zoo.models import METHODS

FORMATS = ('onnx', 'pt2')
CLASSES = 10
SECONDS = 900
GIGABYTES = 16


def names() -> list[str]:
    """Every registered model over a named backbone, with its method's bare name left out."""
    return [name for method in METHODS.values() if method.package == 'fgvc-zoo' for name in method.model_names if name not in METHODS]


def export(name: str, path: Path) -> dict[str, Any]:
    """Export one model with random weights."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=CLASSES).eval()
    model.pretrained_cfg.update(label_names=[f'class {index}' for index in range(CLASSES)], num_classes=CLASSES)
    size = model.pretrained_cfg['input_size'][-1]
    begun = time.monotonic()
    try:
        difference = export_model(model, path, attention=True)
    except UserError as error:
        return dict(input_size=size, error=str(error))
    except Exception as error:  # the exporters raise many types
        return dict(input_size=size, error=f'{type(error).__name__}: {first_line(error)}')
    return dict(input_size=size, logits=difference.logits, probabilities=difference.probabilities,
                megabytes=round(path.stat().st_size / 1e6, 1), seconds=round(time.monotonic() - begun))


def in_process(name: str, kind: str) -> dict[str, Any]:
    """`export` in a process of its own, with limits."""
    with TemporaryDirectory() as folder:
        result = Path(folder) / 'row.json'
        command = [sys.executable, __file__, '--one', name, str(Path(folder) / f'model.{kind}'), str(result)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return dict(error=f'it took longer than {SECONDS} s')
        if not result.exists():
            lines = done.stderr.strip().splitlines()
            return dict(error=lines[-1] if lines else f'the process ended with status {done.returncode}')
        return json.loads(result.read_text(encoding='utf-8'))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--json', type=Path, default=Path('exports.json'), help='rows are read from and written to this file')
    parser.add_argument('--models', nargs='+', default=names(), choices=names(), metavar='NAME')
    parser.add_argument('--one', nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        resource.setrlimit(resource.RLIMIT_AS, (GIGABYTES * 10**9, GIGABYTES * 10**9))
        warnings.simplefilter('ignore')
        name, path, result = options.one
        write_json(Path(result), export(name, Path(path)))
        return
    known = json.loads(options.json.read_text(encoding='utf-8')) if options.json.exists() else {}
    if known and known.get('torch') != torch.__version__:
        raise SystemExit(f"the rows in '{options.json}' are of torch {known.get('torch')}, not {torch.__version__}: give another --json")
    rows: dict[str, dict[str, Any]] = known.get('results', {})
    for name in options.models:
        for kind in FORMATS:
            if kind not in rows.setdefault(name, {}):
                rows[name][kind] = in_process(name, kind)
                print(name, kind, rows[name][kind], flush=True)
                write_json(options.json, dict(classes=CLASSES, torch=torch.__version__, results=rows))


if __name__ == '__main__':
    main()
