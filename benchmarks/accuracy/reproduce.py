"""Measure every checkpoint of the manifest again and compare with the recorded accuracy.

    python benchmarks/accuracy/reproduce.py --data cub200=cub200:PATH --data grocery=grocery:PATH --json FILE

Needs a clone, which has all weights. Fails if a top-1 accuracy differs by more than 0.2 points. FILE is written after each checkpoint; a
checkpoint that it already has is not measured again while its weights and its figure are the same.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from fgvc_zoo._device import choose_device
from fgvc_zoo._files import write_json
from fgvc_zoo.checkpoints import load_manifest
from fgvc_zoo.data import open_dataset
from fgvc_zoo.evaluation import evaluate
from fgvc_zoo.loading import eval_transform_for, load_model

ROOT = Path(__file__).parents[2]
TOLERANCE = 0.2  # percentage points


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', action='append', required=True, metavar='NAME=LAYOUT:PATH', help='NAME as in the result files')
    parser.add_argument('--json', type=Path, help='write the figures to this file')
    options = parser.parse_args()
    device = choose_device(None)
    places = dict(item.split('=', 1) for item in options.data)
    measured = json.loads(options.json.read_text(encoding='utf-8')) if options.json and options.json.is_file() else {}
    for item in load_manifest():
        known = measured.get(item.name, {})
        if (known.get('sha256'), known.get('manifest')) == (item.sha256, item.metrics['top1']):
            continue
        data = json.loads((ROOT / item.results).read_text(encoding='utf-8'))['data']
        if data not in places:
            print(f'{item.name}: no data given, skipped')
            continue
        model = load_model(item.name).to(device)
        metrics = evaluate(model, open_dataset(places[data], 'test', transform=eval_transform_for(model)), workers=1, device=device)
        recorded, top1 = item.metrics['top1'], metrics['top1']
        measured[item.name] = dict(manifest=recorded, top1=top1, difference=round(top1 - recorded, 3), sha256=item.sha256)
        print(f'{item.name}: {top1:.2f} %, the manifest says {recorded:.2f} % ({top1 - recorded:+.2f})', flush=True)
        if options.json:
            write_json(options.json, measured)
    return int(any(abs(item['difference']) > TOLERANCE for item in measured.values()))


if __name__ == '__main__':
    raise SystemExit(main())
