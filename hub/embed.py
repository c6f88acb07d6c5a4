"""Put a finished run into the package: half precision weights, class names, measured accuracy, golden logits, one manifest entry.

    python hub/embed.py runs/grocery-wsdan --tag grocery81 --data grocery:PATH --license 'MIT' --about 'Grocery Store Dataset ...' --default

What is measured, and written to `benchmarks/results/`, is the half precision file that ships.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file

from fgvc_zoo.checkpoints import FOLDER, MANIFEST, golden_input
from fgvc_zoo.data import open_dataset
from fgvc_zoo.evaluation import evaluate, result_record, write_json
from fgvc_zoo.loading import class_names, eval_transform_for, load_model

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('run', type=Path)
    parser.add_argument('--tag', required=True)
    parser.add_argument('--data', required=True, help='layout:PATH, whose test split is measured')
    parser.add_argument('--license', required=True)
    parser.add_argument('--about', required=True, help='what it was trained on, in words')
    parser.add_argument('--default', action='store_true', help='the tag that pretrained=True means')
    options = parser.parse_args()

    begun = time.monotonic()
    config = json.loads((options.run / 'run.json').read_text(encoding='utf-8'))['config']
    model = load_model(str(options.run))
    cfg = model.pretrained_cfg
    name = f"{cfg['architecture']}.{options.tag}"
    weights = FOLDER / f'{name}.safetensors'
    save_file({key: value.half() if value.is_floating_point() else value for key, value in model.state_dict().items()}, weights)
    weights.chmod(0o644)  # safetensors writes files that only their owner may read
    model.half().float()  # what the file holds

    metrics = evaluate(model, open_dataset(options.data, 'test', transform=eval_transform_for(model)), workers=1)
    data = Path(options.data.rpartition(':')[2]).name
    method, _, backbone = cfg['architecture'].partition('_')
    results = ROOT / 'benchmarks' / 'results' / f"{data}_{cfg['architecture']}.json"
    write_json(results, result_record(
        model=name, method=method, backbone=backbone, data=data, split='test', seed=config['seed'], input_size=cfg['input_size'][-1],
        epochs=config['recipe']['epochs'], metrics=metrics, command=' '.join(['python', *sys.argv]), recipe=config['recipe'],
        weights=weights, seconds=time.monotonic() - begun))

    labels = FOLDER / f'{options.tag}.txt'
    labels.write_text('\n'.join(class_names(model)) + '\n', encoding='utf-8')
    with torch.inference_mode():
        golden = model(golden_input(cfg['input_size'][-1]))[0, :10]
    entry = dict(
        architecture=cfg['architecture'], tag=options.tag, file=weights.name, sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
        size=weights.stat().st_size, labels=labels.name, num_classes=model.num_classes, input_size=cfg['input_size'][-1],
        crop_pct=cfg['crop_pct'], license=options.license, data=options.about, recipe=config['recipe']['name'], seed=config['seed'],
        epochs=config['recipe']['epochs'],
        metrics={**{key: metrics[key] for key in ('top1', 'top5', 'mean_per_class')},
                 'raw': metrics['raw']['top1'], 'refined': metrics['refined']['top1']},
        results=results.relative_to(ROOT).as_posix(), default=options.default, golden=[round(value, 5) for value in golden.tolist()])
    entries = yaml.safe_load(MANIFEST.read_text(encoding='utf-8')) or []
    entries = [item for item in entries if (item['architecture'], item['tag']) != (cfg['architecture'], options.tag)]
    entries = sorted([*entries, entry], key=lambda item: (item['architecture'], item['tag']))
    MANIFEST.write_text(
        '# Every checkpoint of this zoo; written by hub/embed.py, read by fgvc_zoo.checkpoints.\n'
        + yaml.safe_dump(entries, sort_keys=False, allow_unicode=True, width=120), encoding='utf-8')
    print(f"{name}: {weights.stat().st_size / 1e6:.1f} MB, top-1 {metrics['top1']:.2f} %")


if __name__ == '__main__':
    main()
